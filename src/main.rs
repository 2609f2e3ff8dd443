//! The `strings-queue` program.

use mimalloc::MiMalloc;
use std::process::ExitCode;
use strings_queue::cli::{self, Arguments};

/// Each call makes some dozens of small allocations, which are a sixth of its processor time with glibc's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    strings_queue::failpoints::arm();
    let arguments = Arguments::of_this_process();
    cli::report(&cli::execute(&arguments))
}
