//! `scripts/prerequisites.sh`: what a script finds wanting on a machine, tells, and has installed.

use crate::support::place::{Ended, Place, run_to_end};

/// What `apt-get` was asked for, one line each.
const ASKED: &str = "asked";

/// A machine with the basic tools, Rust, and an `apt-get` that notes what it is asked for; with nothing else.
fn bare_machine(user: u32) -> Place {
    let place = Place::new();
    place.take_basic_tools();
    let metadata = place.cargo_metadata();
    place.script("bin/cargo", &format!("if [ \"$1\" = metadata ]; then echo '{metadata}'; fi"));
    place.script("target/release/strings-queue", "echo \"the program: $*\"");
    note_what_is_asked(&place, "apt-get", "");
    place.script("bin/apt-cache", "echo \"$2\"");
    std::fs::remove_file(place.path("bin/id")).unwrap();
    place.script("bin/id", &format!("echo {user}"));
    place
}

/// A program that notes its arguments, and then does the rest.
fn note_what_is_asked(place: &Place, program: &str, rest: &str) {
    let asked = place.path(ASKED);
    place.script(&format!("bin/{program}"), &format!("echo \"{program} $*\" >>'{}'\n{rest}", asked.display()));
}

fn install_build_tools(place: &Place) {
    place.script("bin/cc", "cat >/dev/null");
    place.script("bin/pkg-config", "exit 0");
}

async fn run_with_settings(place: &Place) -> Ended {
    std::fs::write(place.path("db.ini"), "").unwrap();
    run_to_end(&mut place.command_on_bare_path("run.sh", &["db.ini"])).await
}

/// Has the script's own functions run in a shell that knows no database server, wherever this machine has one.
async fn without_database_server(place: &Place, then: &str) -> Ended {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/prerequisites.sh");
    place.script(
        "no-server",
        &format!("exec bash -euo pipefail -c '. {script}; has_database_server() {{ false; }}; {then}'"),
    );
    run_to_end(&mut place.command_on_bare_path(place.path("no-server").to_str().unwrap(), &[])).await
}

const BUILD_TOOLS_TOLD: &str = "strings-queue: gcc is missing, for the C parts of crates
strings-queue: libc6-dev is missing, for the C compiler (the C library's headers)
strings-queue: pkg-config is missing, for finding OpenSSL
strings-queue: libssl-dev is missing, for the mysql_cdc crate (OpenSSL's headers)
strings-queue: installing with apt-get: gcc libc6-dev pkg-config libssl-dev
";

#[tokio::test]
async fn what_is_missing_is_told_in_one_line_each_and_installed_by_one_call() {
    let place = bare_machine(0);
    let ended = run_with_settings(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), BUILD_TOOLS_TOLD));
    assert_eq!(ended.stdout, "the program: run db.ini\n");
    let install = "apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove install gcc libc6-dev pkg-config libssl-dev";
    assert_eq!(place.lines(ASKED), ["apt-get -q update", install]);
}

#[tokio::test]
async fn with_everything_there_nobody_is_asked_and_nothing_is_said() {
    let place = bare_machine(0);
    install_build_tools(&place);
    let ended = run_with_settings(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert_eq!(place.lines(ASKED), [""; 0]);
}

#[tokio::test]
async fn the_quick_start_installs_a_database_server_where_there_is_none_by_the_name_that_the_release_has() {
    let place = bare_machine(0);
    place.script("bin/apt-cache", "echo mariadb-common; echo \"$2-10.6\"; echo \"$2-10.6-extra\"");
    let ended = without_database_server(&place, "need_database_server; install_missing").await;
    assert_eq!(ended.code, Some(0));
    assert_eq!(
        ended.stderr,
        "strings-queue: mariadb-server-core is missing, for the private database server (a program only, no service is \
         started)\n\
         strings-queue: mariadb-client-core is missing, for looking into that database (its client)\n\
         strings-queue: installing with apt-get: mariadb-server-core mariadb-client-core\n"
    );
    let install = "apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove install mariadb-server-core-10.6 mariadb-client-core-10.6";
    assert_eq!(place.lines(ASKED), ["apt-get -q update", install]);
}

/// `mysqld` of a user's own is as good as `mariadbd`.
#[tokio::test]
async fn a_database_server_that_is_there_is_found() {
    for program in ["mariadbd", "mysqld"] {
        let place = bare_machine(0);
        place.script(&format!("bin/{program}"), "exit 0");
        install_build_tools(&place);
        let ended = run_to_end(&mut place.command_on_bare_path("run.sh", &[])).await;
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{program}");
        assert_eq!(ended.stdout, "the program: sandbox\n");
        assert_eq!(place.lines(ASKED), [""; 0]);
    }
}

#[tokio::test]
async fn another_user_than_root_installs_by_sudo() {
    let place = bare_machine(1000);
    note_what_is_asked(&place, "sudo", "exec \"$@\"");
    let ended = run_with_settings(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), BUILD_TOOLS_TOLD));
    let install = "-q -y -o DPkg::Lock::Timeout=300 --no-install-recommends --no-remove install gcc libc6-dev pkg-config libssl-dev";
    assert_eq!(
        place.lines(ASKED),
        [
            "sudo env DEBIAN_FRONTEND=noninteractive apt-get -q update".to_owned(),
            "apt-get -q update".to_owned(),
            format!("sudo env DEBIAN_FRONTEND=noninteractive apt-get {install}"),
            format!("apt-get {install}"),
        ]
    );
}

