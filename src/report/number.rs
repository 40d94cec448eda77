//! Figures as people read them.

/// A count with thousands separators: `1,234,567`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 row`, `2,000 rows`.
pub fn counted(value: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(value), if value == 1 { "" } else { "s" })
}

/// Bytes in decimal units, as disks and clouds count them: `999 B`, `1.2 kB`, `512 MB`.
pub fn bytes(value: u64) -> String {
    if value < 1_000 {
        return format!("{value} B");
    }
    let (figure, unit) = scaled(value as f64, &["B", "kB", "MB", "GB", "TB", "PB", "EB"]);
    format!("{figure} {unit}")
}

/// A span of time: `12 ms`, `0.8 s`, `2 min 03 s`, `1 h 02 min`.
pub fn duration(seconds: f64) -> String {
    let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
    // Each limit is where the finer form would round up to a full coarser unit.
    if seconds < 0.0995 {
        return format!("{:.0} ms", seconds * 1_000.0);
    }
    if seconds < 59.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    if whole < 3_600 {
        return format!("{} min {:02} s", whole / 60, whole % 60);
    }
    let minutes = (seconds / 60.0).round() as u64;
    format!("{} h {:02} min", count(minutes / 60), minutes % 60)
}

/// A rate: `480k rows/s`. None until enough time has passed to tell one.
pub fn rate(value: u64, seconds: f64, noun: &str) -> Option<String> {
    if value == 0 || !seconds.is_finite() || seconds < 0.2 {
        return None;
    }
    let (figure, unit) = scaled(value as f64 / seconds, &["", "k", "M", "G", "T", "P", "E"]);
    Some(format!("{figure}{unit} {noun}/s"))
}

/// A model's figure: `0.0712`.
pub fn metric(value: f64) -> String {
    if value.abs() < 100.0 { format!("{value:.4}") } else { format!("{value:.1}") }
}

/// Divides by thousands until fewer than four digits are left; one decimal below ten.
fn scaled<'a>(mut value: f64, units: &[&'a str]) -> (String, &'a str) {
    let mut units = units.iter();
    let mut unit = units.next().copied().unwrap_or_default();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1_000.0;
        unit = next;
    }
    let decimals = usize::from(value < 9.95 && !unit.is_empty());
    (format!("{value:.decimals$}"), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_separators() {
        for (value, text) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(value), text);
        }
        assert_eq!(count(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!((counted(1, "row"), counted(0, "row")), ("1 row".into(), "0 rows".into()));
    }

    #[test]
    fn bytes_are_decimal_and_round_into_the_next_unit() {
        for (value, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
            (999_500, "1.0 MB"),
            (512_000_000, "512 MB"),
            (1_200_000_000, "1.2 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn durations_never_show_sixty() {
        for (seconds, text) in [
            (0.0, "0 ms"),
            (0.0124, "12 ms"),
            (0.0994, "99 ms"),
            (0.0996, "0.1 s"),
            (0.84, "0.8 s"),
            (59.94, "59.9 s"),
            (59.96, "1 min 00 s"),
            (123.4, "2 min 03 s"),
            (3_599.4, "59 min 59 s"),
            (3_599.6, "1 h 00 min"),
            (3_725.0, "1 h 02 min"),
            (7_199.0, "2 h 00 min"),
            (-1.0, "0 ms"),
            (f64::NAN, "0 ms"),
        ] {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn rates_wait_until_there_is_something_to_tell() {
        assert_eq!(rate(1_000, 0.1, "rows"), None);
        assert_eq!(rate(0, 5.0, "rows"), None);
        assert_eq!(rate(960_000, 2.0, "rows").as_deref(), Some("480k rows/s"));
        assert_eq!(rate(2_400_000, 2.0, "rows").as_deref(), Some("1.2M rows/s"));
        assert_eq!(rate(50, 10.0, "rows").as_deref(), Some("5 rows/s"));
    }

    #[test]
    fn metrics() {
        assert_eq!(metric(0.07123), "0.0712");
        assert_eq!(metric(1234.56), "1234.6");
    }
}
