//! The `strings-queue` program.

use std::process::ExitCode;
use strings_queue::cli::{self, Arguments};

fn main() -> ExitCode {
    let arguments = Arguments::of_this_process();
    cli::report(&cli::execute(&arguments))
}
