//! The program `wxhost`.

use std::process::ExitCode;

// Batches are allocated on one thread and freed on another, which this allocator does well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    wxhost::cli::main()
}
