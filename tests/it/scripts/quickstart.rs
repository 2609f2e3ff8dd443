//! `./run.sh`, driven as a new user would: what it says, what it starts, and that nothing of it is left.
//!
//! The build is left out: a `cargo` of the test's own says that the program of the tests is what was built.

use crate::support::database::{TestDatabase, server_program};
use crate::support::factory::job;
use crate::support::place::{Place, run_to_end};
use crate::support::receiver::Receiver;
use crate::support::service::Service;
use crate::support::wait::until;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const SOON: Duration = Duration::from_secs(60);

/// A place with what `./run.sh` finds in it: a `cargo` that has nothing to do, and the program "built" already.
fn place_to_start() -> Place {
    let place = Place::new();
    let metadata = place.cargo_metadata();
    // A build for another machine would be found elsewhere.
    let no_target = "[ -z \"$CARGO_BUILD_TARGET\" ] || exit 1";
    place.script("bin/cargo", &format!("{no_target}; if [ \"$1\" = metadata ]; then echo '{metadata}'; fi"));
    // `sandbox` of `./run.sh` has no arguments; the folder and the server are the test's.
    let program = env!("CARGO_BIN_EXE_strings-queue");
    let (data, server) = (place.path("data"), server_program());
    let sandbox = format!("--dir '{}' --server-program '{}'", data.display(), server.display());
    place.script(
        "target/release/strings-queue",
        &format!("if [ \"$1\" = sandbox ]; then set -- \"$@\" {sandbox}; fi\nexec '{program}' \"$@\""),
    );
    place
}

/// Sockets in its data folder.
fn sockets(place: &Place) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![place.path("data")];
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().into_iter().flatten().map(|entry| entry.unwrap().path()) {
            use std::os::unix::fs::FileTypeExt;
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_socket() {
                found.push(path);
            }
        }
    }
    found
}

