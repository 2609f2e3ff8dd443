//! Whole files of settings: the ancestor's, the smallest, the example, and broken ones.

use super::settings::{self, Presence, Setting};
use super::{Config, ConfigError, HostPort};
use proptest::prelude::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SMALLEST: &str = "[db]\nhost: localhost\nuser: u\ndb: d\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(Path::new("db.ini"), text, &|_| None)
}

fn told(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn server(host: &str, port: u16) -> HostPort {
    HostPort { host: host.to_owned(), port }
}

fn example_text() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("db.example.ini")).unwrap()
}

#[test]
fn a_file_of_the_ancestor_loads() {
    let text = "[api]\nuser: app_qmanager\npasswd: t3tstt3st\nhosts: a.example.com, b.example.com\n\n[db]\nhost: localhost\n\
                user: root\npasswd: root\ndb: strings_queue\n\n[db-test]\nhost: localhost\nuser: root\n";
    let config = parse(text).unwrap();
    assert_eq!(config.database.hosts, [server("localhost", 3306)]);
    assert_eq!((config.database.user.as_str(), config.database.name.as_str()), ("root", "strings_queue"));
    assert_eq!(config.database.password.unwrap().reveal(), "root");
    let (user, password) = config.api.credentials.unwrap();
    assert_eq!((user.as_str(), password.reveal()), ("app_qmanager", "t3tstt3st"));
    assert_eq!(config.api.hosts, ["a.example.com", "b.example.com"]);
    assert_eq!(config.warnings, ["db.ini:12: [db-test] is not used any more; take it out"]);
}

#[test]
fn the_defaults_are_those_of_the_design() {
    let config = parse(SMALLEST).unwrap();
    assert!(config.database.password.is_none() && config.api.credentials.is_none() && config.api.hosts.is_empty());
    assert_eq!(config.http.connect_timeout, Duration::from_secs(10));
    assert_eq!((config.http.max_redirects, config.http.max_response_bytes), (5, 65_536));
    assert_eq!(config.http.max_timeout_secs, 86_400);
    assert_eq!((config.dispatch.max_in_flight, config.dispatch.max_in_flight_per_host), (256, 128));
    assert_eq!(config.dispatch.batch_size, 500);
    assert_eq!(
        (config.dispatch.claim_grace, config.dispatch.drain),
        (Duration::from_secs(15), Duration::from_secs(30))
    );
    assert_eq!(format!("{:?}", config.retry), "RetryPolicy { multiplier: 2.0, max_delay: 3600s, jitter: 0.1 }");
    assert_eq!(
        (config.sweep.interval, config.sweep.degraded_interval),
        (Duration::from_secs(300), Duration::from_secs(5))
    );
    assert_eq!((config.binlog.server_id, config.binlog.heartbeat), (None, Duration::from_secs(4)));
}

#[test]
fn hosts_take_the_port_they_name_or_the_default() {
    let text = "[db]\nhost: a, b:3307, [::1]:3308, ::1\nport: 4000\nuser: u\ndb: d";
    let hosts = [server("a", 4000), server("b", 3307), server("::1", 3308), server("::1", 4000)];
    assert_eq!(parse(text).unwrap().database.hosts, hosts);
}

#[test]
fn a_socket_stands_in_for_the_host() {
    let config = parse("[db]\nsocket: /run/m.sock\nuser: u\ndb: d").unwrap();
    assert_eq!((config.database.hosts.len(), config.database.socket), (0, Some(PathBuf::from("/run/m.sock"))));
}

#[test]
fn a_semicolon_in_a_value_is_part_of_it_and_warned_of() {
    let config = parse(&format!("{SMALLEST}passwd: p ; since 2014")).unwrap();
    assert_eq!(config.database.password.unwrap().reveal(), "p ; since 2014");
    assert_eq!(
        config.warnings,
        ["db.ini:5: [db] passwd: the ` ;` and what follows are part of the value; a comment needs a line of its own"]
    );
    assert!(parse(&format!("{SMALLEST}passwd: p;x")).unwrap().warnings.is_empty());
}

#[test]
fn hosts_beside_a_socket_are_not_used() {
    let config = parse("[db]\nhost: a, b\nsocket: /run/m.sock\nuser: u\ndb: d").unwrap();
    assert!(config.database.hosts.is_empty() && config.database.socket.is_some());
}

#[test]
fn a_list_of_hosts_for_the_credentials_that_was_emptied_is_no_list_of_all() {
    let with = |api: &str| format!("[api]\n{api}[db]\nhost: a\nuser: u\ndb: d");
    for emptied in ["hosts:\n", "hosts: ,\n"] {
        let told = told(&with(&format!("user: u\npasswd: p\n{emptied}")));
        assert!(told.contains("[api] hosts: is empty"), "{told}");
    }
    assert!(parse(&with("hosts:\n")).is_ok(), "there is nothing to be sent");
}

