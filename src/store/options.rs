//! From the settings to the driver's connection options.

use crate::config::{DatabaseConfig, HostPort, Secret, SslMode};
use mysql_async::{Opts, OptsBuilder, SslOpts};
use std::time::Duration;

/// The packet size we are ready for: the protocol's own limit for a value.
const MAX_PACKET_BYTES: usize = 1 << 30;
/// The server closes a session that is idle for longer; ours idle for as long as nothing happens. The longest
/// that both servers accept (`wait_timeout` in their manuals), in seconds.
pub const WAIT_TIMEOUT_SECS: usize = 31_536_000;
/// The time zone and the SQL mode that our statements are written for.
pub(super) const SESSION_MODE: &str = "time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'";
/// How long a statement of ours waits for a row lock, in seconds. Results wait so for a row that an application keeps locked,
/// and all others of their batch with it; then they go around it.
pub(super) const LOCK_WAIT_SECS: u32 = 3;
/// How long one waits for a table that somebody alters or locks, in seconds: twice that is within a deed's time. The server
/// looks at nothing else meanwhile: a statement that we have given up would wait on, as long as the table is kept, and the
/// next one beside it.
pub(super) const TABLE_WAIT_SECS: u32 = 12;
/// How long one deed (its statements together) may take before its connection is given up.
pub(super) const DEED_DEADLINE: Duration = Duration::from_secs(30);
/// After so long a silence the kernel asks the peer whether it is still there; how often it asks again, and when it gives
/// up, are the machine's settings (on Linux, eleven minutes later).
const KEEPALIVE: Duration = Duration::from_secs(30);

/// The options to connect to one server of the settings; TLS as `encrypted` says.
#[must_use]
pub fn connect_options(database: &DatabaseConfig, host: &HostPort, encrypted: bool) -> Opts {
    let mut options = OptsBuilder::default()
        .user(Some(&database.user))
        .pass(database.password.as_ref().map(Secret::reveal))
        .db_name(Some(&database.name))
        .ip_or_hostname(&host.host)
        .tcp_port(host.port)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .prefer_socket(false)
        .max_allowed_packet(Some(MAX_PACKET_BYTES))
        .wait_timeout(Some(WAIT_TIMEOUT_SECS))
        .stmt_cache_size(64)
        .init(vec![session_settings()]);
    if let Some(socket) = &database.socket {
        options = options.socket(Some(socket.to_string_lossy()));
    }
    if encrypted && database.socket.is_none() {
        options = options.ssl_opts(Some(tls_options(database)));
    }
    options.into()
}

/// What every session of ours sets: our own time zone, character set and SQL mode, so that the server's settings and
/// the daylight-saving hour change nothing; and none of the limits that a server may put on its sessions. What stands
/// in `/*M!` is for MariaDB alone, in `/*!8` for MySQL alone.
fn session_settings() -> String {
    format!(
        "SET SESSION {SESSION_MODE}, wait_timeout = {WAIT_TIMEOUT_SECS}, \
         innodb_lock_wait_timeout = {LOCK_WAIT_SECS}, lock_wait_timeout = {TABLE_WAIT_SECS}, \
         autocommit = 1, completion_type = 0, sql_safe_updates = 0, sql_big_selects = 1, \
         sql_select_limit = 18446744073709551615 /*M!100600 , max_statement_time = 0 */ \
         /*!80000 , max_execution_time = 0 */, NAMES utf8mb4 COLLATE utf8mb4_unicode_ci"
    )
}

/// What `mysql_async` looks for in an error's text to see that nothing but the name is wrong. rustls no longer says so
/// in these words, but it repeats the name that was expected; it is no part of the text of any other error.
const NAME_THAT_NOBODY_HAS: &str = "NotValidForName.invalid";

fn tls_options(database: &DatabaseConfig) -> SslOpts {
    let unchecked = matches!(database.ssl_mode, SslMode::Disabled | SslMode::Preferred | SslMode::Required);
    let any_name = database.ssl_mode == SslMode::VerifyCa;
    let mut tls = SslOpts::default()
        .with_danger_accept_invalid_certs(unchecked)
        .with_danger_skip_domain_validation(unchecked || any_name)
        .with_danger_tls_hostname_override(any_name.then_some(NAME_THAT_NOBODY_HAS));
    if let Some(ca) = &database.ssl_ca {
        tls = tls.with_root_certs(vec![ca.clone().into()]).with_disable_built_in_roots(true);
    }
    tls
}