#[tokio::test]
async fn who_may_not_install_is_told_what_an_administrator_would_run() {
    let place = bare_machine(1000);
    let ended = run_with_settings(&place).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let told = "neither root nor sudo: have an administrator run 'apt-get install gcc libc6-dev pkg-config libssl-dev', \
                then run this again\n";
    assert!(ended.stderr.ends_with(told), "{ended:?}");
    assert_eq!(place.lines(ASKED), [""; 0]);

    std::fs::remove_file(place.path("bin/apt-get")).unwrap();
    let ended = run_with_settings(&place).await;
    assert_eq!(ended.code, Some(1));
    let told = "there is no apt-get here: install by hand what Debian calls gcc libc6-dev pkg-config libssl-dev\n";
    assert!(ended.stderr.ends_with(told), "{ended:?}");
}

#[tokio::test]
async fn an_installation_that_fails_says_why_and_nothing_is_built() {
    let place = bare_machine(0);
    note_what_is_asked(&place, "apt-get", "case $* in *install*) echo 'E: no space left'; exit 100 ;; esac");
    let ended = run_with_settings(&place).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.contains("\nE: no space left\nstrings-queue: apt-get failed; its last lines are above"));
    let log = ended.stderr.trim_end().rsplit(' ').next().unwrap();
    assert!(std::fs::read_to_string(log).unwrap().contains("no space left"), "{ended:?}");
    std::fs::remove_file(log).unwrap();
}

/// An index that cannot be renewed is no reason to give up: the packages may be had all the same.
#[tokio::test]
async fn an_index_that_cannot_be_renewed_does_not_stop_an_installation() {
    let place = bare_machine(0);
    note_what_is_asked(&place, "apt-get", "case $* in *update*) exit 100 ;; esac");
    let ended = run_with_settings(&place).await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), BUILD_TOOLS_TOLD));
    assert_eq!(place.lines(ASKED).len(), 2);
}

#[tokio::test]
async fn without_rust_its_home_page_is_told() {
    let place = bare_machine(0);
    std::fs::remove_file(place.path("bin/cargo")).unwrap();
    std::fs::write(place.path("db.ini"), "").unwrap();
    let home = place.path("home");
    for script in ["run.sh", "test.sh", "bench.sh"] {
        let arguments: &[&str] = if script == "run.sh" { &["db.ini"] } else { &[] };
        let mut command = place.command_on_bare_path(script, arguments);
        let ended = run_to_end(command.env("HOME", &home).env_remove("CARGO_HOME")).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{script}");
        assert!(ended.stderr.contains("cargo is not there. Install it as https://rustup.rs says"), "{ended:?}");
    }
    // The folder that rustup fills is looked into, though the shell does not know it.
    install_build_tools(&place);
    let metadata = place.cargo_metadata();
    place.script("home/.cargo/bin/cargo", &format!("if [ \"$1\" = metadata ]; then echo '{metadata}'; fi"));
    let mut command = place.command_on_bare_path("run.sh", &["db.ini"]);
    let ended = run_to_end(command.env("HOME", &home).env_remove("CARGO_HOME")).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "the program: run db.ini\n"), "{ended:?}");
}
