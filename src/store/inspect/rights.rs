//! Judges what the account may do, each missing right with the one GRANT that gives it.

use super::facts::Facts;
use super::finding::{Finding, Topic};
use super::probes::{Probe, Tried};
use crate::store::grants::{Scope, follow_grant, grant_statement};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut found: Vec<Finding> = facts.probes.iter().filter_map(|tried| judge_probe(facts, tried)).collect();
    found.extend(judge_reading(facts));
    found.extend(judge_log_status(facts));
    found
}

fn judge_probe(facts: &Facts, (probe, tried): &(Probe, Tried)) -> Option<Finding> {
    let Scope::Table(table) = probe.scope else { return None };
    match tried {
        Tried::Allowed | Tried::NothingThere => None,
        Tried::Denied => Some(missing(facts, probe.privilege, probe.scope)),
        // A read-only server is told of as such; this is the case in which it does not say so.
        Tried::ReadOnly if facts.server.read_only_by().is_some() => None,
        Tried::ReadOnly => {
            let mend = "name the primary in [db] `host: …`, or let the server take writes again";
            Some(Finding::fault(Topic::Server, format!("the server takes no writes to {table}"), mend))
        }
        Tried::Failed(why) => {
            let mend = "mend what the server says; if somebody locks or alters the table, check again afterwards";
            Some(Finding::fault(Topic::Tables, format!("{} on {table} failed: {why}", probe.privilege), mend))
        }
    }
}

/// To an account without any right on a table, one that is not there looks just like one it may not use.
fn missing(facts: &Facts, privilege: &str, scope: Scope) -> Finding {
    let Facts { account, database, .. } = facts;
    let what = match scope {
        Scope::Server => format!("the account {account} lacks {privilege}"),
        Scope::Table(table) => format!("the account {account} lacks {privilege} on {database}.{table}"),
    };
    Finding::fault(Topic::Rights, what, grant_statement(privilege, scope, database, account))
}

/// Whether we may read the log is told by reading it. Where that can't be tried yet, because we may not see its end or
/// there is no table to follow it for, the grants tell; unless a role may bring the right along.
fn judge_reading(facts: &Facts) -> Option<Finding> {
    let can_be_tried = facts.log.is_ok() && facts.has_table();
    let [read, _] = follow_grant(facts.server.flavour).privileges else { return None };
    let may_have_it = |line: &String| [read, "ALL PRIVILEGES"].iter().any(|right| gives(line, right)) || is_role(line);
    let is_known = can_be_tried || facts.server_grants.iter().any(may_have_it) || !facts.server.is_on("log_bin");
    (!is_known).then(|| missing(facts, read, Scope::Server))
}

/// Whether it is among the rights of the grant, by its whole name: that of another may begin with it.
fn gives(grant: &str, right: &str) -> bool {
    let rights = grant.strip_prefix("GRANT ").and_then(|rest| rest.split(" ON ").next());
    rights.is_some_and(|rights| rights.split(',').any(|one| one.trim() == right))
}

/// All other grants are on something.
fn is_role(grant: &str) -> bool {
    !grant.contains(" ON ")
}

/// Without a log there is nothing to see; that is told of elsewhere.
fn judge_log_status(facts: &Facts) -> Option<Finding> {
    let (Err(code), true) = (&facts.log, facts.server.is_on("log_bin")) else { return None };
    let [_, status] = follow_grant(facts.server.flavour).privileges else { return None };
    match code {
        1227 | 1142 | 1044 => Some(missing(facts, status, Scope::Server)),
        code => {
            let what = format!("the server does not tell where its log ends (error {code})");
            Some(Finding::fault(Topic::Log, what, "look that error up in the server's manual, and mend it"))
        }
    }
}

/// Only reading the log shows whether we may: no statement of SQL asks for the same right on both servers.
pub(super) fn judge_log_failure(facts: &Facts, reason: &str) -> Option<Finding> {
    let [read, status] = follow_grant(facts.server.flavour).privileges else { return None };
    if reason.contains("Access denied") && reason.contains("REPLICATION SLAVE") {
        return Some(missing(facts, read, Scope::Server));
    }
    let what = format!("the log can't be followed: {reason}");
    let mend = format!(
        "mend what it says; reading the log needs {read} and {status}, and a server that answers; a proxy in between must \
         pass all on as it is (ProxySQL: fast_forward for this user)"
    );
    Some(Finding::fault(Topic::Log, what, mend))
}

