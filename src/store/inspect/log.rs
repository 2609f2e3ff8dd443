//! Judges the binary log: whether it is kept, and whether it shows every row of ours.

use super::facts::{Facts, LogFacts};
use super::finding::{Finding, Topic};
use super::server::set_for_good;
use crate::store::server::{Flavour, ServerFacts};

/// A log that is kept for less is often gone before a stopped service is back, in seconds.
const SHORT_EXPIRY: u64 = 3_600;

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    if !facts.server.is_on("log_bin") {
        return vec![no_log(&facts.server)];
    }
    if matches!(facts.log, Ok(None)) {
        let what = "the server has turned its binary log off while it runs (log_bin is on, and there is none)";
        let mend =
            "mend what its error log says, such as a full disk or a folder that it may not write to; then restart it";
        return vec![Finding::fault(Topic::Log, what, mend)];
    }
    let engine = facts.server.variable("binlog_storage_engine");
    if !engine.is_empty() {
        let what =
            format!("binlog_storage_engine is {engine}: such a log is followed by GTID alone, which is not built yet");
        let mend = "take binlog_storage_engine out of the option file, then restart the server";
        return vec![Finding::fault(Topic::Log, what, mend)];
    }
    let filtered = facts.log.as_ref().ok().and_then(Option::as_ref).and_then(|log| filter(log, &facts.database));
    let all = [format(&facts.server), image(&facts.server), filtered, expiry(&facts.server)];
    all.into_iter().flatten().collect()
}

/// Turning it on takes a restart on both servers.
fn no_log(server: &ServerFacts) -> Finding {
    let mend = match server.flavour {
        Flavour::MySql { .. } => {
            "option file, then restart (and take skip-log-bin out):\n[mysqld]\nlog_bin = binlog\nserver_id = 1"
        }
        Flavour::MariaDb { .. } => {
            "option file, then restart:\n[mariadbd]\nlog_bin = binlog\nbinlog_format = ROW\nserver_id = 1\n\
             binlog_expire_logs_seconds = 604800"
        }
    };
    Finding::fault(Topic::Log, "the server keeps no binary log (log_bin is off)", mend)
}

fn format(server: &ServerFacts) -> Option<Finding> {
    let format = server.variable("binlog_format");
    (!matches!(format, "ROW" | "")).then(|| {
        let what = format!(
            "binlog_format is {format}: what is logged as a statement shows no rows, and each one means a sweep; \
             sessions that are open keep the format they have, and a session may set its own"
        );
        Finding::fault(Topic::Log, what, set_for_good(server.flavour, "binlog_format", "'ROW'"))
    })
}

/// We need nothing but the key, and every known image has it.
fn image(server: &ServerFacts) -> Option<Finding> {
    let mend = || set_for_good(server.flavour, "binlog_row_image", "'FULL'");
    match server.variable("binlog_row_image") {
        "" | "FULL" | "FULL_NODUP" => None,
        known @ ("MINIMAL" | "NOBLOB") => {
            let what = format!("binlog_row_image is {known}: that is enough for us, for it has the key");
            Some(Finding::remark(
                Topic::Log,
                what,
                format!("nothing need be done; to change it all the same:\n{}", mend()),
            ))
        }
        other => {
            let what = format!("binlog_row_image is {other}, which we don't know to have the key of each row");
            Some(Finding::fault(Topic::Log, what, mend()))
        }
    }
}

fn filter(log: &LogFacts, database: &str) -> Option<Finding> {
    let names = |list: &str| list.split(',').any(|name| name.trim().eq_ignore_ascii_case(database));
    let option = if names(&log.ignored) {
        "take our database out of the option file's binlog_ignore_db"
    } else if !log.only.is_empty() && !names(&log.only) {
        "name our database in the option file's binlog_do_db too"
    } else {
        return None;
    };
    let what = format!("the server leaves the database {database} out of its log");
    Some(Finding::fault(Topic::Log, what, format!("{option}, then restart the server")))
}

fn expiry(server: &ServerFacts) -> Option<Finding> {
    let seconds: u64 = server.variable("binlog_expire_logs_seconds").parse().ok()?;
    // Of MariaDB 11.4, and of Percona Server.
    let is_bounded =
        ["max_binlog_total_size", "binlog_space_limit"].iter().any(|name| !matches!(server.variable(name), "" | "0"));
    let (what, better) = match seconds {
        0 if is_bounded => return None,
        0 => ("no part of the log is ever removed, and the disk fills up with it".to_owned(), "604800"),
        1..SHORT_EXPIRY => (
            format!("the log is kept for {seconds} s only; after a longer break a sweep must find what it had"),
            "86400",
        ),
        SHORT_EXPIRY.. => return None,
    };
    Some(Finding::remark(Topic::Log, what, set_for_good(server.flavour, "binlog_expire_logs_seconds", better)))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{facts, server, whats};
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Vec<Finding> {
        let mut facts = facts();
        facts.server = server(variables);
        judge(&facts)
    }

    #[test]
    fn a_log_of_rows_is_what_we_want() {
        assert_eq!(found(&[]), []);
        assert_eq!(found(&[("binlog_row_image", "FULL_NODUP")]), []);
    }

    #[test]
    fn without_a_log_the_options_of_each_server_are_told() {
        let mysql = found(&[("log_bin", "OFF"), ("binlog_format", "MIXED")]);
        assert!(mysql.len() == 1 && mysql[0].mend.contains("[mysqld]\nlog_bin = binlog"), "{mysql:?}");
        let mariadb = found(&[("log_bin", "OFF"), ("version", "10.11.1-MariaDB")]);
        assert!(mariadb[0].mend.contains("[mariadbd]\nlog_bin = binlog\nbinlog_format = ROW"), "{mariadb:?}");
        assert!(mariadb[0].mend.contains("\nbinlog_expire_logs_seconds = "), "nothing is removed by default");
    }

    #[test]
    fn other_formats_are_faults_and_other_images_mostly_not() {
        for format in ["MIXED", "STATEMENT"] {
            let found = found(&[("binlog_format", format)]);
            assert!(found[0].mend.starts_with("SET PERSIST binlog_format = 'ROW';"), "{found:?}");
        }
        let mariadb = found(&[("binlog_format", "MIXED"), ("version", "11.8.1-MariaDB")]);
        assert!(mariadb[0].mend.ends_with("under [mariadbd]: binlog_format = ROW"), "{mariadb:?}");
        let image = |image| whats(&found(&[("binlog_row_image", image)]));
        assert_eq!([image("MINIMAL"), image("NOBLOB"), image("NOVEL")], ["remark", "remark", "fault"]);
    }

    #[test]
    fn a_database_that_is_not_logged_is_a_fault() {
        let log = |only: &str, ignored: &str| {
            let mut facts = facts();
            let log = facts.log.as_mut().unwrap().as_mut().unwrap();
            (log.only, log.ignored) = (only.to_owned(), ignored.to_owned());
            whats(&judge(&facts))
        };
        assert_eq!([log("", ""), log("a,shop", ""), log("", "a,b")], ["", "", ""]);
        assert_eq!([log("a,b", ""), log("", "a,shop"), log("shop", "shop")], ["fault", "fault", "fault"]);
    }

    #[test]
    fn a_log_that_is_soon_gone_or_never_is_a_remark() {
        let expiry = |seconds| whats(&found(&[("binlog_expire_logs_seconds", seconds)]));
        assert_eq!([expiry("0"), expiry("60"), expiry("2592000")], ["remark", "remark", ""]);
        assert_eq!(found(&[("binlog_expire_logs_seconds", "0"), ("max_binlog_total_size", "1048576")]), []);
    }
}