#[test]
fn what_is_harmful_or_without_effect_is_warned_of() {
    let warned = |text: &str| parse(&format!("{SMALLEST}{text}")).unwrap().warnings.join("\n");
    let told = warned("[http]\ndeny_networks: 10.0.0.0/8, 169.0.0.0/8, fe80::/10, fd00:ec2::254\n");
    assert!(told.contains("leaves out fd20:ce::254, 100.100.100.200, where clouds"), "{told}");
    for wanted in ["", "169.254.0.0/16, fe80::/10, fc00::/7, 100.64.0.0/10"] {
        assert_eq!(warned(&format!("[http]\ndeny_networks: {wanted}\n")), "");
    }
    let told = warned("[http]\nmax_timeout_secs: 59\n");
    assert!(told.contains("[http] max_timeout_secs: jobs that name no timeout_secs ask for 60"), "{told}");
    assert_eq!(warned("[http]\nmax_timeout_secs: 60\n"), "");
    assert!(warned("[api]\nhosts: a\n").contains("[api] hosts: has no effect without user and passwd"));
    assert_eq!(warned("[api]\nuser: u\npasswd: p\nhosts: a\n"), "");
}

#[test]
fn quotes_are_part_of_a_value_and_warned_of() {
    let config = parse(&format!("{SMALLEST}passwd: \"p\"")).unwrap();
    assert_eq!(config.database.password.unwrap().reveal(), "\"p\"");
    assert_eq!(config.warnings, ["db.ini:5: [db] passwd: the quotes are part of the value, which needs none"]);
}

#[test]
fn what_is_missing_is_told_at_once() {
    let told = told("");
    assert_eq!(told.lines().count(), 3, "{told}");
    for key in ["host", "user", "db"] {
        assert!(told.contains(&format!("db.ini: [db] {key}: is missing")), "{told}");
    }
}

#[test]
fn several_errors_are_told_together_in_the_order_of_the_file() {
    let told =
        told("[db]\nhost: http://a/\nuser: u\ndb: d\n[dispatch]\nbatch_size: 5000\nmax_inflight: 3\n[hppt]\nx: y");
    let lines: Vec<&str> = told.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(lines, ["db.ini:2:", "db.ini:6:", "db.ini:7:", "db.ini:8:"], "{told}");
    assert!(told.contains("did you mean `max_in_flight`?") && told.contains("did you mean [http]?"), "{told}");
}

#[test]
fn the_per_host_limit_is_never_above_the_whole() {
    let limits = |text: &str| {
        let config = parse(&format!("{SMALLEST}[dispatch]\n{text}")).unwrap();
        (config.dispatch.max_in_flight, config.dispatch.max_in_flight_per_host, config.warnings.len())
    };
    assert_eq!(limits("max_in_flight: 10"), (10, 10, 0));
    assert_eq!(limits("max_in_flight: 10\nmax_in_flight_per_host: 20"), (10, 10, 1));
}

#[test]
fn credentials_are_whole_or_absent() {
    let api = |text: &str| parse(&format!("{SMALLEST}[api]\n{text}"));
    assert!(api("user: u").unwrap_err().to_string().contains("has no password"));
    assert!(api("passwd: p").unwrap_err().to_string().contains("[api] user: is missing"));
    assert!(api("user: a:b\npasswd: p").unwrap_err().to_string().contains("colon"));
    assert_eq!(api("user: u\npasswd:").unwrap().api.credentials.unwrap().1.reveal(), "");
    let hosts = api("user: u\npasswd: p\nhosts: Web, web:8080, ::1, [::1]:80").unwrap().api.hosts;
    assert_eq!(hosts, ["web", "web:8080", "[::1]", "[::1]:80"]);
}

#[test]
fn a_file_that_can_not_be_read_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let load = |path: &Path| Config::load(path, &|_| None).unwrap_err().to_string();
    assert!(load(&folder.path().join("none.ini")).contains("none.ini: can't be read: there is no such file"));
    assert!(load(folder.path()).contains("it is a folder"));
    fs::write(folder.path().join("latin1.ini"), b"[db]\nuser: j\xf6rg").unwrap();
    assert!(load(&folder.path().join("latin1.ini")).ends_with("it is not UTF-8 text; save it as UTF-8"));
}

