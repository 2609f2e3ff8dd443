//! The embedded default: a private database server in a directory of its own, and a demo handler to call.
//!
//! Nothing here speaks SQL over a connection: what the server must hold is written into its init file, and it
//! counts as started when it greets on its socket.

mod accounts;
mod client;
mod database;
mod directory;
mod error;
mod handler;
mod initialise;
mod launch;
mod lock;
mod owner;
mod process;
mod program;
mod readiness;
mod ready_file;
mod socket_path;

pub use accounts::{DATABASE, SERVICE_USER};
pub use database::{PrivateServer, ServerOptions};
pub use directory::{default_directory, write_private_file};
pub use error::SandboxError;
pub use handler::DemoHandler;
pub use program::Flavour;
pub use ready_file::{render_ready_file, write_ready_file};
