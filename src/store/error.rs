//! What can go wrong between us and the database, and whether trying again may help.

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
    /// The server's answer is not of the expected shape.
    #[error("the database answered with something unexpected: {0}")]
    Unexpected(String),
    /// The tables are not what this version works with.
    #[error("{0}")]
    Schema(String),
    /// A setting of the connection can't be used.
    #[error("{0}")]
    Settings(String),
}

/// Server errors that pass by themselves: too many connections, shutdown, full disk, lock wait, deadlock,
/// read-only, interrupted, killed, and a group's refusal while it elects.
const PASSING: [u16; 21] = [
    1021, 1040, 1053, 1077, 1079, 1114, 1129, 1158, 1159, 1160, 1161, 1184, 1205, 1213, 1226, 1290, 1317, 1836, 1927,
    3100, 3101,
];

/// Server errors that say nothing of the data: a right, the database, the table or a column of it is not there. They
/// pass when somebody mends them; so does a table that is renamed for a moment.
const NOT_THERE: [u16; 8] = [1044, 1045, 1049, 1054, 1142, 1143, 1146, 1698];

impl StoreError {
    /// Whether the same may succeed later, with nothing mended by hand.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            StoreError::Server { code, .. } => PASSING.contains(code),
            StoreError::Connection(_) | StoreError::Deadline(_) => true,
            StoreError::Unexpected(_) | StoreError::Schema(_) | StoreError::Settings(_) => false,
        }
    }

    /// Whether rows were locked by others (1205, 1213): worth trying again at once.
    #[must_use]
    pub fn is_lock_conflict(&self) -> bool {
        matches!(self, StoreError::Server { code: 1205 | 1213, .. })
    }

    /// Whether the statement itself, with its data, was refused: trying the same again is of no use.
    #[must_use]
    pub fn is_refused_data(&self) -> bool {
        matches!(self, StoreError::Server { code, .. } if !PASSING.contains(code) && !NOT_THERE.contains(code))
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
            DriverFailure::Server(error) => StoreError::Server { code: error.code, message: error.message },
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
    fn the_row_is_not_in_the_text_of_an_error() {
        let failure = DriverFailure::Driver(DriverError::FromValue { value: "s3cret".into() });
        assert!(!StoreError::from(failure).to_string().contains("s3cret"));
    }
}
