//! Grants: what our account must be allowed to do, in one list: for `check`, for the sandbox, and, held by a test,
//! for the scripts in `docs/grants`.
//!
//! Named locks need no grant on either server.

use super::server::Flavour;

/// What a grant is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// The whole server.
    Server,
    /// One table of the database.
    Table(&'static str),
}

/// Privileges in one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// By their names in SQL.
    pub privileges: &'static [&'static str],
    /// On what.
    pub scope: Scope,
}

const fn on_server(privileges: &'static [&'static str]) -> Grant {
    Grant { privileges, scope: Scope::Server }
}

const fn on_table(table: &'static str, privileges: &'static [&'static str]) -> Grant {
    Grant { privileges, scope: Scope::Table(table) }
}

const FOLLOW_MYSQL: Grant = on_server(&["REPLICATION SLAVE", "REPLICATION CLIENT"]);
/// MariaDB has had the second one under this name since 10.5 ("GRANT" in its documentation).
const FOLLOW_MARIADB: Grant = on_server(&["REPLICATION SLAVE", "BINLOG MONITOR"]);

/// The work on the tables.
const WORK: [Grant; 3] = [
    on_table("queued_job", &["SELECT", "UPDATE"]),
    on_table("queued_job_log", &["SELECT", "INSERT"]),
    on_table("queued_job_migration", &["SELECT"]),
];

/// Creating the tables and upgrading them. With CREATE among them they can be granted before there is a table.
const MIGRATE: [Grant; 3] = [
    on_table("queued_job", &["SELECT", "INSERT", "UPDATE", "CREATE", "ALTER"]),
    on_table("queued_job_log", &["SELECT", "INSERT", "UPDATE", "CREATE", "ALTER"]),
    on_table("queued_job_migration", &["SELECT", "INSERT", "CREATE"]),
];

/// What `run`, `once` and `check` need. The tables must be there before it can be granted.
#[must_use]
pub fn service_grants(flavour: Flavour) -> [Grant; 4] {
    let [jobs, log, migrations] = WORK;
    [follow_grant(flavour), jobs, log, migrations]
}

/// What `migrate` needs.
#[must_use]
pub fn migrate_grants() -> [Grant; 3] {
    MIGRATE
}

/// What following the log needs: to read it, and to see where it ends.
#[must_use]
pub fn follow_grant(flavour: Flavour) -> Grant {
    match flavour {
        Flavour::MySql { .. } => FOLLOW_MYSQL,
        Flavour::MariaDb { .. } => FOLLOW_MARIADB,
    }
}

impl Grant {
    /// The statement that grants it all; `account` as SQL wants it: `'user'@'host'`.
    #[must_use]
    pub fn statement(&self, database: &str, account: &str) -> String {
        grant_statement(&self.privileges.join(", "), self.scope, database, account)
    }
}

/// The statement that grants these privileges.
#[must_use]
pub fn grant_statement(privileges: &str, scope: Scope, database: &str, account: &str) -> String {
    match scope {
        Scope::Server => format!("GRANT {privileges} ON *.* TO {account};"),
        Scope::Table(table) => format!("GRANT {privileges} ON {}.{table} TO {account};", quoted_name(database)),
    }
}

/// A name as SQL wants it: in backquotes when it must be, or may be a reserved word. Of those that a database may be called
/// by, none has an underscore.
#[must_use]
pub fn quoted_name(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if name.chars().all(plain) && name.contains('_') {
        return name.to_owned();
    }
    format!("`{}`", name.replace('`', "``"))
}

/// An account such as `CURRENT_USER()` tells it, as SQL wants it.
#[must_use]
pub fn quoted_account(account: &str) -> String {
    let (user, host) = account.rsplit_once('@').unwrap_or((account, "%"));
    let quote = |part: &str| format!("'{}'", part.replace('\'', "''"));
    format!("{}@{}", quote(user), quote(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_quote_what_must_be_quoted() {
        let [.., migrations] = WORK;
        let account = quoted_account("it's@me@10.%");
        assert_eq!(
            migrations.statement("my-db", &account),
            "GRANT SELECT ON `my-db`.queued_job_migration TO 'it''s@me'@'10.%';"
        );
        assert_eq!(quoted_name("2024"), "`2024`");
        assert_eq!((quoted_name("order"), quoted_name("my_shop")), ("`order`".to_owned(), "my_shop".to_owned()));
        assert_eq!(quoted_name("a`b"), "`a``b`");
    }

    #[test]
    fn migrate_may_do_all_that_the_service_does_with_the_tables() {
        for (work, migrate) in WORK.iter().zip(MIGRATE) {
            assert_eq!(work.scope, migrate.scope);
            assert!(work.privileges.iter().all(|privilege| migrate.privileges.contains(privilege)), "{work:?}");
        }
    }
}
