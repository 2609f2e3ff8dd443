//! The `strings-queue` program.

use mimalloc::MiMalloc;
use std::process::ExitCode;
use strings_queue::cli::{self, Arguments};

/// Each call makes some dozens of small allocations, which are a sixth of its processor time with glibc's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The database's client keeps the buffers of packets for ever, some twenty of them in turns, and each that once held a large
/// body, or a large row of the log, at up to 4 MiB. It looks here for a smaller bound when it makes the first.
const KEPT_BUFFERS: &str = "MYSQL_ASYNC_BUFFER_SIZE_CAP=262144";

fn main() -> ExitCode {
    // There is one thread yet. What the environment has already stays; a line like this one can't be misread.
    let _ = dotenvy::from_read(KEPT_BUFFERS.as_bytes());
    #[cfg(feature = "failpoints")]
    strings_queue::failpoints::arm();
    let arguments = Arguments::of_this_process();
    cli::report(&cli::execute(&arguments))
}
