//! Every setting there is, with its default and why it is there: the one list that parsing, the suggestions for
//! misspelt names and `db.example.ini` follow.

/// Whether a setting must be given, and what holds where it isn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It must be given; this is an example.
    Required(&'static str),
    /// It may be left out, and then nothing stands in for it; this is an example.
    Optional(&'static str),
    /// It may be left out, and then this holds.
    Default(&'static str),
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its section, without brackets.
    pub section: &'static str,
    /// Its key. The ending tells the unit: `_secs`, `_bytes`.
    pub key: &'static str,
    /// Whether it must be given, and its default.
    pub presence: Presence,
    /// The smallest and the largest value of a number.
    pub limits: (f64, f64),
    /// Why it is there, in one line.
    pub why: &'static str,
}

impl Setting {
    const fn within(mut self, least: f64, most: f64) -> Setting {
        self.limits = (least, most);
        self
    }

    /// The default, if there is one.
    pub const fn default(&self) -> Option<&'static str> {
        match self.presence {
            Presence::Default(value) => Some(value),
            Presence::Required(_) | Presence::Optional(_) => None,
        }
    }

    /// The default, or an example where there is none.
    pub const fn example(&self) -> &'static str {
        let (Presence::Required(value) | Presence::Optional(value) | Presence::Default(value)) = self.presence;
        value
    }

    /// The unit of a number as it reads after "a whole number": ` of seconds`, or nothing.
    pub fn unit(&self) -> &'static str {
        match self.key.rsplit_once('_') {
            Some((_, "secs")) => " of seconds",
            Some((_, "bytes")) => " of bytes",
            _ => "",
        }
    }
}

const fn setting(section: &'static str, key: &'static str, presence: Presence, why: &'static str) -> Setting {
    Setting { section, key, presence, limits: (0.0, 0.0), why }
}

use Presence::{Default, Optional, Required};

pub(super) static DB_HOST: Setting = setting(
    "db",
    "host",
    Required("127.0.0.1"),
    "the server, or several with commas, tried in order; `name:port` and `[::1]:port` name another port",
);
pub(super) static DB_PORT: Setting =
    setting("db", "port", Default("3306"), "the port of each host that names none").within(1.0, 65_535.0);
pub(super) static DB_SOCKET: Setting = setting(
    "db",
    "socket",
    Optional("/run/mysqld/mysqld.sock"),
    "the server's Unix socket, used instead of the hosts, which may then be left out; `localhost` alone means TCP",
);
pub(super) static DB_USER: Setting =
    setting("db", "user", Required("strings_queue"), "the user to log in as; `check` tells what it must be granted");
pub(super) static DB_PASSWD: Setting = setting(
    "db",
    "passwd",
    Optional("change me"),
    "its password; STRINGS_QUEUE_DB_PASSWD in the environment wins over it",
);
pub(super) static DB_PASSWD_FILE: Setting = setting(
    "db",
    "passwd_file",
    Optional("/run/secrets/db_passwd"),
    "a file that holds the password, instead of passwd: keeps it out of this file",
);
pub(super) static DB_DB: Setting =
    setting("db", "db", Required("strings_queue"), "the database that holds the table queued_job");
pub(super) static DB_SSL_MODE: Setting = setting(
    "db",
    "ssl_mode",
    Optional("preferred"),
    "disabled, preferred, required, verify_ca or verify_identity; left out: disabled on this machine, else preferred",
);
pub(super) static DB_SSL_CA: Setting = setting(
    "db",
    "ssl_ca",
    Optional("/etc/ssl/db-ca.pem"),
    "who may sign the server's certificate (PEM); makes verify_ca the default; public authorities need none",
);

pub(super) static API_USER: Setting =
    setting("api", "user", Optional("queue"), "sent to handlers as basic authentication, with passwd");
pub(super) static API_PASSWD: Setting = setting(
    "api",
    "passwd",
    Optional("change me"),
    "the password that goes with it; STRINGS_QUEUE_API_PASSWD in the environment wins over it",
);
pub(super) static API_PASSWD_FILE: Setting =
    setting("api", "passwd_file", Optional("/run/secrets/api_passwd"), "a file that holds it, instead of passwd");
pub(super) static API_HOSTS: Setting = setting(
    "api",
    "hosts",
    Optional("app.example.com, other.example.com:8443"),
    "the only hosts that get user and passwd; left out: every host that a job names",
);

pub(super) static HTTP_CONNECT_TIMEOUT: Setting = setting(
    "http",
    "connect_timeout_secs",
    Default("10"),
    "how long making a connection may take, within the job's own timeout",
)
.within(1.0, 300.0);
pub(super) static HTTP_MAX_REDIRECTS: Setting =
    setting("http", "max_redirects", Default("5"), "how many redirects one call follows").within(0.0, 20.0);
pub(super) static HTTP_MAX_RESPONSE_BYTES: Setting =
    setting("http", "max_response_bytes", Default("65536"), "how much of an answer is read and kept; the rest is cut")
        .within(1.0, 1_048_576.0);
pub(super) static HTTP_MAX_TIMEOUT: Setting =
    setting("http", "max_timeout_secs", Default("86400"), "a job that asks for a longer timeout fails as unusable")
        .within(1.0, 604_800.0);
