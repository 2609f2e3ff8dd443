//! The database and the accounts of the sandbox, as statements that the server runs itself at each start.

use super::SandboxError;
use super::directory::{Directory, write_private};
use super::owner::Owner;
use super::program::Flavour;
use crate::config::Secret;
use crate::store;
use crate::store::grants::{follow_grant, migrate_grants};
use rand::Rng;
use rand::distr::Alphanumeric;

/// The database with the service's tables.
pub const DATABASE: &str = "strings_queue";
/// The account that the service connects with.
pub const SERVICE_USER: &str = "strings_queue";

const PASSWORD_LENGTH: usize = 32;

/// The service's password: made at the first start, kept in a file for the later ones.
pub(super) fn service_password(directory: &Directory) -> Result<Secret, SandboxError> {
    let file = directory.password_file();
    // One that a full disk or a crash left empty is no password.
    if let Some(kept) = std::fs::read_to_string(&file).ok().filter(|kept| !kept.trim().is_empty()) {
        return Ok(Secret::new(kept.trim()));
    }
    let password: String = rand::rng().sample_iter(Alphanumeric).take(PASSWORD_LENGTH).map(char::from).collect();
    write_private(&file, &password, Owner::Ourselves)?;
    Ok(Secret::new(password))
}

/// The init file: one statement per line, each harmless when it is run again.
///
/// Root needs no password by the socket, which nobody else can reach. By TCP it gets in with `open_root` alone.
pub(super) fn statements(flavour: Flavour, password: &Secret, open_root: bool) -> String {
    // The log shall not show the same statements at each start.
    let mut lines = vec![
        "SET SESSION sql_log_bin = 0".to_owned(),
        format!("CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4"),
    ];
    if flavour == Flavour::MariaDb {
        lines.push("DROP USER IF EXISTS 'root'@'::1', ''@'localhost'".to_owned());
    }
    for host in ["localhost", "127.0.0.1"] {
        let account = format!("'{SERVICE_USER}'@'{host}'");
        lines.extend(account_with_password(&account, password.reveal()));
        lines.extend(grants(flavour, &account));
    }
    let root = "'root'@'127.0.0.1'";
    if open_root {
        lines.extend(account_with_password(root, ""));
        lines.push(format!("GRANT ALL PRIVILEGES ON *.* TO {root} WITH GRANT OPTION"));
    } else {
        lines.push(format!("DROP USER IF EXISTS {root}"));
    }
    lines.join(";\n") + ";\n"
}

/// To follow the log, and to migrate, which takes in all that the service does with its tables.
fn grants(flavour: Flavour, account: &str) -> Vec<String> {
    // The version makes no difference to the names of privileges.
    let server = match flavour {
        Flavour::MySql => store::Flavour::MySql { major: 8, minor: 0 },
        Flavour::MariaDb => store::Flavour::MariaDb { major: 10, minor: 6 },
    };
    let all = [follow_grant(server)].into_iter().chain(migrate_grants());
    let statements = all.map(|grant| grant.statement(DATABASE, account));
    statements.map(|statement| statement.trim_end_matches(';').to_owned()).collect()
}

/// The second statement mends an account whose password file was lost.
fn account_with_password(account: &str, password: &str) -> [String; 2] {
    [
        format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY '{password}'"),
        format!("ALTER USER {account} IDENTIFIED BY '{password}'"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_comes_in_by_tcp_only_when_told_so() {
        let password = Secret::new("x");
        let open = statements(Flavour::MySql, &password, true);
        assert!(open.contains("CREATE USER IF NOT EXISTS 'root'@'127.0.0.1' IDENTIFIED BY '';\n"), "{open}");
        let closed = statements(Flavour::MariaDb, &password, false);
        assert!(closed.contains("DROP USER IF EXISTS 'root'@'127.0.0.1';\n"), "{closed}");
        assert!(!closed.contains("GRANT ALL"), "{closed}");
    }

    #[test]
    fn the_service_may_do_what_it_needs_and_no_more() {
        let statements = statements(Flavour::MariaDb, &Secret::new("x"), false);
        assert!(
            statements.contains("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO 'strings_queue'@'127.0.0.1';\n")
        );
        assert!(statements.contains(
            "GRANT SELECT, INSERT, UPDATE, CREATE, ALTER ON strings_queue.queued_job TO 'strings_queue'@'localhost';\n"
        ));
        assert!(!statements.contains("strings_queue.*"), "{statements}");
    }

    #[test]
    fn a_password_is_kept_for_later_starts() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::open(folder.path(), Owner::Ourselves).unwrap();
        let password = service_password(&directory).unwrap();
        assert_eq!(password.reveal().len(), PASSWORD_LENGTH);
        assert_eq!(service_password(&directory).unwrap(), password);
        std::fs::write(directory.password_file(), "").unwrap();
        assert_eq!(service_password(&directory).unwrap().reveal().len(), PASSWORD_LENGTH, "a file that is empty");
    }
}
