//! The `strings-queue` program.

fn main() {}
