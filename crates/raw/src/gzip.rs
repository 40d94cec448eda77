//! Gzip files inflated whole.
//!
//! libdeflate inflates in one go two to three times as fast as what streams do, but it does not say
//! where a member of the file ends, and a file may have several of them, one after another (RFC 1952,
//! section 2.2). Where the first one ends is found out by its trailer, which is known once it is
//! inflated; if that does not settle it, the caller streams.

use libdeflater::{Crc, DecompressionError, Decompressor};
use memchr::memmem;

/// The magic bytes of a member.
const MAGIC: [u8; 2] = [0x1f, 0x8b];
/// FHCRC and the reserved bits (section 2.3.1).
const UNCHECKED_FLAGS: u8 = 0b1110_0010;
/// Bytes of a member's trailer: CRC-32, then the length modulo 2³², both little-endian.
const TRAILER: usize = 8;

/// Inflates the members of a gzip file into `out`, which is cleared first, if that can be done for
/// certain and in at most `most` bytes. Otherwise, for damaged files too, `out` means nothing.
pub fn inflate(file: &[u8], out: &mut Vec<u8>, most: usize) -> bool {
    out.clear();
    let mut rest = file;
    while !rest.is_empty() {
        match member(rest, out, most) {
            Some(length) => rest = &rest[length..],
            None => return false,
        }
    }
    !file.is_empty()
}

/// Appends what the first member holds, and gives its length.
fn member(rest: &[u8], out: &mut Vec<u8>, most: usize) -> Option<usize> {
    // A checksum of the header, and what no flag is defined for, libdeflate does not look at.
    if !rest.starts_with(&MAGIC) || rest.get(3)? & UNCHECKED_FLAGS != 0 {
        return None;
    }
    let trailer = rest.get(rest.len().checked_sub(TRAILER)?..)?;
    // Exact if this is the only member.
    let length = u32::from_le_bytes(trailer[4..].try_into().ok()?) as usize;
    let before = out.len();
    let mut room = length.max(64);
    loop {
        if before.checked_add(room)? > most {
            return None;
        }
        out.resize(before + room, 0);
        match Decompressor::new().gzip_decompress(rest, &mut out[before..]) {
            Ok(written) => {
                out.truncate(before + written);
                break;
            }
            Err(DecompressionError::InsufficientSpace) => room = room.checked_mul(4)?,
            Err(DecompressionError::BadData) => return None,
        }
    }
    let mut crc = Crc::new();
    crc.update(&out[before..]);
    let mut trailer = crc.sum().to_le_bytes().to_vec();
    let length = u32::try_from((out.len() - before) as u64 & u64::from(u32::MAX)).ok()?;
    trailer.extend(length.to_le_bytes());
    // The member ends with these bytes. If they stand in the file but once, it ends there.
    let at = memmem::find(rest, &trailer)?;
    memmem::find(&rest[at + 1..], &trailer).is_none().then_some(at + TRAILER)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn zipped(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn inflated(file: &[u8], most: usize) -> Option<Vec<u8>> {
        let mut out = vec![1, 2, 3];
        inflate(file, &mut out, most).then_some(out)
    }

    #[test]
    fn inflates_what_is_certain() {
        let (one, two) = (vec![b'x'; 100_000], b"a line\n".repeat(3_000));
        assert_eq!(inflated(&zipped(&one), 1 << 20), Some(one.clone()));
        assert_eq!(inflated(&zipped(&one), 99_999), None);
        let both = [zipped(&one), zipped(&two)].concat();
        assert_eq!(inflated(&both, 1 << 20), Some([one, two].concat()));
    }

    #[test]
    fn leaves_to_others_what_is_not() {
        let one = zipped(b"the same, delivered twice\n");
        // The trailer stands in it twice: where the first member ends cannot be told.
        assert_eq!(inflated(&one.repeat(2), 1 << 20), None);
        assert_eq!(inflated(&[zipped(b"a\n"), zipped(b"")].concat(), 1 << 20), None);
        assert_eq!(inflated(&one[..one.len() - 3], 1 << 20), None);
        assert_eq!(inflated(b"", 1 << 20), None);
        assert_eq!(inflated(b"\x1f\x8b", 1 << 20), None);
        assert_eq!(inflated(b"plain text that is long enough", 1 << 20), None);
        assert_eq!(inflated(&[&one[..], b"trailing"].concat(), 1 << 20), None);
        let mut header = one.clone();
        header[3] |= 2;
        assert_eq!(inflated(&header, 1 << 20), None);
        let mut damaged = zipped(&b"0123456789".repeat(1_000));
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        assert_eq!(inflated(&damaged, 1 << 20), None);
    }

    #[test]
    fn says_what_streams_say() {
        let mut state = 7_u64;
        for round in 0..300 {
            let mut file = Vec::new();
            for _ in 0..=round % 4 {
                let text: Vec<u8> = (0..state % 5_000)
                    .map(|_| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 60) as u8
                    })
                    .collect();
                file.extend(zipped(&text));
                state = state.wrapping_add(1_234_567);
            }
            let mut streamed = Vec::new();
            flate2::read::MultiGzDecoder::new(&file[..]).read_to_end(&mut streamed).unwrap();
            if let Some(whole) = inflated(&file, 1 << 20) {
                assert!(whole == streamed, "round {round}");
            }
        }
    }
}
