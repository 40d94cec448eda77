//! Names of jobs. SageMaker never gives a name free again, so another attempt needs another one.

use crate::pipeline::fingerprint::digest;
pub(super) use crate::ports::limits::sagemaker::{JOB_NAME as JOB, TUNING_NAME as TUNING};
use crate::run::failure::{Failure, FailureKind, Outcome};

/// Checks a name. Errors: `Usage`.
pub(super) fn check(name: &str, most: usize) -> Outcome<()> {
    let is_known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let valid = (1..=most).contains(&name.len())
        && name.bytes().all(is_known)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if valid {
        return Ok(());
    }
    let message = format!(
        "`{name}` is not a job name (expected 1 to {most} of `a` to `z`, `0` to `9` and `-`, \
         without `-` at its ends)"
    );
    Err(Failure::new(FailureKind::Usage, message))
}

/// The name of an attempt, counted from 1; the first has the job's own.
pub(super) fn of_attempt(name: &str, attempt: usize, most: usize) -> String {
    if attempt == 1 {
        return name.to_owned();
    }
    let suffix = format!("-a{attempt}");
    if name.len() + suffix.len() <= most {
        return format!("{name}{suffix}");
    }
    // Two long names may begin alike.
    let digest = digest(name.as_bytes());
    let (digest, _) = digest.split_at(8);
    let room = most - suffix.len() - digest.len() - 1;
    let head = name.get(..room).unwrap_or(name).trim_end_matches('-');
    format!("{head}-{digest}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_sagemaker_refuses_are_refused_here() {
        for name in ["a", "a-1--b", &"x".repeat(63)] {
            check(name, JOB).unwrap();
        }
        for name in ["", "-a", "a-", "A", "a_b", "a.b", &"x".repeat(64)] {
            assert_eq!(check(name, JOB).unwrap_err().kind, FailureKind::Usage, "{name}");
        }
        assert!(check(&"x".repeat(33), TUNING).is_err());
    }

    #[test]
    fn attempts_have_names_of_their_own() {
        assert_eq!(of_attempt("als-20260302", 1, JOB), "als-20260302");
        assert_eq!(of_attempt("als-20260302", 12, JOB), "als-20260302-a12");
        let (one, other) = (format!("{}a", "x".repeat(62)), format!("{}b", "x".repeat(62)));
        let name = of_attempt(&one, 2, JOB);
        assert_eq!(name.len(), 63);
        check(&name, JOB).unwrap();
        assert_ne!(name, of_attempt(&other, 2, JOB));
        let cut = of_attempt(&format!("{}-{}", "x".repeat(19), "y".repeat(12)), 2, TUNING);
        assert!(cut.starts_with(&format!("{}-", "x".repeat(19))) && cut.ends_with("-a2"), "{cut}");
        check(&cut, TUNING).unwrap();
    }
}
