//! The container files and the systemd unit: all that they name is there, and means what they think.
//!
//! Neither containers nor units are run here, for want of an engine and of an init system.

use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::service::Service;
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use strings_queue::cli::Arguments;
use strings_queue::config::Config;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const SOON: Duration = Duration::from_secs(20);

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).expect(path)
}

/// What follows a key, on each line that begins with it.
fn values(text: &str, key: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.trim().strip_prefix(key)).map(|value| value.trim().to_owned()).collect()
}

fn assert_understood(arguments: &[String]) {
    let line = std::iter::once("strings-queue".to_owned()).chain(arguments.iter().cloned());
    Arguments::read(line.map(OsString::from)).unwrap_or_else(|error| panic!("{arguments:?}: {error}"));
}

fn array(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{json}: {error}"))
}

/// What the Dockerfile copies from the project.
fn copied() -> Vec<String> {
    let lines = values(&read("Dockerfile"), "COPY ").into_iter().filter(|line| !line.starts_with("--from"));
    let sources = lines.flat_map(|line| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        words[..words.len() - 1].to_vec()
    });
    sources.collect()
}

#[test]
fn the_image_is_built_from_files_that_are_there() {
    let allowed = values(&read(".dockerignore"), "!");
    for source in copied() {
        assert!(Path::new(ROOT).join(&source).exists(), "{source}");
        assert!(allowed.contains(&source), "{source} is kept from the build by .dockerignore");
    }
    let manifest = read("Cargo.toml");
    let paths = manifest.lines().filter_map(|line| line.strip_prefix("path = \"")?.strip_suffix('"'));
    for path in paths.chain(["src/main.rs", "schema.sql", "Cargo.lock"]) {
        assert!(copied().iter().any(|source| Path::new(path).starts_with(source)), "{path} is not copied");
    }
}

/// The text of other files is built into the program; each must be where the build has it.
#[test]
fn whatever_is_built_into_the_program_is_in_the_image() {
    let mut folders = vec![PathBuf::from(ROOT).join("src")];
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for included in text.split("include_str!(\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let file = path.parent().unwrap().join(included).canonicalize().unwrap();
                let name = file.strip_prefix(Path::new(ROOT).canonicalize().unwrap()).unwrap().to_owned();
                assert!(copied().iter().any(|source| name.starts_with(source)), "{}", name.display());
            }
        }
    }
}

#[test]
fn the_commands_of_the_containers_are_understood() {
    assert_understood(&array(&values(&read("Dockerfile"), "CMD ")[0]));
    let compose = read("docker-compose.yml");
    let commands = values(&compose, "command: [").into_iter().map(|rest| array(&format!("[{rest}")));
    let commands: Vec<Vec<String>> = commands.collect();
    let names: Vec<&str> = commands.iter().map(|command| command[0].as_str()).collect();
    assert_eq!(names, ["migrate", "run", "demo-handler"]);
    for command in &commands {
        assert_understood(command);
    }
    let tests = values(&compose, "test: ").into_iter().map(|test| array(&test));
    let checks: Vec<Vec<String>> = tests.filter(|test| test[1] == "strings-queue").collect();
    assert_eq!(checks.len(), 1);
    assert_understood(&checks[0][2..]);
}

/// Builds of one image for several services at once may be in each other's way.
#[test]
fn the_image_is_built_once_and_pulled_never() {
    let compose = read("docker-compose.yml");
    let times = |line: &str| compose.lines().filter(|found| found.trim() == line).count();
    let ours = times("image: strings-queue:local");
    assert_eq!((times("build: ."), times("pull_policy: never")), (1, ours - 1));
}

#[test]
fn the_containers_are_mounted_published_and_stopped_as_they_should_be() {
    let compose = read("docker-compose.yml");
    let mounts: Vec<String> = values(&compose, "- ./");
    assert!(mounts.len() >= 5, "{mounts:?}");
    for mount in mounts {
        let source = mount.split(':').next().unwrap();
        assert!(Path::new(ROOT).join(source).is_file(), "{source}");
        assert!(mount.ends_with(":ro"), "{mount}");
    }
    let ports = values(&compose, "- \"");
    assert_eq!(ports, ["127.0.0.1:${STRINGS_QUEUE_DB_PORT:-3307}:3306\""], "nothing is published beyond loopback");
    let environment = |name: &str| (name == "STRINGS_QUEUE_DB_PASSWD").then(|| "x".into());
    let ini = "packaging/compose/db.ini";
    let config = Config::parse(Path::new(ini), &read(ini), &environment).unwrap();
    assert!(config.warnings.is_empty() && config.database.password.is_some());
    assert!(compose.contains(&format!("\n  {}:\n", config.database.hosts[0].host)), "the host is a service");
    let grace: u64 = values(&compose, "stop_grace_period: ")[0].trim_end_matches('s').parse().unwrap();
    assert!(grace >= config.dispatch.drain.as_secs() + 5);
}

