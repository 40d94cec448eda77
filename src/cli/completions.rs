//! `recctl completions`

use super::Ended;

/// Print the completions of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  recctl completions bash > /etc/bash_completion.d/recctl
  recctl completions zsh > ~/.zfunc/_recctl")]
pub struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Ended {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "recctl", &mut text);
    super::print(&String::from_utf8_lossy(&text));
    Ok(0)
}
