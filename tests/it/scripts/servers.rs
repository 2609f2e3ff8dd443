//! `scripts/servers.sh`: which database servers are named, found and fetched, and what a fetch leaves behind.

use crate::support::place::{Ended, Place, run_to_end};
use crate::support::wait::until;
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;

const SCRIPT: &str = "scripts/servers.sh";
const SOON: Duration = Duration::from_secs(60);

/// A machine with the basic tools and, as its installed server, a program that tells this version.
fn machine(version: &str) -> Place {
    let place = Place::new();
    place.take_basic_tools();
    place.script("bin/mariadbd", &format!("echo \"mariadbd  Ver {version} for debian\""));
    place
}

/// Puts a server into the place's cache.
fn put_into_cache(place: &Place, name: &str) {
    let program = if name.starts_with("mysql") { "mysqld" } else { "mariadbd" };
    place.script(&format!("cache/{name}/{program}"), "exit 0");
}

async fn servers_sh(place: &Place, arguments: &[&str]) -> Ended {
    let mut command = place.command_on_bare_path(SCRIPT, arguments);
    run_to_end(command.env("STRINGS_QUEUE_CACHE", place.path("cache"))).await
}

/// What of the place's cache is there besides the locks.
fn cached(place: &Place) -> Vec<String> {
    let entries = std::fs::read_dir(place.path("cache")).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| !name.starts_with(".lock-")).collect()
}

#[tokio::test]
async fn the_installed_server_and_the_cached_ones_are_available() {
    let place = machine("10.11.6-MariaDB-0+deb12u1");
    let listed = servers_sh(&place, &["list"]).await.stdout;
    assert_eq!(listed, "mariadb-10.11\nmariadb-11.8\nmysql-9.7\n");
    assert_eq!(servers_sh(&place, &["available"]).await.stdout, "mariadb-10.11\n");
    put_into_cache(&place, "mysql-9.7");
    assert_eq!(servers_sh(&place, &["available"]).await.stdout, "mariadb-10.11\nmysql-9.7\n");

    let installed = servers_sh(&place, &["path", "mariadb-10.11"]).await;
    assert_eq!(installed.stdout, format!("{}\n", place.path("bin/mariadbd").display()));
    let in_cache = servers_sh(&place, &["path", "mysql-9.7"]).await;
    assert_eq!(in_cache.stdout, format!("{}\n", place.path("cache/mysql-9.7/mysqld").display()));
    // What is there is not fetched: there is no apt-get.
    for name in ["mariadb-10.11", "mysql-9.7"] {
        let fetched = servers_sh(&place, &["fetch", name]).await;
        assert_eq!((fetched.code, fetched.stderr.as_str()), (Some(0), ""), "{name}");
    }
}

/// A user's own server of another version is tested on under its own name.
#[tokio::test]
async fn an_installed_server_of_an_unknown_version_is_available_under_its_name() {
    let place = machine("10.6.18-MariaDB");
    assert_eq!(servers_sh(&place, &["available"]).await.stdout, "mariadb-10.6\n");
    assert_eq!(servers_sh(&place, &["path", "mariadb-10.6"]).await.code, Some(0));
    let other = servers_sh(&place, &["path", "mariadb-10.11"]).await;
    assert_eq!((other.code, other.stdout.as_str()), (Some(1), ""));
    let told = "strings-queue: mariadb-10.11 is not on this machine: scripts/servers.sh fetch mariadb-10.11\n";
    assert_eq!(other.stderr, told);
}

#[tokio::test]
async fn wrong_usage_and_unknown_names_are_told() {
    let place = machine("10.6.18-MariaDB");
    for arguments in [&[][..], &["path"], &["list", "more"], &["--loud"]] {
        let ended = servers_sh(&place, arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.stderr.contains("scripts/servers.sh fetch NAME"), "{ended:?}");
    }
    let unknown = servers_sh(&place, &["fetch", "oracle-23"]).await;
    assert_eq!(unknown.code, Some(1));
    let told = "strings-queue: unknown server 'oracle-23'; known: mariadb-10.11 mariadb-11.8 mysql-9.7\n";
    assert_eq!(unknown.stderr, told);
    let no_apt = servers_sh(&place, &["fetch", "mysql-9.7"]).await;
    assert_eq!(no_apt.code, Some(1));
    assert_eq!(no_apt.stderr, "strings-queue: mysql-9.7 can be fetched only where there is apt-get\n");
}

/// Gives the place an `apt-get` whose `update` does this, and the keys that a fetch asks for if this machine has them.
fn put_apt_get(place: &Place, update: &str) {
    place.script("bin/apt-get", &format!("case $* in *update*) {update} ;; esac"));
    place.script("bin/apt-cache", "exit 100");
}

fn has_debian_keys() -> bool {
    let keys = |ending: &str| format!("/usr/share/keyrings/debian-archive-keyring.{ending}");
    ["gpg", "pgp"].iter().any(|ending| std::fs::exists(keys(ending)).unwrap())
}

#[tokio::test]
async fn a_fetch_that_no_mirror_serves_says_so_and_leaves_nothing() {
    let place = machine("10.6.18-MariaDB");
    put_apt_get(&place, "echo 'E: unreachable'; exit 100");
    let ended = servers_sh(&place, &["fetch", "mysql-9.7"]).await;
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    let told = if has_debian_keys() { "no mirror gives mysql-9.7: E: unreachable" } else { "apt-get install debian-" };
    assert!(ended.stderr.contains(told), "{ended:?}");
    assert_eq!(cached(&place), [""; 0]);
}

#[tokio::test]
async fn an_interrupted_fetch_leaves_nothing() {
    if !has_debian_keys() {
        return;
    }
    let place = machine("10.6.18-MariaDB");
    let begun = place.path("begun");
    put_apt_get(&place, &format!("touch '{}'; exec sleep 600", begun.display()));
    let mut command = place.command_on_bare_path(SCRIPT, &["fetch", "mysql-9.7"]);
    command.env("STRINGS_QUEUE_CACHE", place.path("cache")).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    until("the fetch has begun", SOON, async || begun.exists()).await;
    assert_eq!(cached(&place).len(), 1, "it unpacks beside the final folder");
    kill_process_group(Pid::from_raw(child.id().unwrap().cast_signed()).unwrap(), Signal::INT).unwrap();
    let status = tokio::time::timeout(SOON, child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(130));
    assert_eq!(cached(&place), [""; 0]);
}