/// The script with a client that only writes down what it is told.
fn statements_of_the_account_script(password: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let client = folder.path().join("mariadb");
    std::fs::write(&client, "#!/bin/sh\ncat\n").unwrap();
    std::fs::set_permissions(&client, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::join_paths(
        std::iter::once(folder.path().to_owned()).chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("bash")
        .arg(Path::new(ROOT).join("packaging/compose/account.sh"))
        .env("PATH", path.unwrap())
        .env("GRANTS_FILE", Path::new(ROOT).join("docs/grants/mariadb.sql"))
        .env("STRINGS_QUEUE_DB_PASSWD", password)
        .env("MARIADB_ROOT_PASSWORD", "root's")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn the_account_of_the_containers_may_follow_and_migrate() {
    let database = TestDatabase::with_schema().await;
    if !database.is_mariadb() {
        return;
    }
    let password = r"it's \& $HOME /x";
    let script = statements_of_the_account_script(password);
    assert!(!script.contains("CHANGE-ME") && !script.contains("127.0.0.1'"), "{script}");
    let name = format!("sq_{:08x}", rand::random::<u32>());
    let script = script.replace("'strings_queue'@", &format!("'{name}'@"));
    database.execute(&script.replace(" strings_queue.", &format!(" {}.", database.name()))).await;
    let ini = database.files().join("db.ini");
    let port = database.server().port;
    let settings = format!("host: 127.0.0.1\nport: {port}\nuser: {name}\npasswd: {password}\ndb: {}", database.name());
    std::fs::write(&ini, format!("[db]\n{settings}\n")).unwrap();
    for command in ["migrate", "check"] {
        let output = crate::support::service::program().arg(command).arg(&ini).output().await.unwrap();
        assert!(output.status.success(), "{command}: {output:?}");
    }
    database.conn().await.query_drop(format!("DROP USER '{name}'@'%'")).await.unwrap();
}

#[tokio::test]
async fn the_demo_handler_runs_alone_and_stops_at_a_signal() {
    let mut handler = Service::start(["demo-handler", "--listen", "127.0.0.1:0"]);
    let line = handler.wait_for_line("the demo handler listens", SOON).await;
    let url = line.split("url=").nth(1).unwrap().trim_matches('"').to_owned();
    let database = TestDatabase::with_schema().await;
    let id = job().url(url).insert(&database).await;
    let mut once = Service::start(["once".as_ref(), database.ini("").as_os_str()]);
    assert_eq!(once.wait_for_exit(SOON).await.code(), Some(0));
    until("the job is done", SOON, async || {
        database.query_one::<String>(&format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}")).await
            == "completed"
    })
    .await;
    assert_eq!(handler.stop(SOON).await, Some(0));
}

#[test]
fn the_unit_starts_and_stops_the_program_as_it_should_be() {
    let unit = read("packaging/strings-queue.service");
    let start = values(&unit, "ExecStart=").remove(0);
    let words: Vec<String> = start.split(' ').map(str::to_owned).collect();
    assert_eq!(Path::new(&words[0]).file_name().unwrap(), "strings-queue");
    assert_understood(&words[1..]);
    let credentials = values(&unit, "LoadCredential=");
    assert!(
        credentials.iter().any(|credential| words[2] == format!("${{CREDENTIALS_DIRECTORY}}/{}", file(credential)))
    );
    let example = Config::parse(Path::new("db.example.ini"), &read("db.example.ini"), &|_| None).unwrap();
    let patience: u64 = values(&unit, "TimeoutStopSec=")[0].parse().unwrap();
    assert!(patience >= example.dispatch.drain.as_secs() + 5);
}

fn file(credential: &str) -> &str {
    credential.split(':').next().unwrap()
}

/// The settings of the unit's comment: a password file beside the settings.
#[test]
fn the_unit_s_password_file_is_found_beside_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("db_passwd"), "hunter2\n").unwrap();
    let ini = folder.path().join("db.ini");
    let text = "[db]\nhost: localhost\nuser: a\ndb: b\npasswd_file: db_passwd\n";
    assert!(Config::parse(&ini, text, &|_| None).unwrap().database.password.is_some());
    assert!(read("packaging/strings-queue.service").contains("`passwd_file: db_passwd`"));
}

#[test]
fn the_unit_is_well_formed() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("strings-queue.service");
    let text = read("packaging/strings-queue.service");
    std::fs::write(&unit, text.replace("/usr/local/bin/strings-queue", env!("CARGO_BIN_EXE_strings-queue"))).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&unit).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("strings-queue")).collect();
    assert!(output.status.success() && of_ours.is_empty(), "{said}");
}
