//! What can go wrong while a sample is generated.

use std::path::PathBuf;

use thiserror::Error;

/// Names why [`generate`](super::generate) stopped.
///
/// Whatever the variant, no half-written file stays behind and the files of the day in progress are gone; the
/// days finished before stay.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SampleError {
    /// An option lies outside its limits; both limits are allowed values.
    #[error("`{option}` is {value}, outside {least} to {most}")]
    OutOfRange {
        /// The option's name, as the field of [`SampleOptions`](super::SampleOptions) is called.
        option: &'static str,
        /// The value given.
        value: String,
        /// The least value allowed.
        least: String,
        /// The greatest value allowed.
        most: String,
    },
    /// A place the sample would be written to already holds files; nothing was written.
    #[error("`{}` already holds files, and a sample is never mixed into existing data", path.display())]
    Occupied {
        /// The day's folder or the catalogue file in the way.
        path: PathBuf,
    },
    /// A file or folder could not be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// The operating system gave no further thread.
    #[error("cannot start a thread to write files: {source}")]
    Thread {
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A set of weights cannot be drawn from. Options within their limits never lead here.
    #[error("the weights of {of} cannot be drawn from: {reason}")]
    Weights {
        /// Whose weights.
        of: &'static str,
        /// What the sampling library said.
        reason: String,
    },
    /// The caller asked to stop.
    #[error("cancelled while the sample was written")]
    Cancelled,
}
