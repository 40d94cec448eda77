//! What a store's error means, and how it is told.

use crate::run::failure::FailureKind;

/// What is in the text of an answer that refuses for good: its status, or a code of S3 that comes with
/// another one. <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>
const REFUSED: [&str; 4] =
    ["401 Unauthorized", "403 Forbidden", "<Code>ExpiredToken</Code>", "<Code>InvalidToken</Code>"];

/// The kind of failure that a store's error is.
pub fn kind(error: &object_store::Error) -> FailureKind {
    match error {
        object_store::Error::NotFound { .. } => FailureKind::NotFound,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
            FailureKind::Conflict
        }
        object_store::Error::InvalidPath { .. } => FailureKind::Usage,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => FailureKind::Denied,
        // Of a listing that is not allowed the store tells only what the service answered.
        other => kind_of_answer(&other.to_string()),
    }
}

fn kind_of_answer(text: &str) -> FailureKind {
    match REFUSED.iter().any(|part| text.contains(part)) {
        true => FailureKind::Denied,
        false => FailureKind::Transient,
    }
}

/// The store's error that is the cause of another, if there is one.
pub fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a object_store::Error> {
    let mut error = Some(error);
    while let Some(this) = error {
        if let Some(found) = this.downcast_ref::<object_store::Error>() {
            return Some(found);
        }
        // Of an I/O error the source is that of what it wraps, not what it wraps.
        let wrapped = this.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        error = match wrapped {
            Some(inner) => Some(inner),
            None => this.source(),
        };
    }
    None
}

/// The kind of failure of a store's error of which another has only the words, and these: so DataFusion
/// tells what keeps it from the metadata of a Parquet file.
pub fn told_in(text: &str) -> Option<(FailureKind, String)> {
    let (place, told) = text.split_once("Object Store error: ")?;
    let begins = |words: &str| told.starts_with(words);
    let kind = match () {
        () if begins("The operation lacked ") => FailureKind::Denied,
        () if begins("Object at location ") => FailureKind::NotFound,
        () => kind_of_answer(told),
    };
    let file = place.split_once("for file ").map(|(_, file)| file.trim_end_matches([':', ' ']));
    Some((kind, of_file(file, in_one_line(told))))
}

/// The error in one line: for one of S3's answers its code and its words instead of the document
/// that they come in.
pub fn words(error: &object_store::Error) -> String {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return "it is not there".to_owned();
    }
    in_one_line(&error.to_string())
}

/// The same with the file that it is about, where that is known.
pub fn words_with_file(error: &object_store::Error) -> String {
    let file = match error {
        object_store::Error::NotFound { path, .. }
        | object_store::Error::PermissionDenied { path, .. }
        | object_store::Error::Unauthenticated { path, .. } => Some(path.as_str()),
        _ => None,
    };
    of_file(file, words(error))
}

fn of_file(file: Option<&str>, words: String) -> String {
    match file {
        Some(file) => format!("cannot read `{file}`: {words}"),
        None => words,
    }
}

fn in_one_line(text: &str) -> String {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        rest.split_once(&format!("</{tag}>")).map(|(inside, _)| inside)
    };
    match (between("Code"), between("Message")) {
        (Some(code), Some(message)) => format!("{code}: {}", message.trim_end_matches('.')),
        (Some(code), None) => code.to_owned(),
        // An answer to HEAD has no document.
        _ => match text.split_once("Server returned non-2xx status code: ") {
            Some((_, status)) => status.lines().next().unwrap_or_default(),
            None => text.lines().next().unwrap_or_default(),
        }
        .trim_end_matches([':', ' ', '.'])
        .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_s3_are_told_in_one_line() {
        let error = object_store::Error::Generic {
            store: "S3",
            source: "Server returned 503: <?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code>\
                     <Message>Please reduce your request rate.</Message></Error>"
                .into(),
        };
        assert_eq!(words(&error), "SlowDown: Please reduce your request rate");
        assert_eq!(kind(&error), FailureKind::Transient);
        let source = "Error performing HEAD http://h/b/k in 1ms, after 4 retries  - \
                      Server returned non-2xx status code: 503 Service Unavailable: ";
        let error = object_store::Error::Generic { store: "S3", source: source.into() };
        assert_eq!(words(&error), "503 Service Unavailable");
    }

    #[test]
    fn words_alone_tell_the_kind() {
        let source = || "Server returned 403: <Error><Code>AccessDenied</Code></Error>".into();
        let path = "a/b".to_owned();
        let denied = object_store::Error::PermissionDenied { path: path.clone(), source: source() };
        let unknown = object_store::Error::Unauthenticated { path: path.clone(), source: source() };
        let generic = |text: &str| object_store::Error::Generic {
            store: "S3",
            source: text.to_owned().into(),
        };
        let listing = "Server returned non-2xx status code: 403 Forbidden: <Error></Error>";
        let expired = "400 Bad Request: <Error><Code>ExpiredToken</Code></Error>";
        let gone = object_store::Error::NotFound { path, source: source() };
        for (error, kind) in [
            (denied, FailureKind::Denied),
            (unknown, FailureKind::Denied),
            (generic("503 Service Unavailable"), FailureKind::Transient),
            (generic(listing), FailureKind::Denied),
            (generic(expired), FailureKind::Denied),
            (gone, FailureKind::NotFound),
        ] {
            assert_eq!(self::kind(&error), kind);
            let outer = datafusion::error::DataFusionError::from(error).to_string();
            let told = told_in(&format!("Failed to fetch metadata for file a/b: {outer}"));
            let (told, words) = told.unwrap();
            assert_eq!(told, kind, "{outer}");
            assert!(words.starts_with("cannot read `a/b`: "), "{words}");
        }
        assert_eq!(told_in("Failed to fetch metadata for file a/b: it is empty"), None);
    }

    #[test]
    fn a_store_s_error_is_found_behind_others() {
        let error = object_store::Error::NotFound { path: "a".to_owned(), source: "gone".into() };
        let wrapped = std::io::Error::other(std::io::Error::other(error));
        assert!(matches!(cause(&wrapped), Some(object_store::Error::NotFound { .. })));
        assert!(cause(&std::io::Error::other("other")).is_none());
    }
}
