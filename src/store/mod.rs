//! The only SQL: one deed per file, named as a sentence.

mod backlog;
mod body;
mod bounds;
mod claim;
mod claim_sql;
mod columns;
mod enqueue;
mod error;
mod finish;
pub mod grants;
mod history;
pub mod inspect;
mod literals;
mod lone_claim;
pub mod migrate;
mod opening;
mod options;
mod owner;
mod peers;
mod place;
mod release;
mod rescue;
mod row;
mod schema;
mod script;
mod seen_row;
mod server;
mod servers;
mod session;
mod transaction;
mod unanswered;
mod writable;

pub use backlog::{DueJob, Page, PageEnd, backlog_sql, read_backlog, read_urls};
pub use body::load_body;
pub use claim::{Claim, claim};
pub use columns::{LoggedColumns, read_columns};
pub use enqueue::{enqueue, read_outcome};
pub use error::StoreError;
pub use finish::{FinishReport, Finished, RESPONSE_BYTES, finish, finish_around_locks};
pub use history::{HistoryLine, drop_written, write_history};
pub use options::connect_options;
pub use owner::Owner;
pub use peers::{JobOwner, await_owner_end, confirm_ends, read_owners};
pub use release::{release, release_claim};
pub use rescue::{Rescued, rescue};
pub use row::{Body, ClaimTerms, ClaimToken, ClaimedJob};
pub use schema::{CURRENT_VERSION, SchemaState, read_schema_state};
pub use seen_row::Missed;
pub use server::{Flavour, LogHead, ServerFacts, ServerIdentity, leave_read_only, read_log_head};
pub use servers::Servers;
pub use session::Session;
pub use writable::{try_to_work, try_to_write};

use crate::config::DatabaseConfig;
use std::sync::Arc;

/// The handle to the tables: it knows the servers and opens sessions.
#[derive(Debug, Clone)]
pub struct Store {
    servers: Arc<Servers>,
}

impl Store {
    /// A store for the `[db]` settings. Connects to nothing yet.
    #[must_use]
    pub fn new(database: &DatabaseConfig) -> Store {
        Store { servers: Arc::new(Servers::new(database.clone())) }
    }

    /// A session for one role. Connects at its first deed.
    #[must_use]
    pub fn session(&self) -> Session {
        Session::new(Arc::clone(&self.servers))
    }

    /// The servers of the settings.
    #[must_use]
    pub fn servers(&self) -> &Servers {
        &self.servers
    }
}