#[test]
fn a_file_with_a_password_that_all_may_read_is_remarked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db.ini");
    let warnings = |text: &str, mode| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Config::load(&path, &|_| None).unwrap().warnings
    };
    let (database, both) = (format!("{SMALLEST}passwd: p"), format!("{SMALLEST}passwd: p\n[api]\nuser: u\npasswd: q"));
    let told = warnings(&database, 0o644);
    assert!(told[0].contains("[db] passwd: everybody on this machine may read it; `chmod o-r "), "{told:?}");
    assert_eq!((told.len(), warnings(&both, 0o644).len()), (1, 2));
    for mode in [0o600, 0o640] {
        assert_eq!(warnings(&both, mode), Vec::<String>::new());
    }
    assert_eq!(warnings(&format!("{SMALLEST}passwd:"), 0o644), Vec::<String>::new(), "no secret");
}

#[test]
fn a_password_in_a_value_is_not_repeated() {
    for value in ["mysql://queue:hunter2@db/app", "queue:hunter2@db", "mysql://queue:hunter2,x@db"] {
        let error = parse(&format!("[db]\nhost: {value}\nuser: u\ndb: d")).unwrap_err().to_string();
        assert!(error.contains("a part is no host") && !error.contains("hunter2"), "{error}");
    }
    let run_on = format!("{SMALLEST}[http]\ndeny_networks: 10.0.0.0/8\n  hunter2\n");
    let error = parse(&run_on).unwrap_err().to_string();
    assert!(error.contains("a part is no network") && !error.contains("hunter2"), "{error}");
}

#[test]
fn a_password_of_the_environment_that_is_no_text_is_told_by_its_variable() {
    use std::os::unix::ffi::OsStringExt;
    let latin1 = || std::ffi::OsString::from_vec(b"p\xe4ss".to_vec());
    let environment = |name: &str| (name == "STRINGS_QUEUE_DB_PASSWD").then(latin1);
    let error = Config::parse(Path::new("db.ini"), SMALLEST, &environment).unwrap_err().to_string();
    assert!(error.contains("STRINGS_QUEUE_DB_PASSWD in the environment is not UTF-8 text"), "{error}");
}

/// The line of `db.example.ini` that gives the setting.
fn example_line(setting: &Setting) -> String {
    let comment = if matches!(setting.presence, Presence::Required(_)) { "" } else { "#" };
    format!("{comment}{}: {}", setting.key, setting.example())
}

#[test]
fn the_example_lists_every_setting_with_its_default_and_its_reason() {
    let text = example_text();
    let mut lines = text.lines();
    for setting in settings::ALL {
        let section = format!("[{}]", setting.section);
        assert!(text.contains(&section), "{section} is missing");
        let reason = format!("# {}", setting.why);
        assert!(lines.any(|line| line == reason), "missing or out of order: {reason}");
        assert_eq!(lines.next(), Some(example_line(setting).as_str()), "after: {reason}");
    }
}

#[test]
fn the_example_loads_as_it_stands_and_with_every_default_written_out() {
    let mut text = example_text();
    let bare = format!("{:?}", parse(&text).unwrap());
    for setting in settings::ALL.into_iter().filter(|setting| setting.default().is_some()) {
        text = text.replace(&example_line(setting), &example_line(setting)[1..]);
    }
    assert_eq!(format!("{:?}", parse(&text).unwrap()), bare);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[\\[\\]:=\\\\#;\n\t\r ]|\\[db\\]\n|host|passwd){0,120}") {
        let _ = parse(&text);
        let _ = parse(&format!("{SMALLEST}{text}"));
    }

    #[test]
    fn no_value_makes_it_panic(index in 0..settings::ALL.len(), value in "\\PC{0,40}|[0-9.,:\\[\\] -]{0,20}") {
        let setting = settings::ALL[index];
        let _ = parse(&format!("[{}]\n{}: {value}", setting.section, setting.key));
    }

    #[test]
    fn no_error_holds_a_password(
        secret in "hunter[0-9!%:=#;\\\\\"]{8,16}",
        before in "(\\[db\\]|\\[api\\]|\\[|host|:|=|\n| |#|port: x|passwd){0,8}",
        way in prop::sample::select(vec!["passwd: ", "passwd = ", "Passwd:", "passwd ", "port: 1\n  passwd: "]),
        after in "(\n|\n  |: x|\npasswd: |\\[db\\]|\nport: y|\nuser: u){0,6}",
    ) {
        let text = format!("[api]\nuser: a:b\n{before}\n[db]\n{way}{secret}{after}");
        let error = Config::parse(Path::new("db.ini"), &text, &|_| Some(secret.clone().into())).unwrap_err();
        prop_assert!(!error.to_string().contains(&secret), "{error}");
        prop_assert!(!format!("{error:?}").contains(&secret), "{error:?}");
        prop_assert!(!error.to_string().contains("hunter"), "{error}");
    }
}
