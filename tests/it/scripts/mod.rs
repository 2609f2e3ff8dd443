//! The commands around the program, driven as a user would: `run.sh`, `test.sh`, and what they stand on.
//!
//! Nothing is built and nothing is installed: `cargo` and `apt-get` are the test's own, and say what they were asked.
//! The servers that they start are real.

mod prerequisites;
mod quickstart;
mod servers;
mod testing;
