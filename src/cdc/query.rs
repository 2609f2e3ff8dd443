//! SQL in the log: what a `QUERY` event says about transactions, and whether it names our table.

use super::bytes::Bytes;
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

/// The SQL of a `QUERY` event's body: thread 4, seconds 4, length of the database's name 1, error 2, length of
/// the variables 2, variables, database, 0, SQL (MySQL internals, "`QUERY_EVENT`").
pub(super) fn sql(body: &[u8]) -> Option<&[u8]> {
    let mut bytes = Bytes::new(body);
    bytes.skip(8)?;
    let database = bytes.length(1)?;
    bytes.skip(2)?;
    let variables = bytes.length(2)?;
    bytes.skip(variables)?;
    bytes.skip(database.checked_add(1)?)?;
    Some(bytes.rest())
}

impl Statement {
    /// Reads a statement.
    pub(super) fn read(sql: &[u8], table: &str) -> Statement {
        let sql = sql.trim_ascii();
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
        let names_us = names(sql, table);
        let verb = first_word(sql);
        let rows_only = ROW_STATEMENTS.iter().any(|word| verb.eq_ignore_ascii_case(word.as_bytes()));
        Statement::Other { names_us, reshapes: names_us && !rows_only }
    }
}

/// Whether the text has the name as a word of its own, in any case.
pub(super) fn names(text: &[u8], name: &str) -> bool {
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
    use super::super::testing::query_body;
    use super::*;

    fn read(sql: &str) -> Statement {
        Statement::read(sql.as_bytes(), "queued_job")
    }

    #[test]
    fn the_sql_stands_after_variables_and_database() {
        assert_eq!(sql(&query_body("shop", "BEGIN")), Some(&b"BEGIN"[..]));
        let body = query_body("shop", "BEGIN");
        for end in 0..body.len() - 5 {
            assert_eq!(sql(&body[..end]), None);
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
}
