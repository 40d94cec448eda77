//! The `recctl` program.

/// Queries allocate and free columns all the time and on all threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    recctl::cli::main()
}
