//! Judges why no connection could be had.

use super::finding::{Finding, Topic};
use crate::config::{DatabaseConfig, SslMode};
use crate::store::error::StoreError;
use crate::store::grants::{quoted_account, quoted_name, service_grants};
use crate::store::server::Flavour;

/// What an error at the first connection means, and what mends it.
#[must_use]
pub fn judge_connecting(database: &DatabaseConfig, error: &StoreError) -> Finding {
    let what = format!("cannot connect to {}: {error}", database.way());
    let mend = match error {
        StoreError::Server { code, message } => mend_refusal(database, *code, message),
        StoreError::Deadline(_) | StoreError::Unanswered(_) => {
            "see whether the server is overloaded, and whether a firewall drops packets".to_owned()
        }
        StoreError::Connection(text) if text.contains("read-only") => {
            "name the primary too in [db] `host: …`, or wait until one is elected".to_owned()
        }
        StoreError::Connection(text) if text.contains("mysql_clear_password") => {
            "give the service an account with a password of its own (caching_sha2_password, mysql_native_password); those of \
             directories and tokens can't be used"
                .to_owned()
        }
        StoreError::Connection(text) if text.contains("authentication plugin") => mend_plugin(database),
        StoreError::Connection(text) if is_unreadable_certificate(text) => {
            "issue the server's certificate anew, as one of version 3 (`-extfile` with a subjectAltName) that an authority \
             has signed; or do without TLS in [db]: `ssl_mode: disabled`"
                .to_owned()
        }
        StoreError::Connection(text) if is_about_tls(text) => mend_tls(database),
        StoreError::Connection(_) if database.socket.is_some() => {
            "start the server, or mend [db] `socket: …`".to_owned()
        }
        StoreError::Connection(_) => "start the server, or mend [db] `host: …` and `port: …`".to_owned(),
        StoreError::Unexpected(_) | StoreError::Schema(_) | StoreError::OldServer(_) | StoreError::Settings(_) => {
            "mend [db]".to_owned()
        }
    };
    Finding::fault(Topic::Server, what, mend)
}

/// The server's error numbers are those of its error reference.
fn mend_refusal(database: &DatabaseConfig, code: u16, message: &str) -> String {
    let account = account_in(message).unwrap_or_else(|| quoted_account(&format!("{}@%", database.user)));
    match code {
        1045 | 1698 => format!(
            "mend [db] `user: …` and `passwd: …`, or on the server:\n\
             CREATE USER {account} IDENTIFIED BY '…';\nor, if it exists: ALTER USER {account} IDENTIFIED BY '…';{}",
            if database.ssl_mode == SslMode::Disabled && database.socket.is_none() {
                "\nor, if the account or the server demands TLS: write [db] `ssl_mode: required`"
            } else {
                ""
            }
        ),
        1044 => grants(database, &account),
        1049 => format!(
            "mend [db] `db: …`, or:\nCREATE DATABASE {} CHARACTER SET utf8mb4;\nthen strings-queue migrate, with these settings",
            quoted_name(&database.name)
        ),
        1130 => format!("let the account come from this host:\nCREATE USER {account} IDENTIFIED BY '…';"),
        1820 | 1862 => format!("the password has expired:\nALTER USER {account} IDENTIFIED BY '…';"),
        3118 | 4151 => format!("ALTER USER {account} ACCOUNT UNLOCK;"),
        1040 => "SET GLOBAL max_connections = …;\nwe need about ten, and one for each other service".to_owned(),
        1203 => "SET GLOBAL max_user_connections = …;\nwe need about ten, and one for each other service".to_owned(),
        1226 => format!("raise the limit that it names, as by ALTER USER {account} WITH MAX_USER_CONNECTIONS 0;"),
        3159 => "write [db] `ssl_mode: required`".to_owned(),
        _ => "mend what the server says".to_owned(),
    }
}

/// The account as the server names it: `… user 'queue'@'10.0.0.7' …`, with nothing else between the quotes.
fn account_in(message: &str) -> Option<String> {
    let from = message.find("user '")? + "user ".len();
    let account = message[from..].split([' ', ',']).next()?;
    (account.matches('\'').count() == 4 && account.contains("'@'")).then(|| account.to_owned())
}

