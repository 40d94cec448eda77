//! What somebody probably meant.

/// A lower similarity (Jaro–Winkler, 0 to 1) is no slip of the fingers any more.
const NEAR: f64 = 0.8;

/// The candidate that is nearest to `name`, if one is near enough to have been meant.
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, candidate), candidate))
        .filter(|(similarity, _)| *similarity > NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn finds_slips_and_nothing_else() {
        let words = ["clean_events", "session_events", "users"];
        assert_eq!(nearest("clean_event", words), Some("clean_events"));
        assert_eq!(nearest("sesion_events", words), Some("session_events"));
        assert_eq!(nearest("quarantine", words), None);
    }
}
