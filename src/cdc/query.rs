//! SQL in the log: what a `QUERY` event says about transactions, and whether it names our table.

use super::bytes::Bytes;
use super::table_map::TableName;
use super::xid::Xid;

/// What a statement in the log means to us.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    /// `BEGIN`, `XA START`: a transaction opens.
    Begin,
    /// `COMMIT`, `ROLLBACK`: it ends. After a rollback too what was logged took place: rows of tables without
    /// transactions, which is why it was logged at all.
    End,
    /// `XA COMMIT`, with its name where it can be read.
    CommitPrepared(Option<Xid>),
    /// `XA ROLLBACK`.
    RollBackPrepared(Option<Xid>),
    /// Another statement.
    Other {
        /// It names our table.
        names_us: bool,
        /// It may change what our table looks like.
        reshapes: bool,
    },
}

/// Statements that change rows at most.
const ROW_STATEMENTS: [&str; 9] =
    ["INSERT", "REPLACE", "UPDATE", "DELETE", "LOAD", "TRUNCATE", "SAVEPOINT", "ROLLBACK", "RELEASE"];

/// A statement as an event has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Logged<'a> {
    /// The session's database.
    pub(super) database: &'a [u8],
    /// The statement; compressed in a compressed event.
    pub(super) sql: &'a [u8],
}

impl<'a> Logged<'a> {
    /// Reads the body of a `QUERY` event: thread 4, seconds 4, length of the database's name 1, error 2, length of
    /// the variables 2, variables, database, 0, SQL (MySQL internals, "`QUERY_EVENT`"). Before the variables
    /// `EXECUTE_LOAD_QUERY_EVENT` has 13 bytes more.
    pub(super) fn read(body: &'a [u8], more: usize) -> Option<Logged<'a>> {
        let mut bytes = Bytes::new(body);
        bytes.skip(8)?;
        let database = bytes.length(1)?;
        bytes.skip(2)?;
        let variables = bytes.length(2)?;
        bytes.skip(more)?;
        bytes.skip(variables)?;
        let database = bytes.take(database)?;
        bytes.skip(1)?;
        Some(Logged { database, sql: bytes.rest() })
    }

    /// Whether the statement has our table's name as a word, where that means our table: the session is in our
    /// database, or our database is named too.
    pub(super) fn names(self, ours: &TableName) -> bool {
        names(self.sql, &ours.table)
            && (self.database.eq_ignore_ascii_case(ours.database.as_bytes()) || names(self.sql, &ours.database))
    }
}

impl Statement {
    /// Reads a statement.
    pub(super) fn read(logged: Logged<'_>, ours: &TableName) -> Statement {
        let sql = logged.sql.trim_ascii();
        match sql {
            b"BEGIN" => return Statement::Begin,
            b"COMMIT" | b"ROLLBACK" => return Statement::End,
            _ => {}
        }
        if after_words(sql, "XA", "START").is_some() {
            return Statement::Begin;
        }
        if let Some(name) = after_words(sql, "XA", "COMMIT") {
            return Statement::CommitPrepared(xid(name));
        }
        if let Some(name) = after_words(sql, "XA", "ROLLBACK") {
            return Statement::RollBackPrepared(xid(name));
        }
        let names_us = logged.names(ours);
        let verb = first_word(sql);
        let rows_only = ROW_STATEMENTS.iter().any(|word| verb.eq_ignore_ascii_case(word.as_bytes()));
        Statement::Other { names_us, reshapes: names_us && !rows_only }
    }
}

/// Whether the text has the name as a word of its own, in any case.
fn names(text: &[u8], name: &str) -> bool {
    let name = name.as_bytes();
    let Some(first) = name.first() else { return false };
    let in_word =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'));
    text.windows(name.len()).enumerate().any(|(start, window)| {
        window[0].eq_ignore_ascii_case(first)
            && window.eq_ignore_ascii_case(name)
            && !in_word(start.checked_sub(1).and_then(|before| text.get(before)))
            && !in_word(text.get(start + name.len()))
    })
}

fn first_word(sql: &[u8]) -> &[u8] {
    let end = sql.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(sql.len());
    &sql[..end]
}

/// What follows these two words.
fn after_words<'a>(sql: &'a [u8], first: &str, second: &str) -> Option<&'a [u8]> {
    let rest = sql.strip_prefix(first.as_bytes())?.trim_ascii_start();
    first_word(rest).eq_ignore_ascii_case(second.as_bytes()).then(|| &rest[second.len()..])
}

fn xid(name: &[u8]) -> Option<Xid> {
    Xid::written(std::str::from_utf8(name).ok()?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{query_body, table_name};
    use super::*;

    fn read(sql: &str) -> Statement {
        Statement::read(Logged { database: b"shop", sql: sql.as_bytes() }, &table_name())
    }

    #[test]
    fn the_sql_stands_after_variables_and_database() {
        let body = query_body("shop", "BEGIN");
        assert_eq!(Logged::read(&body, 0), Some(Logged { database: b"shop", sql: b"BEGIN" }));
        for end in 0..body.len() - 5 {
            assert_eq!(Logged::read(&body[..end], 0), None);
        }
    }

    #[test]
    fn transactions_are_told_from_savepoints() {
        assert_eq!(read("BEGIN"), Statement::Begin);
        assert_eq!(read("COMMIT"), Statement::End);
        assert_eq!(read("ROLLBACK"), Statement::End);
        assert_eq!(read("XA START X'61',X'',1"), Statement::Begin);
        assert_eq!(read("ROLLBACK TO `s`"), Statement::Other { names_us: false, reshapes: false });
        assert_eq!(read("SAVEPOINT `queued_job`"), Statement::Other { names_us: true, reshapes: false });
        assert_eq!(read("XA END X'61',X'',1"), Statement::Other { names_us: false, reshapes: false });
    }

    #[test]
    fn prepared_transactions_have_names() {
        assert_eq!(read("XA COMMIT X'61',X'',1"), Statement::CommitPrepared(Xid::written("X'61',X'',1")));
        assert_eq!(read("XA ROLLBACK X'61',X'',1"), Statement::RollBackPrepared(Xid::written("X'61',X'',1")));
        assert_eq!(read("XA COMMIT what"), Statement::CommitPrepared(None));
    }

    #[test]
    fn our_table_is_found_as_a_word() {
        for sql in
            ["insert into QUEUED_JOB (url) values ('x')", "REPLACE `shop`.`queued_job` SET id=1", "TRUNCATE queued_job"]
        {
            assert_eq!(read(sql), Statement::Other { names_us: true, reshapes: false }, "{sql}");
        }
        for sql in ["ALTER TABLE queued_job ADD x INT", "DROP TABLE `queued_job` /* generated by server */"] {
            assert_eq!(read(sql), Statement::Other { names_us: true, reshapes: true }, "{sql}");
        }
        for sql in ["insert into queued_job_log values (1)", "UPDATE my_queued_job SET a=1", "", "queued_jo"] {
            assert_eq!(read(sql), Statement::Other { names_us: false, reshapes: false }, "{sql}");
        }
    }

    #[test]
    fn the_table_of_another_database_is_not_ours() {
        let names = |sql: &str| Logged { database: b"other", sql: sql.as_bytes() }.names(&table_name());
        assert!(!names("INSERT INTO queued_job SET url = 'a'"));
        assert!(names("INSERT INTO `shop`.`queued_job` SET url = 'a'"));
    }
}
