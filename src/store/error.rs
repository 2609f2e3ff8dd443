//! What can go wrong between us and the database, and whether trying again may help.

use crate::config::HostPort;
use mysql_async::{DriverError, Error as DriverFailure};

/// A statement or a connection that failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The server refused the statement or the connection.
    #[error("the database answered error {code}: {message}")]
    Server {
        /// The server's error number (MySQL and MariaDB error references).
        code: u16,
        /// The server's own words.
        message: String,
    },
    /// The connection broke or could not be made.
    #[error("the connection to the database failed: {0}")]
    Connection(String),
    /// No answer within the deadline; the connection is given up.
    #[error("the database did not answer within {0} seconds")]
    Deadline(u64),
    /// The server is still at so many statements that were given up; no more are begun meanwhile.
    #[error(
        "the database is still at {0} of our earlier attempts, which it did not answer; another is made when it is at fewer"
    )]
    Unanswered(usize),
    /// The server's answer is not of the expected shape.
    #[error("the database answered with something unexpected: {0}")]
    Unexpected(String),
    /// The tables are not what this version works with.
    #[error("{0}")]
    Schema(String),
    /// The server lacks SQL that we use.
    #[error("{0}")]
    OldServer(String),
    /// A setting of the connection can't be used.
    #[error("{0}")]
    Settings(String),
}

/// Server errors that pass by themselves: too many connections, shutdown, lock wait, too many locks, deadlock, too many prepared statements, read-only
/// (the server, its storage or the schema), a connection's share of memory used up, interrupted, killed, idle for too long; and of a member of a cluster or a group: not ready, offline, electing, a
/// conflict with what another member committed.
const PASSING: [u16; 33] = [
    1040, 1047, 1053, 1077, 1079, 1129, 1158, 1159, 1160, 1161, 1180, 1184, 1203, 1205, 1206, 1213, 1226, 1290, 1317,
    1461, 1792, 1836, 1874, 1927, 3032, 3100, 3101, 3797, 3798, 3989, 4031, 4081, 4082,
];

/// Server errors that say that it has no room or no memory, or trouble with its files, those of its temporary tables
/// included. So do all below 1000 (`EE_…`, the file functions' own).
const NO_ROOM: [u16; 25] = [
    1004, 1016, 1021, 1023, 1024, 1026, 1028, 1030, 1032, 1034, 1035, 1036, 1037, 1038, 1041, 1114, 1135, 1194, 1195,
    1598, 1637, 1705, 1712, 1878, 3019,
];

/// Those of the passing ones that are the same for everybody.
const NO_WRITES: [u16; 6] = [1040, 1290, 1792, 1836, 3100, 3989];

/// Server errors that say nothing of the data: our account, a right, the database, the table or a column of it is not
/// there. They pass when somebody mends them; so does a table that is renamed for a moment.
const NOT_THERE: [u16; 15] = [1044, 1045, 1049, 1054, 1130, 1142, 1143, 1146, 1227, 1698, 1820, 1862, 3118, 3159, 4151];

/// What a proxy answers instead of a server that it can't reach: a client's own number (2000 to 2999, such as "2003: Can't
/// connect"), which no server has; of `ProxySQL` that it waited in vain, failed too often, or has no server left ("Error
/// codes" in its manual).
fn is_of_a_proxy(code: u16) -> bool {
    (2000..3000).contains(&code) || matches!(code, 9001 | 9002 | 9004)
}

fn passes(code: u16) -> bool {
    code < 1000 || is_of_a_proxy(code) || PASSING.contains(&code) || NO_ROOM.contains(&code)
}

