//! Judges the server: its version, whether it can be written to, how safe its commits are, a cluster's caveats.

use super::Terms;
use super::facts::Facts;
use super::finding::{Finding, Topic};
use crate::store::server::{Flavour, ServerFacts};

pub(super) fn judge(facts: &Facts, terms: &Terms) -> Vec<Finding> {
    let server = &facts.server;
    let own = [read_only(server), server_id(server, terms), cluster(server), named_locks(server)];
    own.into_iter().flatten().chain(judge_in_general(server)).collect()
}

/// What can be said of a server whether or not it is the one that we work on.
pub(super) fn judge_in_general(server: &ServerFacts) -> Vec<Finding> {
    version(server).into_iter().chain(durability(server)).chain(group(server)).collect()
}

fn version(server: &ServerFacts) -> Option<Finding> {
    let (what, mend) = server.too_old()?;
    Some(Finding::fault(Topic::Server, what, mend))
}

fn read_only(server: &ServerFacts) -> Option<Finding> {
    let switch = server.read_only_by()?;
    let mend = match switch {
        "innodb_read_only" => "name the primary in [db] `host: …`",
        _ => "name the primary in [db] `host: …`, or, if this is the primary:\nSET GLOBAL read_only = OFF;",
    };
    Some(Finding::fault(Topic::Server, format!("the server is read-only ({switch} is on)"), mend))
}

fn server_id(server: &ServerFacts, terms: &Terms) -> Option<Finding> {
    let ours = terms.server_id.filter(|id| server.variable("server_id") == id.to_string())?;
    let what = format!("[binlog] server_id is {ours}, which is the server's own");
    let mend = "take the line `server_id: …` out of [binlog], or write a number that no server and no replica has";
    Some(Finding::fault(Topic::Settings, what, mend))
}

fn cluster(server: &ServerFacts) -> Option<Finding> {
    server.is_on("wsrep_on").then(|| {
        let what = "the server is a node of a Galera cluster: its named locks and its log are this node's alone";
        let mend = if server.is_on("log_slave_updates") {
            "let all dispatchers use the same node"
        } else {
            "let all dispatchers use the same node, and log what the other nodes commit (option file, then restart):\n\
             log_slave_updates = ON"
        };
        Finding::remark(Topic::Server, what, mend)
    })
}

/// Percona's cluster refuses `GET_LOCK` unless told otherwise ("strict mode" in its manual).
fn named_locks(server: &ServerFacts) -> Option<Finding> {
    (server.variable("pxc_strict_mode") == "ENFORCING").then(|| {
        let what = "pxc_strict_mode is ENFORCING: the server refuses named locks, by which services know of each other";
        let mend =
            "SET GLOBAL pxc_strict_mode = MASTER;\nand for the next restart, under [mysqld]: pxc_strict_mode = MASTER";
        Finding::fault(Topic::Server, what, mend)
    })
}

/// Two settings of a group's member with which clients may end up on a server that is no longer of the group.
fn group(server: &ServerFacts) -> Vec<Finding> {
    if server.variable("group_replication_group_name").is_empty() {
        return Vec::new();
    }
    let boot = ("group_replication_start_on_boot", "OFF", "ON");
    let majority = ("group_replication_unreachable_majority_timeout", "0", "10");
    let risks = [
        (boot, "a member that is started anew takes writes of its own, outside the group"),
        (majority, "a primary that can't reach the majority keeps its clients waiting instead of letting them go"),
    ];
    let found = risks.into_iter().filter(|((name, value, _), _)| server.variable(name) == *value);
    let finding = |((name, value, better), risk): ((&str, &str, &str), &str)| {
        Finding::remark(Topic::Server, format!("{name} is {value}: {risk}"), set_for_good(server.flavour, name, better))
    };
    found.map(finding).collect()
}

fn durability(server: &ServerFacts) -> Vec<Finding> {
    let wanted = [
        ("sync_binlog", "a crash of the machine may leave committed jobs out of the log; the sweep finds them late"),
        ("innodb_flush_log_at_trx_commit", "a crash of the machine may lose committed jobs and results"),
    ];
    let is_durable = |name: &str| match (server.variable(name), name, server.flavour) {
        // MariaDB's 3 is as durable as 1 ("innodb_flush_log_at_trx_commit" in its manual).
        ("" | "1", ..) | ("3", "innodb_flush_log_at_trx_commit", Flavour::MariaDb { .. }) => true,
        _ => false,
    };
    let relaxed = wanted.into_iter().filter(|(name, _)| !is_durable(name));
    let finding = |(name, risk): (&str, &str)| {
        let what = format!("{name} is {}: {risk}", server.variable(name));
        Finding::remark(Topic::Server, what, set_for_good(server.flavour, name, "1"))
    };
    relaxed.map(finding).collect()
}

