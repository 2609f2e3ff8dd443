//! The sections, one function each.

use super::reader::Reader;
use super::settings::{self as known, Setting};
use super::{ApiConfig, BinlogConfig, DatabaseConfig, DispatchConfig, HostPort, HttpConfig, SweepConfig};
use super::{host, networks, passwords, statuses, tls};
use crate::job::RetryPolicy;

/// `timeout_secs` of a row that does not say (`schema.sql`).
const DEFAULT_TIMEOUT_SECS: u32 = 60;

pub(super) fn database(reader: &mut Reader<'_>) -> DatabaseConfig {
    let default_port = reader.whole(&known::DB_PORT).unwrap_or_default();
    let hosts: Vec<HostPort> = hosts(reader, &known::DB_HOST)
        .into_iter()
        .map(|written| HostPort { host: written.host, port: written.port.unwrap_or(default_port) })
        .collect();
    let socket = reader.path(&known::DB_SOCKET);
    if reader.list(&known::DB_HOST).is_empty() && reader.entry(&known::DB_SOCKET).is_none() {
        reader.problem(&known::DB_HOST, "is missing; add a line like `host: 127.0.0.1`, or name a socket");
    }
    let (ssl_mode, ssl_ca) = tls::read(reader, &hosts, socket.is_some());
    DatabaseConfig {
        // It is used instead of them.
        hosts: if socket.is_some() { Vec::new() } else { hosts },
        socket,
        user: reader.text(&known::DB_USER).unwrap_or_default(),
        password: passwords::read(reader, &passwords::DATABASE),
        name: reader.text(&known::DB_DB).unwrap_or_default(),
        ssl_mode,
        ssl_ca,
    }
}

pub(super) fn api(reader: &mut Reader<'_>) -> ApiConfig {
    let user = reader.text(&known::API_USER);
    let password = passwords::read(reader, &passwords::API);
    check_credentials(reader, user.as_deref(), password.is_some());
    let hosts: Vec<String> = hosts(reader, &known::API_HOSTS).into_iter().map(as_in_a_url).collect();
    let is_emptied = reader.entry(&known::API_HOSTS).is_some() && reader.list(&known::API_HOSTS).is_empty();
    if is_emptied && user.is_some() {
        let message = "is empty, and without a list every host gets user and passwd; name those that shall, or take the \
                       line out";
        reader.problem(&known::API_HOSTS, message);
    }
    if !hosts.is_empty() && user.is_none() && password.is_none() {
        reader.warn(&known::API_HOSTS, "has no effect without user and passwd");
    }
    ApiConfig { credentials: user.zip(password), hosts }
}

/// User and password belong together. What is written but can't be read has been noted already.
fn check_credentials(reader: &mut Reader<'_>, user: Option<&str>, has_password: bool) {
    let password_written = reader.entry(&known::API_PASSWD).or(reader.entry(&known::API_PASSWD_FILE)).is_some();
    match (user, has_password) {
        (Some(user), _) if user.contains(':') => {
            reader.problem(&known::API_USER, "holds a colon, which basic authentication can't carry; take it out");
        }
        (Some(_), false) if !password_written => {
            reader.problem(&known::API_USER, "has no password; add passwd or passwd_file, or take the user out");
        }
        (None, true) if reader.entry(&known::API_USER).is_none() => {
            let given = if password_written { "in the settings" } else { "in STRINGS_QUEUE_API_PASSWD" };
            let message = format!("is missing though its password is given {given}; add a line like `user: queue`");
            reader.problem(&known::API_USER, message);
        }
        _ => {}
    }
}

pub(super) fn http(reader: &mut Reader<'_>) -> HttpConfig {
    let (success_statuses, retry_statuses) = statuses::read(reader);
    let max_timeout_secs = reader.whole(&known::HTTP_MAX_TIMEOUT).unwrap_or_default();
    if (1..DEFAULT_TIMEOUT_SECS).contains(&max_timeout_secs) {
        let message =
            format!("jobs that name no timeout_secs ask for {DEFAULT_TIMEOUT_SECS}, and all of them fail for good");
        reader.warn(&known::HTTP_MAX_TIMEOUT, &message);
    }
    HttpConfig {
        connect_timeout: reader.seconds(&known::HTTP_CONNECT_TIMEOUT),
        max_redirects: whole_size(reader, &known::HTTP_MAX_REDIRECTS),
        max_response_bytes: whole_size(reader, &known::HTTP_MAX_RESPONSE_BYTES),
        max_timeout_secs,
        success_statuses,
        retry_statuses,
        deny_networks: networks::denied(reader),
        ca_file: tls::authorities(reader, &known::HTTP_CA_FILE),
    }
}

pub(super) fn dispatch(reader: &mut Reader<'_>) -> DispatchConfig {
    let max_in_flight = whole_size(reader, &known::DISPATCH_MAX_IN_FLIGHT);
    let per_host = whole_size(reader, &known::DISPATCH_MAX_PER_HOST);
    if per_host > max_in_flight && max_in_flight > 0 && reader.entry(&known::DISPATCH_MAX_PER_HOST).is_some() {
        reader.warn(&known::DISPATCH_MAX_PER_HOST, &format!("is more than max_in_flight; {max_in_flight} holds"));
    }
    DispatchConfig {
        max_in_flight,
        max_in_flight_per_host: per_host.min(max_in_flight),
        batch_size: whole_size(reader, &known::DISPATCH_BATCH_SIZE),
        claim_grace: reader.seconds(&known::DISPATCH_CLAIM_GRACE),
        drain: reader.seconds(&known::DISPATCH_DRAIN),
    }
}

pub(super) fn retry(reader: &mut Reader<'_>) -> RetryPolicy {
    RetryPolicy {
        multiplier: reader.decimal(&known::RETRY_BACKOFF_MULTIPLIER),
        max_delay: reader.seconds(&known::RETRY_MAX_DELAY),
        jitter: reader.decimal(&known::RETRY_JITTER),
    }
}

pub(super) fn sweep(reader: &mut Reader<'_>) -> SweepConfig {
    SweepConfig {
        interval: reader.seconds(&known::SWEEP_INTERVAL),
        degraded_interval: reader.seconds(&known::SWEEP_DEGRADED_INTERVAL),
    }
}

pub(super) fn binlog(reader: &mut Reader<'_>) -> BinlogConfig {
    BinlogConfig {
        server_id: reader.whole(&known::BINLOG_SERVER_ID),
        heartbeat: reader.seconds(&known::BINLOG_HEARTBEAT),
    }
}

fn whole_size(reader: &mut Reader<'_>, setting: &Setting) -> usize {
    reader.whole::<u64>(setting).and_then(|number| usize::try_from(number).ok()).unwrap_or_default()
}

/// The hosts of a list; what is none is noted.
fn hosts(reader: &mut Reader<'_>, setting: &Setting) -> Vec<host::WrittenHost> {
    let mut hosts = Vec::new();
    for item in reader.list(setting) {
        if let Some(written) = host::parse(&item) {
            hosts.push(written);
        } else {
            let item = reader.shown_part(setting, &item);
            reader.problem(
                setting,
                format!("{item} is no host; write it like `{}`, no URL, no quotes", setting.example()),
            );
        }
    }
    hosts
}

/// A host as it stands in a URL: IPv6 in brackets.
fn as_in_a_url(written: host::WrittenHost) -> String {
    let host = if written.host.contains(':') { format!("[{}]", written.host) } else { written.host };
    match written.port {
        Some(port) => format!("{host}:{port}"),
        None => host,
    }
}
