//! Settings: flag, then environment, then default. All `RECCTL_*` names stand here.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::report::OutputMode;

/// What every subcommand takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Settings {
    /// The project's folder, which holds pipelines.yaml
    #[arg(
        long,
        short = 'C',
        global = true,
        value_name = "DIR",
        env = "RECCTL_PROJECT",
        default_value = "."
    )]
    pub project: PathBuf,

    /// The folder of the embedded target [default: .recctl in the project's folder]
    #[arg(long, global = true, value_name = "DIR", env = "RECCTL_HOME")]
    pub home: Option<PathBuf>,

    /// Where to run
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "RECCTL_TARGET",
        default_value = "local"
    )]
    pub target: String,

    /// Bytes that all queries together may hold before they spill to disk, such as 512MB or 2GB
    #[arg(long, global = true, value_name = "BYTES", env = "RECCTL_MEMORY_LIMIT", default_value = "1GB", value_parser = parse_bytes)]
    pub memory_limit: usize,

    /// Threads that compute [default: as many as the machine has]
    #[arg(long, global = true, value_name = "N", env = "RECCTL_THREADS", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub threads: Option<u16>,

    /// How progress is told: terminal, plain or json [default: terminal on a terminal, else plain]
    #[arg(long, global = true, value_name = "MODE", env = "RECCTL_LOG_FORMAT")]
    pub log_format: Option<OutputMode>,

    /// Write metrics of runs to standard output: emf (CloudWatch's embedded metric format)
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        env = "RECCTL_METRICS",
        hide_possible_values = true
    )]
    pub metrics: Option<Metrics>,

    /// Seconds that a run may take to end once it was asked to stop, before what is under way is given up
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "RECCTL_STOP_TIMEOUT",
        default_value_t = 25
    )]
    pub stop_timeout: u32,

    /// Tell only of failures and of the end
    #[arg(long, short, global = true, env = "RECCTL_QUIET")]
    pub quiet: bool,
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metrics {
    /// CloudWatch's embedded metric format: one JSON document a line.
    Emf,
}

impl Settings {
    /// The folder of the embedded target.
    pub fn home(&self) -> PathBuf {
        self.home.clone().unwrap_or_else(|| self.project.join(".recctl"))
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        match self.threads {
            Some(threads) => usize::from(threads),
            None => std::thread::available_parallelism().map_or(2, usize::from),
        }
    }
}

/// Reads a number of bytes with a decimal unit (kB, MB, GB) or a binary one (KiB, MiB, GiB).
fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim();
    let unit = text.trim_start_matches(|c: char| !c.is_ascii_alphabetic()).to_ascii_lowercase();
    let factor: f64 = match unit.as_str() {
        "" | "b" => 1.0,
        "k" | "kb" => 1e3,
        "m" | "mb" => 1e6,
        "g" | "gb" => 1e9,
        "kib" => 1_024.0,
        "mib" => 1_048_576.0,
        "gib" => 1_073_741_824.0,
        _ => return Err(format!("unknown unit `{unit}` (expected kB, MB, GB, KiB, MiB or GiB)")),
    };
    let number: f64 =
        digits.parse().map_err(|_| "expected a number with a unit, such as 512MB".to_owned())?;
    let bytes = number * factor;
    if !(16e6..=1e14).contains(&bytes) {
        return Err("expected at least 16MB".to_owned());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was checked above"
    )]
    Ok(bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn reads_bytes() {
        assert_eq!(parse_bytes("1GB"), Ok(1_000_000_000));
        assert_eq!(parse_bytes("512MiB"), Ok(536_870_912));
        assert_eq!(parse_bytes("1.5g"), Ok(1_500_000_000));
        for bad in ["", "GB", "1XB", "-1GB", "1kB", "nanGB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