/// A quick start that runs.
struct QuickStart {
    child: Child,
    group: Pid,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl QuickStart {
    fn begin(place: &Place) -> QuickStart {
        let mut command = place.command("run.sh", &[]);
        command.env("CARGO_BUILD_TARGET", "of-another-machine");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let group = Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        QuickStart { child, group, stdout }
    }

    /// The next line that begins so.
    async fn line(&mut self, begin: &str) -> String {
        let next = async {
            loop {
                let line = self.stdout.next_line().await.unwrap().expect("more lines");
                if line.starts_with(begin) {
                    return line;
                }
            }
        };
        tokio::time::timeout(SOON, next).await.unwrap_or_else(|_| panic!("no line begins with {begin:?}"))
    }

    /// Ctrl-C: the terminal tells the whole group.
    async fn interrupt(mut self) -> Option<i32> {
        kill_process_group(self.group, Signal::INT).unwrap();
        tokio::time::timeout(SOON, self.child.wait()).await.expect("it ends").unwrap().code()
    }
}

impl Drop for QuickStart {
    /// After a failure: the server follows its sandbox.
    fn drop(&mut self) {
        let _ = kill_process_group(self.group, Signal::KILL);
    }
}

/// Runs a line in a shell, as a person would who copied it from the terminal; what it printed.
async fn shell(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).stdin(Stdio::null()).output();
    let output = tokio::time::timeout(SOON, output).await.unwrap().unwrap();
    assert!(output.status.success(), "{line}\n{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Has the client of the printed line run other SQL.
async fn sql(client: &str, statement: &str) -> String {
    shell(&format!("{client} --batch --skip-column-names -e \"{statement}\"")).await
}

async fn wait_until_done(client: &str, jobs: usize) {
    let count = "SELECT COUNT(*) FROM queued_job WHERE state = 'completed' AND result_code = 0";
    until(&format!("{jobs} jobs are done"), SOON, async || sql(client, count).await.trim() == jobs.to_string()).await;
}

#[tokio::test]
async fn the_quick_start_works_as_it_says_and_leaves_nothing_but_its_data() {
    let place = place_to_start();
    let mut first = QuickStart::begin(&place);
    let database = first.line("database: ").await;
    assert!(database.contains(" on 127.0.0.1:"), "{database}");
    let address = database.rsplit(' ').next().unwrap().to_owned();
    first.line("enqueued demo job 1: POST http://127.0.0.1:").await;
    assert_eq!(first.line("demo job").await, "demo job 1 is completed: done / demo handler: POST /demo, 24 bytes");
    let settings = PathBuf::from(first.line("settings: ").await.replace("settings: ", ""));
    first.line("enqueue more with this line").await;
    let line = first.line("").await;
    let client = line.split(" -e ").next().unwrap().to_owned();

    shell(&line).await;
    wait_until_done(&client, 2).await;
    // The README's statement, with the demo handler's URL put there as it says.
    let url = line.split("'post', '").nth(1).unwrap().split('\'').next().unwrap();
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let insert = readme.split("```sql\n").nth(1).unwrap().split("```").next().unwrap();
    sql(&client, &insert.replace("http://something.example.com/somewhere", url)).await;
    wait_until_done(&client, 3).await;
    let history = sql(&client, "SELECT msg FROM queued_job_log WHERE job_id = 3 ORDER BY id").await;
    assert!(history.starts_with(&format!("[JOBID 3] Calling job with method post on url {url} (timeout 120)\n")));
    assert!(history.contains("[JOBID 3] Job succeeded: done"), "{history}");
    // Its settings are for the other commands too.
    let program = env!("CARGO_BIN_EXE_strings-queue");
    let checked = shell(&format!("{program} check '{}'", settings.display())).await;
    assert!(checked.contains("0 faults"), "{checked}");

    let (code, _, stderr) = run_sh(&place, &[]).await;
    assert_eq!(code, Some(1), "one at a time on the same data");
    assert!(stderr.contains("is in use"), "{stderr}");

    assert!(!place.processes().is_empty() && TcpStream::connect(&address).is_ok());
    assert_eq!(first.interrupt().await, Some(0));
    assert_eq!(place.processes(), [""; 0]);
    assert_eq!(sockets(&place), Vec::<PathBuf>::new());
    assert!(TcpStream::connect(&address).is_err(), "{address} still answers");

    let mut second = QuickStart::begin(&place);
    second.line("demo job 4 is completed").await;
    second.line("enqueue more").await;
    let client = second.line("").await.split(" -e ").next().unwrap().to_owned();
    wait_until_done(&client, 4).await;
    if has_setpriv() {
        kill_process(second.group, Signal::KILL).unwrap();
        until("its server ends with it", SOON, async || place.processes().is_empty()).await;
    } else {
        assert_eq!(second.interrupt().await, Some(0));
    }
    // The data is there by now, so that this falls into the server's own start.
    assert_interrupted(&place, 300).await;
    if std::env::var_os("STRINGS_QUEUE_SLOW").is_some() {
        for millis in [10, 30, 100, 1_000] {
            assert_interrupted(&place, millis).await;
        }
        let mut last = QuickStart::begin(&place);
        last.line("demo job ").await;
        assert_eq!(last.interrupt().await, Some(0));
    }
}

fn has_setpriv() -> bool {
    std::process::Command::new("setpriv").arg("--version").output().is_ok()
}

/// Begins a start and interrupts it so long after its first line.
async fn assert_interrupted(place: &Place, millis: u64) {
    let mut start = QuickStart::begin(place);
    start.line("starting a private database server in").await;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    assert_eq!(start.interrupt().await, Some(0), "{millis} ms after its first line");
    // A killed process takes a moment to be gone.
    until("nothing is left", Duration::from_secs(5), async || place.processes().is_empty()).await;
    assert_eq!(sockets(place), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn an_interrupt_of_a_first_start_leaves_nothing_running() {
    for millis in [20, 300, 1_500] {
        assert_interrupted(&place_to_start(), millis).await;
    }
}

/// Runs `./run.sh` to its end: exit code, stdout, stderr.
async fn run_sh(place: &Place, arguments: &[&str]) -> (Option<i32>, String, String) {
    let ended = run_to_end(&mut place.command("run.sh", arguments)).await;
    (ended.code, ended.stdout, ended.stderr)
}

#[tokio::test]
async fn help_is_shown_and_wrong_usage_is_told() {
    let place = place_to_start();
    for flag in ["-h", "--help"] {
        let (code, stdout, stderr) = run_sh(&place, &[flag]).await;
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(stdout.contains("./run.sh <db_ini_file>"), "{stdout}");
    }
    let wrong: [(&[&str], &str); 4] = [
        (&["--loud"], "run.sh: unknown option --loud\n"),
        (&["a.ini", "b.ini"], "run.sh: one db.ini, or nothing\n"),
        (&["none.ini"], "run.sh: cannot read the settings file 'none.ini'\n"),
        (&["/"], "run.sh: cannot read the settings file '/'\n"),
    ];
    for (arguments, told) in wrong {
        let (code, stdout, stderr) = run_sh(&place, arguments).await;
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.starts_with(told), "{stderr}");
    }
}

#[tokio::test]
async fn settings_named_from_where_the_user_stands_run_the_service() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let place = place_to_start();
    std::fs::copy(database.ini(""), place.path("my db.ini")).unwrap();
    let mut service = Service::spawn(place.command("run.sh", &["my db.ini"]));
    service.wait_for_line("following the log", SOON).await;
    let id = job().url(receiver.url("/")).insert(&database).await;
    until("the job is done", SOON, async || {
        let sql = format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}");
        database.query_one::<String>(&sql).await == "completed"
    })
    .await;
    // The script became the program: what a supervisor tells it, the service hears.
    kill_process(service.pid(), Signal::TERM).unwrap();
    assert_eq!(service.wait_for_exit(SOON).await.code(), Some(0));
    let (code, _, stderr) =
        run_sh(&place, &[place.path("target").join("..").join("bin/cargo").to_str().unwrap()]).await;
    assert_eq!(code, Some(2), "wrong settings end it as they end the program: {stderr}");
}

#[tokio::test]
async fn a_build_that_fails_is_told() {
    let place = place_to_start();
    let metadata = place.cargo_metadata();
    place.script("bin/cargo", &format!("if [ \"$1\" = metadata ]; then echo '{metadata}'; fi; [ \"$1\" != build ]"));
    std::fs::write(place.path("db.ini"), "").unwrap();
    let (code, stdout, stderr) = run_sh(&place, &["db.ini"]).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.ends_with("strings-queue: the build failed\n"), "{stderr}");
}

#[tokio::test]
async fn a_rust_that_is_too_old_is_told_with_the_version_that_is_needed() {
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let oldest = manifest.split("rust-version = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let place = place_to_start();
    std::fs::write(place.path("db.ini"), "").unwrap();
    for (version, too_old) in [("1.65.0", true), ("1.9.0", true), (&format!("{oldest}.0"), false), ("2.0.0", false)] {
        place.script("bin/cargo", &format!("if [ \"$1\" = --version ]; then echo 'cargo {version} (0 2022)'; fi"));
        let (code, _, stderr) = run_sh(&place, &["db.ini"]).await;
        let told = format!("needs Rust {oldest} or newer, and this is {version}");
        assert_eq!(code == Some(1) && stderr.contains(&told), too_old, "{version}: {code:?} {stderr}");
    }
}

/// Everything that `./run.sh` may read of the project is in the project, wherever it is called from.
#[test]
fn the_script_is_found_through_a_link() {
    let folder = TempDir::new().unwrap();
    let link = folder.path().join("queue");
    std::os::unix::fs::symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("run.sh"), &link).unwrap();
    let output = std::process::Command::new(&link).arg("-h").current_dir("/").output().unwrap();
    assert!(output.status.success());
}
