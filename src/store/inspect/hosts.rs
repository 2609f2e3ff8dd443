//! Judges the other hosts of the list: whether we could go on with each of them, should it become the primary.

use super::Terms;
use super::connecting::judge_connecting;
use super::facts::{self, Facts};
use super::finding::{Finding, Severity, Topic};
use super::{log, rights, server, tables};
use crate::config::{DatabaseConfig, HostPort};
use crate::store::Store;
use crate::store::server::ServerFacts;

/// Inspects every host of the list but the one that is used. What is wrong is a remark: we work without them.
pub async fn inspect_others(store: &Store, terms: &Terms) -> Vec<Finding> {
    let servers = store.servers();
    let (database, used) = (servers.database(), servers.current_host());
    let mut found = Vec::new();
    for host in database.hosts.iter().filter(|host| **host != used) {
        // On its own, it need not take writes.
        let alone = DatabaseConfig { hosts: vec![host.clone()], ..database.clone() };
        found.extend(inspect_one(&alone, terms).await.into_iter().map(|finding| of_host(host, finding)));
    }
    found
}

async fn inspect_one(alone: &DatabaseConfig, terms: &Terms) -> Vec<Finding> {
    match facts::read(&mut Store::new(alone).session(), &alone.name).await {
        Ok(facts) => judge(&facts, terms),
        Err(error) => vec![judge_connecting(alone, &error)],
    }
}

fn judge(facts: &Facts, terms: &Terms) -> Vec<Finding> {
    let server = &facts.server;
    let parts = [
        server::judge_in_general(server),
        log::judge(facts),
        rights::judge(facts),
        tables::judge(facts, terms),
        [updates(server), second_primary(server)].into_iter().flatten().collect(),
    ];
    parts.into_iter().flatten().collect()
}

/// It logs what its own clients commit, but we begin to read there while it still catches up.
fn updates(server: &ServerFacts) -> Option<Finding> {
    let logged = server.is_on("log_replica_updates") || server.is_on("log_slave_updates");
    (server.is_on("log_bin") && !logged).then(|| {
        let what = "what it gets by replication is not in its log: a job that comes that way is found by a sweep only";
        Finding::remark(Topic::Log, what, "option file, then restart:\nlog_slave_updates = ON")
    })
}

/// Where several members are meant to take writes, the cluster says so.
fn second_primary(server: &ServerFacts) -> Option<Finding> {
    let of_many = server.is_on("wsrep_on")
        || !server.variable("group_replication_group_name").is_empty()
            && !server.is_on("group_replication_single_primary_mode");
    (server.read_only_by().is_none() && !of_many).then(|| {
        let what = "it takes writes, as the one that is used does: applications and we may end up on different ones";
        Finding::remark(Topic::Server, what, "on all servers but the primary:\nSET GLOBAL read_only = ON;")
    })
}

fn of_host(host: &HostPort, finding: Finding) -> Finding {
    let what = format!("of the other hosts, {}:{}: {}", host.host, host.port, finding.what);
    Finding { severity: Severity::Remark, what, ..finding }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{facts, server, terms, whats};
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<Finding> {
        let mut facts = facts();
        facts.server = server(variables);
        judge(&facts, &terms())
    }

    #[test]
    fn a_replica_that_can_become_the_primary_is_well() {
        assert_eq!(found(&[("read_only", "ON"), ("log_replica_updates", "ON")]), []);
        assert_eq!(found(&[("read_only", "ON"), ("log_slave_updates", "ON")]), []);
    }

    #[test]
    fn what_would_be_missed_on_it_is_told() {
        let silent = found(&[("read_only", "ON"), ("log_slave_updates", "OFF")]);
        assert!(silent.len() == 1 && silent[0].mend.ends_with("log_slave_updates = ON"), "{silent:?}");
        let without_log = found(&[("read_only", "ON"), ("log_bin", "OFF")]);
        assert!(without_log.len() == 1 && without_log[0].what.contains("no binary log"), "{without_log:?}");
    }

    #[test]
    fn two_primaries_are_told_unless_they_are_meant() {
        let second = |more: &[(&str, &str)]| whats(&found(&[&[("log_slave_updates", "ON")], more].concat()));
        assert_eq!(second(&[]), "remark");
        assert_eq!(second(&[("innodb_read_only", "ON")]), "", "a reader of Aurora");
        assert_eq!(second(&[("wsrep_on", "ON")]), "");
        let many = [("group_replication_group_name", "x"), ("group_replication_single_primary_mode", "OFF")];
        assert_eq!(second(&many), "");
    }

    #[test]
    fn nothing_about_another_host_is_a_fault() {
        let host = HostPort { host: "db2".to_owned(), port: 3306 };
        let finding = of_host(&host, Finding::fault(Topic::Log, "no log", "mend"));
        assert_eq!(finding.to_string(), "remark: of the other hosts, db2:3306: no log\n  mend: mend\n");
    }
}