impl StoreError {
    /// Whether the same may succeed later, with nothing mended by hand.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            StoreError::Server { code, .. } => passes(*code),
            StoreError::Connection(_) | StoreError::Deadline(_) | StoreError::Unanswered(_) => true,
            StoreError::Unexpected(_) | StoreError::Schema(_) | StoreError::OldServer(_) | StoreError::Settings(_) => {
                false
            }
        }
    }

    /// Whether a server that is there takes nobody's writes now: it, its storage or the schema is read-only, it has no room,
    /// or too many connections.
    #[must_use]
    pub fn says_no_writes(&self) -> bool {
        self.code().is_some_and(|code| NO_WRITES.contains(&code) || NO_ROOM.contains(&code) || code < 1000)
    }

    /// Whether rows were locked by others (1205, 1213): worth trying again at once.
    #[must_use]
    pub fn is_lock_conflict(&self) -> bool {
        matches!(self, StoreError::Server { code: 1205 | 1213, .. })
    }

    /// Whether a statement that waits for no lock (NOWAIT) met one: MySQL's `ER_LOCK_NOWAIT`; MariaDB says that the wait
    /// timed out.
    #[must_use]
    pub fn says_locked(&self) -> bool {
        matches!(self.code(), Some(3572 | 1205))
    }

    /// Whether the account lacks a right (1142 on a table, 1143 on a column).
    #[must_use]
    pub fn says_denied(&self) -> bool {
        matches!(self.code(), Some(1142 | 1143))
    }

    /// Whether the server prepares no more statements (1461), or none of that kind (1295).
    #[must_use]
    pub fn says_not_prepared(&self) -> bool {
        matches!(self.code(), Some(1461 | 1295))
    }

    /// Whether the statement itself, with its data, was refused: trying the same again is of no use.
    #[must_use]
    pub fn is_refused_data(&self) -> bool {
        matches!(self, StoreError::Server { code, .. } if !passes(*code) && !NOT_THERE.contains(code))
    }

    /// Whether it is the fault of rows: of what the statement would make of them, or of what they hold.
    #[must_use]
    pub fn is_of_the_rows(&self) -> bool {
        self.is_refused_data() || matches!(self, StoreError::Unexpected(_))
    }

    /// The same of a connection that could not be made: no data was sent yet that could have been refused.
    pub(super) fn of_connecting(self) -> StoreError {
        if self.is_refused_data() { StoreError::Settings(self.to_string()) } else { self }
    }

    /// Why none of the hosts could be used: in one text, unless the last reason is of the kind that does not pass.
    pub(super) fn of_hosts(mut failures: Vec<(HostPort, StoreError)>) -> StoreError {
        let passes = failures.iter().any(|(_, error)| error.is_transient());
        if failures.len() == 1 || !passes {
            let none = || StoreError::Settings("no database host is set".to_owned());
            return failures.pop().map_or_else(none, |(_, error)| error);
        }
        let reasons: Vec<String> =
            failures.iter().map(|(HostPort { host, port }, error)| format!("{host}:{port}: {error}")).collect();
        StoreError::Connection(format!("no host can be used: {}", reasons.join("; ")))
    }

    /// Whether it comes from a server, and not from a proxy in its place.
    #[must_use]
    pub fn is_of_a_server(&self) -> bool {
        self.code().is_some_and(|code| !is_of_a_proxy(code))
    }

    /// Whether the server leaves statements without an answer.
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        matches!(self, StoreError::Deadline(_) | StoreError::Unanswered(_))
    }

    /// The server's error number, if the server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            StoreError::Server { code, .. } => Some(*code),
            _ => None,
        }
    }
}

impl From<DriverFailure> for StoreError {
    fn from(failure: DriverFailure) -> Self {
        match failure {
            DriverFailure::Server(error) => {
                StoreError::Server { code: error.code, message: without_value(error.code, error.message) }
            }
            DriverFailure::Io(error) => StoreError::Connection(error.to_string()),
            DriverFailure::Driver(DriverError::ConnectionClosed) => {
                StoreError::Connection("the server closed it".to_owned())
            }
            DriverFailure::Driver(error @ (DriverError::FromRow { .. } | DriverError::FromValue { .. })) => {
                // Their texts hold the row, which is not ours to show.
                drop(error);
                StoreError::Unexpected("a column of another type".to_owned())
            }
            other => StoreError::Connection(other.to_string()),
        }
    }
}

/// Server errors whose messages show a value of a row between the first two quotes: a duplicate of a key's, and values that
/// a column does not take.
const WITH_A_VALUE: [u16; 6] = [1062, 1292, 1366, 1411, 1525, 1586];

