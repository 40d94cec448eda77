//! The `recctl` program.

fn main() -> std::process::ExitCode {
    recctl::cli::main()
}
