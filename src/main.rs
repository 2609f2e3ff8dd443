//! The `strings-queue` program.

use std::process::ExitCode;
use strings_queue::cli::{self, Arguments};

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    strings_queue::failpoints::arm();
    let arguments = Arguments::of_this_process();
    cli::report(&cli::execute(&arguments))
}