#[cfg(test)]
mod tests {
    use super::super::probes::PROBES;
    use super::super::testing::{facts, server, whats};
    use super::*;

    #[test]
    fn each_missing_right_is_told_with_its_grant() {
        let mut facts = facts();
        facts.probes = PROBES.into_iter().map(|probe| (probe, Tried::Denied)).collect();
        facts.log = Err(1227);
        let mends: Vec<String> = judge(&facts).into_iter().map(|finding| finding.mend).collect();
        let expected = [
            "GRANT SELECT ON `shop`.queued_job TO 'queue'@'%';",
            "GRANT UPDATE ON `shop`.queued_job TO 'queue'@'%';",
            "GRANT SELECT ON `shop`.queued_job_log TO 'queue'@'%';",
            "GRANT INSERT ON `shop`.queued_job_log TO 'queue'@'%';",
            "GRANT SELECT ON `shop`.queued_job_migration TO 'queue'@'%';",
            "GRANT REPLICATION CLIENT ON *.* TO 'queue'@'%';",
        ];
        assert_eq!(mends, expected);
        facts.server = server(&[("version", "11.8.1-MariaDB")]);
        assert_eq!(judge(&facts)[5].mend, "GRANT BINLOG MONITOR ON *.* TO 'queue'@'%';");
        facts.server = server(&[("log_bin", "OFF")]);
        assert_eq!(judge(&facts).len(), 5);
    }

    #[test]
    fn the_right_to_read_the_log_is_told_by_the_grants_where_it_cant_be_tried() {
        let told = |grant: &str, log: bool, table: bool| {
            let mut facts = facts();
            facts.server_grants = vec!["GRANT USAGE ON *.*".to_owned(), grant.to_owned()];
            if !log {
                facts.log = Err(1227);
            }
            if !table {
                facts.columns.clear();
            }
            judge(&facts).into_iter().map(|finding| finding.mend).collect::<Vec<_>>()
        };
        let [read, status] =
            ["REPLICATION SLAVE", "REPLICATION CLIENT"].map(|right| format!("GRANT {right} ON *.* TO 'queue'@'%';"));
        let other = "GRANT PROCESS, REPLICATION SLAVE ADMIN ON *.*";
        assert_eq!(told(other, false, true), [read.clone(), status.clone()]);
        assert_eq!(told(other, true, false), [read]);
        assert!(told(other, true, true).is_empty(), "it is tried");
        for grant in ["GRANT ALL PRIVILEGES ON *.*", "GRANT REPLICATION SLAVE, PROCESS ON *.*", "GRANT `keeper`@`%`"] {
            assert_eq!(told(grant, false, true), [status.as_str()], "{grant}");
        }
    }

    #[test]
    fn what_is_not_there_says_nothing_of_rights() {
        let mut facts = facts();
        facts.probes = PROBES.into_iter().map(|probe| (probe, Tried::NothingThere)).collect();
        assert_eq!(judge(&facts), []);
        facts.probes = vec![(PROBES[1], Tried::Failed("x".to_owned())), (PROBES[3], Tried::ReadOnly)];
        assert_eq!(whats(&judge(&facts)), "fault fault");
        facts.server = server(&[("read_only", "ON")]);
        assert_eq!(whats(&judge(&facts)), "fault");
    }

    #[test]
    fn a_refusal_to_send_the_log_is_a_missing_right() {
        let facts = facts();
        let refusal = "the server says: Access denied; you need (at least one of) the REPLICATION SLAVE privilege(s) \
            for this operation (error 1227)";
        let found = judge_log_failure(&facts, refusal).unwrap();
        assert_eq!(found.mend, "GRANT REPLICATION SLAVE ON *.* TO 'queue'@'%';");
        assert_eq!(judge_log_failure(&facts, "no event").unwrap().what, "the log can't be followed: no event");
    }
}
