//! Semi-synchronous replication: commits that wait for a replica, of which there is none.

use super::database::TestServer;

/// The variable that switches it on.
pub fn semi_sync_switch() -> &'static str {
    if TestServer::get().is_mysql() { "rpl_semi_sync_source_enabled" } else { "rpl_semi_sync_master_enabled" }
}

/// Options with which a server can do it, for three seconds at most.
///
/// MariaDB has it built in and waits after the commit unless told otherwise; MySQL has a plugin.
pub fn semi_sync() -> Vec<&'static str> {
    if TestServer::get().is_mysql() {
        vec!["--plugin-load-add=semisync_source.so", "--loose-rpl-semi-sync-source-timeout=3000"]
    } else {
        vec!["--rpl-semi-sync-master-timeout=3000", "--rpl-semi-sync-master-wait-point=AFTER_SYNC"]
    }
}