/// Such a message without the value, which may be a URL with a password; the names behind it stay.
fn without_value(code: u16, message: String) -> String {
    let Some((before, rest)) = message.split_once('\'').filter(|_| WITH_A_VALUE.contains(&code)) else {
        return message;
    };
    // The value may have quotes of its own.
    let behind = ["' for key '", "' for column ", "' for function "].into_iter().find_map(|names| rest.rfind(names));
    let end = behind.or_else(|| rest.rfind('\'')).map_or("", |end| &rest[end + 1..]);
    format!("{before}(a value){end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(code: u16) -> StoreError {
        StoreError::Server { code, message: String::new() }
    }

    #[test]
    fn locks_read_only_and_lost_connections_pass_but_a_wrong_password_does_not() {
        assert!(server(1213).is_transient() && server(1213).is_lock_conflict());
        assert!(server(1290).is_transient() && !server(1290).is_lock_conflict());
        assert!(StoreError::Connection("reset".to_owned()).is_transient());
        assert!(!server(1045).is_transient());
        assert!(server(1366).is_refused_data());
        assert!(!server(1146).is_refused_data() && !server(1146).is_transient());
    }

    #[test]
    fn a_proxy_that_reaches_no_server_is_waited_for() {
        for code in [2003, 2013, 9001] {
            let error = StoreError::Server { code, message: "Can't connect".to_owned() };
            assert!(error.of_connecting().is_transient(), "{code}");
        }
    }

    #[test]
    fn a_server_without_room_or_memory_is_no_fault_of_the_data() {
        for code in [3, 126, 1021, 1026, 1030, 1034, 1041, 1114, 1194, 1878] {
            assert!(server(code).is_transient() && !server(code).is_refused_data(), "{code}");
        }
    }

    #[test]
    fn read_only_and_full_servers_take_nobodys_writes_and_locked_ones_take_others() {
        assert!([3, 1021, 1040, 1114, 1290, 1836, 3989].into_iter().all(|code| server(code).says_no_writes()));
        assert!(![1205, 1213, 1062, 1142].into_iter().any(|code| server(code).says_no_writes()));
    }

    #[test]
    fn a_member_that_left_its_group_and_lost_rights_are_no_fault_of_the_data() {
        for code in [3032, 1047, 3101, 1045, 1142, 1203, 4031] {
            assert!(!server(code).is_refused_data(), "{code}");
        }
        assert!(server(3032).is_transient() && !server(1142).is_transient());
    }

    #[test]
    fn no_data_is_refused_by_a_connection_that_is_not_made() {
        let unknown = server(9_999);
        assert!(unknown.is_refused_data() && unknown.is_of_the_rows());
        assert!(!unknown.of_connecting().is_of_the_rows());
        assert_eq!(server(1045).of_connecting().code(), Some(1045));
    }

    #[test]
    fn of_several_hosts_one_that_may_come_back_is_waited_for() {
        let at = |port, error| (HostPort { host: "db".to_owned(), port }, error);
        let gone = || StoreError::Connection("refused".to_owned());
        let error = StoreError::of_hosts(vec![at(1, gone()), at(2, server(1045))]);
        assert!(error.is_transient());
        assert!(error.to_string().contains("db:1: the connection to the database failed: refused; db:2: "), "{error}");
        assert_eq!(StoreError::of_hosts(vec![at(1, server(1045)), at(2, server(1130))]).code(), Some(1130));
        assert_eq!(StoreError::of_hosts(vec![at(1, gone())]).to_string(), gone().to_string());
    }

    #[test]
    fn the_value_that_a_key_or_a_column_refuses_is_not_in_the_text_of_an_error() {
        let told = |code, message: &str| without_value(code, message.to_owned());
        let duplicate = "Duplicate entry 'http://ann:s3cret@it's/-available' for key 'queued_job.url'";
        assert_eq!(told(1062, duplicate), "Duplicate entry (a value) for key 'queued_job.url'");
        let odd = "Incorrect string value: '\\xF0s3cret' for column `a`.`queued_job`.`last_response` at row 1";
        assert_eq!(
            told(1366, odd),
            "Incorrect string value: (a value) for column `a`.`queued_job`.`last_response` at row 1"
        );
        assert_eq!(
            told(1292, "Truncated incorrect DOUBLE value: 's3cret'"),
            "Truncated incorrect DOUBLE value: (a value)"
        );
        assert_eq!(told(1292, "Incorrect value: 'a' for s3cret'"), "Incorrect value: (a value)");
        assert_eq!(told(1062, "Duplicate entry 's3cret"), "Duplicate entry (a value)");
        assert_eq!(told(1146, "Table 'a.queued_job' doesn't exist"), "Table 'a.queued_job' doesn't exist");
    }

    #[test]
    fn the_row_is_not_in_the_text_of_an_error() {
        let failure = DriverFailure::Driver(DriverError::FromValue { value: "s3cret".into() });
        assert!(!StoreError::from(failure).to_string().contains("s3cret"));
    }
}