pub(super) static HTTP_DENY_NETWORKS: Setting = setting(
    "http",
    "deny_networks",
    Default("169.254.0.0/16, fe80::/10, fd00:ec2::254, fd20:ce::254, 100.100.100.200"),
    "calls to addresses in these fail for good; as it stands, those where clouds keep their secrets; keep them in yours",
);
pub(super) static HTTP_CA_FILE: Setting = setting(
    "http",
    "ca_file",
    Optional("/etc/ssl/handlers-ca.pem"),
    "who may sign the certificates of handlers (PEM), beside the authorities that this machine knows",
);
pub(super) static HTTP_SUCCESS_STATUSES: Setting =
    setting("http", "success_statuses", Default("200-299"), "the answers that mean done; the ancestor's: 200");
pub(super) static HTTP_RETRY_STATUSES: Setting = setting(
    "http",
    "retry_statuses",
    Default("408, 429, 502, 503, 504"),
    "the answers that mean \"not now\" and are tried again; the ancestor's: 503",
);

pub(super) static DISPATCH_MAX_IN_FLIGHT: Setting =
    setting("dispatch", "max_in_flight", Default("256"), "how many calls are made at once").within(1.0, 20_000.0);
pub(super) static DISPATCH_MAX_PER_HOST: Setting = setting(
    "dispatch",
    "max_in_flight_per_host",
    Default("128"),
    "how many of them to one host; with several hosts below max_in_flight, so that a slow one can't take all",
)
.within(1.0, 20_000.0);
pub(super) static DISPATCH_BATCH_SIZE: Setting =
    setting("dispatch", "batch_size", Default("500"), "how many jobs one claim or one write-back takes at most")
        .within(1.0, 1_000.0);
pub(super) static DISPATCH_CLAIM_GRACE: Setting = setting(
    "dispatch",
    "claim_grace_secs",
    Default("15"),
    "how long after its timeout a job is still ours, before another dispatcher may take it",
)
.within(1.0, 3_600.0);
pub(super) static DISPATCH_DRAIN: Setting = setting(
    "dispatch",
    "drain_secs",
    Default("30"),
    "how long a stop waits for calls in flight; the rest is given back",
)
.within(0.0, 3_600.0);

pub(super) static RETRY_BACKOFF_MULTIPLIER: Setting = setting(
    "retry",
    "backoff_multiplier",
    Default("2"),
    "each retry waits this many times longer than the one before; the ancestor's: 1, with a jitter of 0",
)
.within(1.0, 10.0);
pub(super) static RETRY_MAX_DELAY: Setting =
    setting("retry", "max_delay_secs", Default("3600"), "no retry waits longer, whoever asked for it")
        .within(1.0, 2_592_000.0);
pub(super) static RETRY_JITTER: Setting = setting(
    "retry",
    "jitter",
    Default("0.1"),
    "how far a delay may stray to either side, as a part of it, so that failed jobs don't return all at once",
)
.within(0.0, 0.5);

pub(super) static SWEEP_INTERVAL: Setting =
    setting("sweep", "interval_secs", Default("300"), "how often the table is searched for what the log did not show")
        .within(1.0, 86_400.0);
pub(super) static SWEEP_DEGRADED_INTERVAL: Setting =
    setting("sweep", "degraded_interval_secs", Default("5"), "the same while the log can't be followed")
        .within(1.0, 3_600.0);

pub(super) static BINLOG_SERVER_ID: Setting = setting(
    "binlog",
    "server_id",
    Optional("4711"),
    "our id as a replication client, unlike any other's; left out: another random one at each start",
)
.within(1.0, 4_294_967_295.0);
pub(super) static BINLOG_HEARTBEAT: Setting = setting(
    "binlog",
    "heartbeat_secs",
    Default("4"),
    "how often a silent server shows that it is there, so that a dead connection is noticed soon",
)
.within(1.0, 4.0);

/// Every setting, by section, in the order of `db.example.ini`.
pub(super) static ALL: [&Setting; 33] = [
    &DB_HOST,
    &DB_PORT,
    &DB_SOCKET,
    &DB_USER,
    &DB_PASSWD,
    &DB_PASSWD_FILE,
    &DB_DB,
    &DB_SSL_MODE,
    &DB_SSL_CA,
    &API_USER,
    &API_PASSWD,
    &API_PASSWD_FILE,
    &API_HOSTS,
    &HTTP_CONNECT_TIMEOUT,
    &HTTP_MAX_REDIRECTS,
    &HTTP_MAX_RESPONSE_BYTES,
    &HTTP_MAX_TIMEOUT,
    &HTTP_DENY_NETWORKS,
    &HTTP_CA_FILE,
    &HTTP_SUCCESS_STATUSES,
    &HTTP_RETRY_STATUSES,
    &DISPATCH_MAX_IN_FLIGHT,
    &DISPATCH_MAX_PER_HOST,
    &DISPATCH_BATCH_SIZE,
    &DISPATCH_CLAIM_GRACE,
    &DISPATCH_DRAIN,
    &RETRY_BACKOFF_MULTIPLIER,
    &RETRY_MAX_DELAY,
    &RETRY_JITTER,
    &SWEEP_INTERVAL,
    &SWEEP_DEGRADED_INTERVAL,
    &BINLOG_SERVER_ID,
    &BINLOG_HEARTBEAT,
];
