//! The `recctl` program.

/// Queries allocate and free columns all the time and on all threads.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    recctl::cli::main()
}
