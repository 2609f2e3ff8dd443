//! The threat model, held to the tests: each defence names one, and there is one of that name.

use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::receiver::{Answer, Receiver};
use crate::support::service::Service;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The tests that a text names: `module::of_the_test::name`.
fn tests_named(text: &str) -> Vec<String> {
    let spans = text.split('`').skip(1).step_by(2);
    spans.filter(|span| span.contains("::")).map(str::to_owned).collect()
}

/// The texts of all sources and tests.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut folders, mut sources) = (vec![root().join("src"), root().join("tests")], Vec::new());
    while let Some(folder) = folders.pop() {
        for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push((path.clone(), read(&path)));
            }
        }
    }
    sources
}

/// Whether the file is where the path of a test leads: all its modules but `tests` are folders or the file.
fn holds(path: &Path, test: &str) -> bool {
    let written = path.with_extension("");
    let written: Vec<&str> =
        written.iter().map(|part| part.to_str().unwrap()).filter(|part| !["mod", "tests"].contains(part)).collect();
    let modules: Vec<&str> = test.split("::").filter(|module| *module != "tests").collect();
    written.ends_with(&modules[..modules.len() - 1])
}

#[test]
fn every_defence_of_the_threat_model_names_a_test_that_is_there() {
    let (text, sources) = (read(&root().join("docs/threat-model.md")), sources());
    let named = tests_named(&text);
    assert!(named.len() > 40, "{named:#?}");
    let missing: Vec<&String> = named
        .iter()
        .filter(|test| {
            let function = format!("fn {}(", test.rsplit("::").next().unwrap());
            !sources.iter().any(|(path, source)| holds(path, test) && source.contains(&function))
        })
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}

#[test]
fn no_threat_lacks_a_test() {
    let text = read(&root().join("docs/threat-model.md"));
    for part in text.split("\n## ").filter(|part| part.contains("| test |")) {
        let rows: Vec<&str> = part.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
        assert!(rows.len() > 5, "{part}");
        for row in rows {
            assert!(row.contains("::"), "no test in: {row}");
        }
    }
}

/// Gigabytes would only take longer to make.
const UNPACKED: usize = 64 << 20;

#[tokio::test]
async fn a_compressed_answer_is_not_asked_for_and_not_unpacked() {
    let (database, receiver) = (TestDatabase::with_schema().await, Receiver::start().await);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&vec![0; UNPACKED]).unwrap();
    receiver.on("/", Answer::status(200).header("Content-Encoding", "gzip").body(encoder.finish().unwrap()));
    let id = job().url(receiver.url("/")).insert(&database).await;
    let mut once = Service::start(["once", database.ini("").to_str().unwrap()]);
    assert_eq!(once.wait_for_exit(Duration::from_secs(30)).await.code(), Some(0));
    assert!(receiver.requests()[0].header("accept-encoding").is_none());
    let sql = format!("SELECT CAST(state AS CHAR), LENGTH(last_response) FROM queued_job WHERE id = {id}");
    let (state, length): (String, usize) = database.query_one(&sql).await;
    assert!(state == "completed" && (1_000..=65_535).contains(&length), "{state}, {length} bytes");
}

#[test]
fn no_command_takes_a_secret_as_an_argument() {
    for command in ["run", "once", "check", "migrate", "sandbox"] {
        let program =
            std::process::Command::new(env!("CARGO_BIN_EXE_strings-queue")).args([command, "--help"]).output();
        let help = String::from_utf8(program.unwrap().stdout).unwrap().to_lowercase();
        assert!(help.contains("usage") && !help.contains("--pass") && !help.contains("<pass"), "{help}");
    }
}
