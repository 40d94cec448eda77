//! Lines of a file, from memory or from a stream.

use std::io::BufRead;

use memchr::memchr;

/// A longer line is taken for a sign that the file is not what it is said to be.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// Where lines come from.
pub enum Lines<'a> {
    /// All of the file.
    Memory(&'a [u8]),
    /// One line after another.
    Stream {
        /// The file.
        bytes: &'a mut dyn BufRead,
        /// The line.
        line: Vec<u8>,
    },
}

/// Why there is no next line.
#[derive(Debug)]
pub enum Broken {
    /// It is longer than [`MAX_LINE_BYTES`].
    TooLong,
    /// The stream fails.
    Stream(std::io::Error),
}

impl<'a> Lines<'a> {
    /// Lines of a stream.
    pub fn of(bytes: &'a mut dyn BufRead) -> Self {
        Self::Stream { bytes, line: Vec::new() }
    }

    /// The next line without its end, `\n` or `\r\n`; none at the end of the file.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, Broken> {
        match self {
            Self::Memory(rest) => {
                if rest.is_empty() {
                    return Ok(None);
                }
                let (line, after) = match memchr(b'\n', rest) {
                    Some(end) => (&rest[..end], &rest[end + 1..]),
                    None => (*rest, &rest[rest.len()..]),
                };
                let ended = after.len() + line.len() < rest.len();
                *rest = after;
                if line.len() + usize::from(ended) > MAX_LINE_BYTES {
                    return Err(Broken::TooLong);
                }
                Ok(Some(if ended { without_return(line) } else { line }))
            }
            Self::Stream { bytes, line } => {
                line.clear();
                let mut limited = std::io::Read::take(&mut **bytes, MAX_LINE_BYTES as u64 + 1);
                let read = limited.read_until(b'\n', line).map_err(Broken::Stream)?;
                if read > MAX_LINE_BYTES {
                    return Err(Broken::TooLong);
                }
                Ok(match line.strip_suffix(b"\n") {
                    Some(line) => Some(without_return(line)),
                    None if read == 0 => None,
                    None => Some(line),
                })
            }
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut lines: Lines<'_>) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            all.push(line.to_vec());
        }
        all
    }

    #[test]
    fn both_kinds_agree() {
        for text in ["", "\n", "a", "a\n", "a\r\nb\n\n\r\nc\r", "\r\n\n", "a\nb"] {
            let expected: Vec<&str> = match text {
                "" => vec![],
                "\n" => vec![""],
                "a" | "a\n" => vec!["a"],
                "a\r\nb\n\n\r\nc\r" => vec!["a", "b", "", "", "c\r"],
                "\r\n\n" => vec!["", ""],
                _ => vec!["a", "b"],
            };
            let expected: Vec<Vec<u8>> =
                expected.into_iter().map(|line| line.as_bytes().to_vec()).collect();
            assert_eq!(all(Lines::Memory(text.as_bytes())), expected, "{text:?}");
            assert_eq!(all(Lines::of(&mut text.as_bytes())), expected, "{text:?}");
        }
    }

    #[test]
    fn lines_have_a_limit() {
        let fits = [vec![b'x'; MAX_LINE_BYTES - 1], b"\ny".to_vec()].concat();
        assert_eq!(all(Lines::Memory(&fits)).len(), 2);
        assert_eq!(all(Lines::of(&mut &fits[..])).len(), 2);
        let long = [vec![b'x'; MAX_LINE_BYTES], b"\ny".to_vec()].concat();
        assert!(matches!(Lines::Memory(&long).next_line(), Err(Broken::TooLong)));
        assert!(matches!(Lines::of(&mut &long[..]).next_line(), Err(Broken::TooLong)));
    }
}