/// How a variable of the server is set so that it outlives a restart.
pub(super) fn set_for_good(flavour: Flavour, name: &str, value: &str) -> String {
    match flavour {
        Flavour::MySql { .. } => format!("SET PERSIST {name} = {value};"),
        Flavour::MariaDb { .. } => {
            let in_file = value.trim_matches('\'');
            format!("SET GLOBAL {name} = {value};\nand for the next restart, under [mariadbd]: {name} = {in_file}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{facts, server, terms, whats};
    use super::*;

    #[test]
    fn a_good_server_is_not_faulted() {
        assert_eq!(judge(&facts(), &terms()), []);
    }

    #[test]
    fn servers_without_the_sql_we_use_are_named() {
        let old = ["5.7.44-log", "8.0.18", "10.5.29-MariaDB", "10.3.39-MariaDB-log"];
        let new = ["8.0.19", "8.4.0", "9.7.4", "10.6.0-MariaDB", "11.8.9-MariaDB-deb13"];
        for text in old {
            assert!(version(&server(&[("version", text)])).is_some(), "{text}");
        }
        for text in new {
            assert_eq!(version(&server(&[("version", text)])), None, "{text}");
        }
    }

    #[test]
    fn a_read_only_server_is_a_fault() {
        assert!(read_only(&server(&[("read_only", "ON")])).unwrap().mend.contains("SET GLOBAL read_only = OFF;"));
        let group_member = server(&[("read_only", "ON"), ("super_read_only", "ON")]);
        assert!(read_only(&group_member).unwrap().what.contains("super_read_only"));
        let reader = read_only(&server(&[("read_only", "OFF"), ("innodb_read_only", "ON")])).unwrap();
        assert!(reader.what.contains("innodb_read_only") && !reader.mend.contains("SET GLOBAL"), "{reader}");
    }

    #[test]
    fn the_servers_own_number_is_not_ours() {
        let clash = Terms { server_id: Some(1), ..terms() };
        assert_eq!(server_id(&server(&[("server_id", "1")]), &clash).unwrap().topic, Topic::Settings);
        assert_eq!(server_id(&server(&[("server_id", "2")]), &clash), None);
    }

    #[test]
    fn a_member_of_a_group_that_keeps_clients_to_itself_is_told_how_to_let_them_go() {
        let member = [
            ("group_replication_group_name", "8f1c9f2e-6a0b-4b55-9d0b-5a5f3f7c2d11"),
            ("group_replication_start_on_boot", "OFF"),
            ("group_replication_unreachable_majority_timeout", "0"),
        ];
        let found = group(&server(&member));
        assert_eq!(whats(&found), "remark remark");
        assert_eq!(found[1].mend, "SET PERSIST group_replication_unreachable_majority_timeout = 10;");
        assert_eq!(group(&server(&member[1..])), []);
    }

    #[test]
    fn commits_that_are_not_durable_and_clusters_are_remarks() {
        let mut facts = facts();
        facts.server = server(&[("sync_binlog", "0"), ("innodb_flush_log_at_trx_commit", "2"), ("wsrep_on", "ON")]);
        let found = judge(&facts, &terms());
        assert_eq!(whats(&found), "remark remark remark");
        assert!(found[1].mend.starts_with("SET PERSIST sync_binlog = 1;"), "{found:?}");
        assert!(found[0].mend.contains("log_slave_updates = ON"), "{found:?}");
        let strict = |mode| named_locks(&server(&[("pxc_strict_mode", mode)]));
        assert!(strict("ENFORCING").unwrap().mend.starts_with("SET GLOBAL pxc_strict_mode = MASTER;"));
        assert_eq!((strict("MASTER"), strict("PERMISSIVE"), strict("")), (None, None, None));
        let flushed = |version| server(&[("version", version), ("innodb_flush_log_at_trx_commit", "3")]);
        assert_eq!(durability(&flushed("11.8.1-MariaDB")), []);
        assert_eq!(whats(&durability(&flushed("8.4.3"))), "remark");
        let mariadb = set_for_good(Flavour::MariaDb { major: 11, minor: 8 }, "sync_binlog", "1");
        assert_eq!(mariadb, "SET GLOBAL sync_binlog = 1;\nand for the next restart, under [mariadbd]: sync_binlog = 1");
    }
}
