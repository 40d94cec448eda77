//! Any bytes as a gzip file: what is inflated at once is what a stream gives.

#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use recctl_raw::gzip;

fuzz_target!(|bytes: &[u8]| {
    let mut whole = Vec::new();
    if gzip::inflate(bytes, &mut whole, 1 << 20) {
        let mut streamed = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut streamed);
        assert!(read.is_ok());
        assert!(whole == streamed);
    }
});