/// Which server it is can't be asked; both understand the older names.
fn grants(database: &DatabaseConfig, account: &str) -> String {
    let flavour = Flavour::MySql { major: 8, minor: 0 };
    let statements = service_grants(flavour).map(|grant| grant.statement(&database.name, account));
    format!("mend [db] `db: …`, or once its tables are there:\n{}", statements.join("\n"))
}

/// MySQL names any plugin for an account that it does not know, so as not to tell which ones there are.
fn mend_plugin(database: &DatabaseConfig) -> String {
    let account = quoted_account(&format!("{}@%", database.user));
    format!(
        "mend [db] `user: …`, for the server may not know it, or on the server:\n\
         CREATE USER {account} IDENTIFIED BY '…';\nor, if it exists: ALTER USER {account} IDENTIFIED BY '…';\n\
         on MySQL, where that keeps its plugin: ALTER USER {account} IDENTIFIED WITH caching_sha2_password BY '…';"
    )
}

fn is_unreadable_certificate(text: &str) -> bool {
    ["UnsupportedCertVersion", "CaUsedAsEndEntity"].iter().any(|fault| text.contains(fault))
}

fn is_about_tls(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["tls", "ssl", "certificate"].iter().any(|word| text.contains(word))
}

fn mend_tls(database: &DatabaseConfig) -> String {
    match database.ssl_mode {
        SslMode::VerifyCa | SslMode::VerifyIdentity => {
            "name in [db] `ssl_ca: …` who signed the server's certificate, and in `host: …` a name that stands in it, \
             or check less: `ssl_mode: required`"
        }
        _ => "give the server a certificate (ssl_cert, ssl_key), or do without TLS in [db]: `ssl_mode: disabled`",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Secret};
    use std::path::Path;

    fn database(more: &str) -> DatabaseConfig {
        let text = format!("[db]\nhost: db.example.com\nuser: queue\npasswd: s3cret\ndb: my-shop\n{more}");
        let config = Config::parse(Path::new("db.ini"), &text, &|_| None).unwrap();
        assert_eq!(config.database.password.as_ref().map(Secret::reveal), Some("s3cret"));
        config.database
    }

    fn refused(code: u16, message: &str) -> String {
        let error = StoreError::Server { code, message: message.to_owned() };
        let finding = judge_connecting(&database(""), &error).to_string();
        assert!(!finding.contains("s3cret"), "{finding}");
        finding
    }

    #[test]
    fn a_refusal_is_mended_by_its_number() {
        let denied = refused(1045, "Access denied for user 'queue'@'10.0.0.7' (using password: YES)");
        assert!(denied.contains("CREATE USER 'queue'@'10.0.0.7' IDENTIFIED BY '…';"), "{denied}");
        let no_rights = refused(1044, "Access denied for user 'queue'@'%' to database 'my-shop'");
        assert!(no_rights.contains("GRANT SELECT, UPDATE ON `my-shop`.queued_job TO 'queue'@'%';"), "{no_rights}");
        assert!(refused(1049, "Unknown database").contains("CREATE DATABASE `my-shop` CHARACTER SET utf8mb4;"));
        assert!(refused(1130, "Host 'x' is not allowed").contains("CREATE USER 'queue'@'%'"));
        assert!(refused(1, "odd").contains("mend what the server says"));
    }

    #[test]
    fn a_broken_way_is_told_by_its_settings() {
        let finding = |more: &str, text: &str| {
            judge_connecting(&database(more), &StoreError::Connection(text.to_owned())).to_string()
        };
        let refused = finding("", "Connection refused (os error 111)");
        assert!(refused.starts_with("fault: cannot connect to db.example.com:3306: "), "{refused}");
        assert!(refused.contains("`host: …` and `port: …`"), "{refused}");
        assert!(finding("", "Unknown authentication plugin `sha256_password'").contains("CREATE USER 'queue'@'%'"));
        assert!(finding("socket: /x.sock\n", "No such file").contains("`socket: …`"));
        assert!(finding("ssl_mode: required\n", "no SSL flag from server").contains("`ssl_mode: disabled`"));
        assert!(finding("ssl_mode: verify_identity\n", "invalid peer certificate").contains("`ssl_ca: …`"));
    }
}
