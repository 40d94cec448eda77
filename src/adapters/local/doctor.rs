//! Whether the embedded target is ready for a run. Makes one file in each folder and removes it.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OpenFlags};

use super::sqlite::blocking;
use crate::ports::preflight::{Checklist, Finding, Preflight};
use crate::run::failure::Outcome;

/// Free bytes below which a day of a real pipeline hardly fits.
const LITTLE: u64 = 2_000_000_000;

/// Looks at the embedded target's folders.
#[derive(Debug, Clone)]
pub struct LocalPreflight {
    home: PathBuf,
    now: DateTime<Utc>,
}

impl LocalPreflight {
    /// Looks at the target below `home`, which need not be there.
    pub fn new(home: &Path, now: DateTime<Utc>) -> Self {
        Self { home: home.to_owned(), now }
    }
}

#[async_trait]
impl Preflight for LocalPreflight {
    async fn check(&self, _list: &Checklist) -> Outcome<Vec<Finding>> {
        let Self { home, now } = self.clone();
        blocking(move || Ok(look(&home, now))).await
    }
}

fn look(home: &Path, now: DateTime<Utc>) -> Vec<Finding> {
    let mut findings = Vec::new();
    if home.is_dir() {
        let folders = ["lake", "jobs", "tmp"].map(|name| home.join(name));
        for folder in std::iter::once(home.to_owned()).chain(folders) {
            if folder.exists() {
                findings.push(writable(&folder));
            }
        }
    } else {
        let parent = home.ancestors().skip(1).find(|it| it.is_dir()).unwrap_or(Path::new("."));
        let finding = writable(parent);
        findings.push(match finding.state {
            crate::ports::FindingState::Ok => {
                Finding::ok(format!("folder {}", home.display()), "will be made")
            }
            _ => finding,
        });
    }
    findings.push(space(home));
    let state = home.join("state.db");
    if state.is_file() {
        findings.push(leases(&state, now));
    }
    findings
}

fn writable(folder: &Path) -> Finding {
    let subject = format!("folder {}", folder.display());
    let probe = folder.join(format!(".recctl-doctor-{}", std::process::id()));
    let tried = std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe));
    match tried {
        Ok(()) => Finding::ok(subject, "can be written to"),
        Err(error) => Finding::fail(subject, format!("cannot be written to: {error}"))
            .hint("give yourself the right to write there, or choose another with --home"),
    }
}

fn space(home: &Path) -> Finding {
    let subject = "disk";
    let there = home.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    match fs4::available_space(there) {
        Ok(free) => {
            let text = format!("{:.1} GB are free", free as f64 / 1e9);
            match free < LITTLE {
                true => Finding::warn(subject, text)
                    .hint("tables of several days need more: free some, or choose another --home"),
                false => Finding::ok(subject, text),
            }
        }
        Err(error) => Finding::unknown(subject, format!("free space is not known: {error}")),
    }
}

/// Reads the leases without opening the database as its owner would, which might migrate it.
fn leases(path: &Path, now: DateTime<Utc>) -> Finding {
    let subject = "lease";
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut held = connection.prepare(
            "SELECT name, holder FROM leases WHERE holder IS NOT NULL AND until > ?1 ORDER BY name",
        )?;
        let rows =
            held.query_map([now.timestamp_micros()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    match read() {
        Ok(held) => match held.first() {
            None => Finding::ok(subject, "nobody is running"),
            Some((name, holder)) => {
                Finding::warn(subject, format!("`{name}` is being run by `{holder}`"))
                    .hint("wait for it to end; the lease of a process that died is taken over")
            }
        },
        Err(error) => {
            Finding::unknown(subject, format!("cannot read `{}`: {error}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{FindingState, StateStore};

    fn states(findings: &[Finding]) -> Vec<(&str, FindingState)> {
        findings.iter().map(|it| (it.subject.as_str(), it.state)).collect()
    }

    #[tokio::test]
    async fn a_target_that_is_not_there_will_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("a/.recctl");
        let doctor = LocalPreflight::new(&home, DateTime::UNIX_EPOCH);
        let found = doctor.check(&Checklist::default()).await.unwrap();
        assert_eq!(found[0].what, "will be made");
        assert_eq!(states(&found)[1].0, "disk");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes nothing");
    }

    #[tokio::test]
    async fn folders_and_the_lease_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let target = super::super::LocalTarget::open(folder.path()).unwrap();
        let now = DateTime::UNIX_EPOCH;
        let doctor = LocalPreflight::new(folder.path(), now);
        let store = target.state_store("here").await.unwrap();
        let time = std::time::Duration::from_secs(60);
        let lease = store.acquire("daily/2026-03-01", "there/1/x", time, now).await.unwrap();
        let found = doctor.check(&Checklist::default()).await.unwrap();
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(found[..5].iter().all(|it| it.state != FindingState::Fail), "{found:?}");
        assert_eq!(found[5].what, "`daily/2026-03-01` is being run by `there/1/x`");
        store.release(&lease).await.unwrap();
        let found = doctor.check(&Checklist::default()).await.unwrap();
        assert_eq!(found[5], Finding::ok("lease", "nobody is running"));
    }

    #[test]
    fn a_folder_that_takes_nothing_is_told() {
        let folder = tempfile::tempdir().unwrap();
        // A file takes no files, whoever asks; rights would not stop root.
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(writable(&file).state, FindingState::Fail);
    }
}
