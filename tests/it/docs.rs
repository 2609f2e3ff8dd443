//! The documents, held to the code: paths, settings, commands, headers, columns, messages and statements.

use crate::support::database::TestDatabase;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use strings_queue::config::Config;
use strings_queue::job::{JobId, JobState, Outcome, Retryable, messages};
use strings_queue::store::{Body, ClaimTerms, ClaimToken, Store, claim};

/// The statement that applications run: public interface, word for word.
const CONTRACT: &str = "INSERT INTO queued_job (http_method, url, body, timeout_secs)
VALUES ('post', 'http://something.example.com/somewhere', 'some post body', 120);
";
/// Folders whose paths are written from the top.
const TOPS: [&str; 7] = ["src/", "tests/", "benches/", "docs/", "scripts/", "packaging/", ".ci/"];
const LINES_OF_A_DECISION: std::ops::RangeInclusive<usize> = 15..=40;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files below a folder that end so, named from the top.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.to_str() {
                _ if path.is_dir() => folders.push(path),
                Some(name) if name.ends_with(ending) => {
                    found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn documents() -> Vec<(String, String)> {
    let tops = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(String::from);
    tops.into_iter().chain(files("docs", ".md")).map(|path| (path.clone(), read(&path))).collect()
}

/// The text in single backticks, outside of blocks.
fn spans(text: &str) -> Vec<String> {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    let spans = prose.iter().flat_map(|part| part.split('`').skip(1).step_by(2));
    spans.map(|span| span.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The blocks of a language; of every one if it is empty.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let blocks = text.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    blocks.filter(|(name, _)| language.is_empty() || *name == language).map(|(_, block)| block.to_owned()).collect()
}

/// All code of a document: spans and the lines of blocks.
fn code(text: &str) -> Vec<String> {
    let lines = blocks(text, "").iter().flat_map(|block| block.lines().map(String::from).collect::<Vec<_>>()).collect();
    [spans(text), lines].concat()
}

fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(heading).unwrap_or_else(|| panic!("there is no heading {heading}"));
    let body = &text[start + heading.len()..];
    &body[..body.find("\n## ").unwrap_or(body.len()).min(body.find("\n### ").unwrap_or(body.len()))]
}

/// The path that a span names, if it names one of this project's.
fn path_of(span: &str) -> Option<&str> {
    let path = span.strip_prefix("./").unwrap_or(span).split(' ').next()?;
    let at_top = !path.contains('/') && [".md", ".toml", ".sh", ".sql"].iter().any(|ending| path.ends_with(ending));
    let named = at_top || TOPS.iter().any(|top| path.starts_with(top)) || path == "db.example.ini";
    (named && !path.contains('…')).then_some(path)
}

/// The files that a document's links lead to.
fn links(document: &str, text: &str) -> Vec<PathBuf> {
    let folder = root().join(document).parent().unwrap().to_owned();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).map(|target| folder.join(target)).collect()
}

#[test]
fn every_path_that_a_document_names_exists() {
    let mut missing = Vec::new();
    for (document, text) in documents() {
        let named = spans(&text).iter().filter_map(|span| path_of(span).map(|path| root().join(path))).collect();
        let all: Vec<PathBuf> = [named, links(&document, &text)].concat();
        missing.extend(all.into_iter().filter(|path| !path.exists()).map(|path| (document.clone(), path)));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn is_source(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "rs")
}

#[test]
fn the_architecture_names_every_source_and_no_other() {
    let text = read("ARCHITECTURE.md");
    for path in files("src", ".rs").iter().filter(|path| !path[4..].contains('/')) {
        assert!(text.contains(&format!("`{path}`")), "name {path} in ARCHITECTURE.md");
    }
    for room in root().join("src").read_dir().unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        let room = format!("src/{}/", room.file_name().unwrap().to_str().unwrap());
        let named = spans(section(&text, &format!("### `{room}`")));
        let sources = files(&room, ".rs");
        for source in sources.iter().filter(|source| !source.ends_with("mod.rs")) {
            let name = &source[room.len()..];
            assert!(
                named.iter().any(|span| span == name),
                "name {source} in ARCHITECTURE.md, as `{name}` under {room}"
            );
        }
        for name in named.iter().filter(|span| is_source(span) && path_of(span).is_none()) {
            assert!(
                sources.contains(&format!("{room}{name}")),
                "ARCHITECTURE.md names {room}{name}, which is not there"
            );
        }
    }
}

#[test]
fn the_readme_has_the_statement_of_the_contract() {
    assert_eq!(blocks(&read("README.md"), "sql")[0], CONTRACT);
}

#[tokio::test]
async fn the_statements_of_the_documents_run_on_fresh_tables() {
    let database = TestDatabase::with_schema().await;
    let (readme, lifecycle) = (read("README.md"), read("docs/job-lifecycle.md"));
    for statement in [blocks(&readme, "sql"), blocks(&lifecycle, "sql")].concat() {
        database.execute(&statement).await;
    }
    let row: (String, String, i64, i64, String) =
        database.query_one("SELECT url, body, timeout_secs, remaining_retries, state FROM queued_job").await;
    let expected = ("http://something.example.com/somewhere", "some post body", 120, 5, "available");
    assert_eq!((row.0.as_str(), row.1.as_str(), row.2, row.3, row.4.as_str()), expected);
    let cancel = spans(&readme).into_iter().find(|span| span.starts_with("UPDATE queued_job SET state = 'cancelled'"));
    database.execute(&cancel.unwrap().replace("id = 7", "id = 1")).await;
    assert_eq!(database.query_one::<String>("SELECT state FROM queued_job").await, "cancelled");
}

#[tokio::test]
async fn with_the_readmes_column_for_raw_bytes_a_body_is_claimed_as_it_was_stored() {
    let database = TestDatabase::with_schema().await;
    let alter = spans(&read("README.md")).into_iter().find(|span| span.starts_with("ALTER TABLE queued_job"));
    database.execute(&alter.unwrap()).await;
    database
        .execute("INSERT INTO queued_job (http_method, url, body) VALUES ('post', 'http://a/', X'00FF80C328')")
        .await;
    let config = Config::load(&database.ini(""), &|_| None).unwrap();
    let terms = ClaimTerms { dispatcher: "docs".to_owned(), grace: Duration::from_secs(9), max_timeout_secs: 60 };
    let mut session = Store::new(&config.database).session();
    let claimed = claim(&mut session, &terms, ClaimToken::draw(), &[JobId(1)]).await.unwrap();
    assert_eq!(claimed.jobs[0].body, Body::Here(vec![0x00, 0xff, 0x80, 0xc3, 0x28]));
}

/// Section, key and default of each setting in `db.example.ini`, which is held to the code by a unit test.
fn settings() -> Vec<(String, String, String)> {
    let (mut settings, mut section) = (Vec::new(), String::new());
    for line in read("db.example.ini").lines() {
        if line.starts_with('[') {
            line.clone_into(&mut section);
        } else if let Some((key, value)) = line.strip_prefix('#').unwrap_or(line).split_once(": ")
            && key.chars().all(|character| character.is_ascii_lowercase() || character == '_')
        {
            settings.push((section.clone(), key.to_owned(), value.to_owned()));
        }
    }
    settings
}

#[test]
fn the_readmes_table_of_settings_is_true() {
    let (settings, source) = (settings(), read("src/config/settings.rs"));
    let text = read("README.md");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.starts_with("| `["))
        .map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).collect())
        .collect();
    assert!(rows.len() > 5, "where is the table?");
    for row in rows {
        let (section, key, default) = (row[1], row[2], row[3]);
        let setting = settings.iter().find(|setting| setting.0 == section && setting.1 == key);
        let setting = setting.unwrap_or_else(|| panic!("{section} {key} is no setting"));
        assert!(default.is_empty() || setting.2 == default, "the default of {section} {key} is {}", setting.2);
        assert!(source.contains(&format!("\"{key}\"")), "{key} is not in settings.rs");
    }
}

#[test]
fn every_setting_or_column_that_a_document_names_is_one() {
    let known: BTreeSet<String> = settings().into_iter().map(|setting| setting.1).chain(columns()).collect();
    for (document, text) in documents() {
        for span in spans(&text) {
            let name = span.split_once(": ").map_or(span.as_str(), |(key, _)| key);
            let is_name = name.chars().all(|character| character.is_ascii_lowercase() || character == '_');
            let has_unit = ["_secs", "_bytes", "_statuses", "_multiplier"].iter().any(|ending| name.ends_with(ending));
            assert!(!(is_name && has_unit) || known.contains(name), "{document} names `{name}`, which is nothing");
        }
    }
}

/// The columns of `queued_job`.
fn columns() -> Vec<String> {
    let schema = read("schema.sql");
    let table = schema.split(") ENGINE").next().unwrap();
    let first = |line: &str| line.strip_prefix("    ")?.split(' ').next().map(str::to_owned);
    let is_column = |name: &String| name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.is_empty();
    table.lines().filter_map(first).filter(is_column).collect()
}

#[test]
fn the_lifecycle_names_every_column_every_state_and_every_message() {
    let text = read("docs/job-lifecycle.md");
    let columns = columns();
    assert!(columns.len() > 15, "{columns:?}");
    let states = JobState::ALL.map(|state| state.as_str().to_owned());
    for name in columns.iter().chain(&states) {
        assert!(text.contains(&format!("`{name}`")), "`{name}` is not in docs/job-lifecycle.md");
    }
    let (job, response) = (JobId(7), |text: &str| text.to_owned());
    let temporary = Retryable { response: response("busy, try again later"), ..Retryable::default() };
    let timeout = Retryable { timed_out: true, ..Retryable::default() };
    let messages = [
        messages::calling(job, "post", "http://something.example.com/somewhere", 120),
        messages::finished(job, &Outcome::Succeeded { response: response("done") }),
        messages::finished(job, &Outcome::FailedTemporarily(temporary)),
        messages::finished(job, &Outcome::FailedTemporarily(timeout)),
        messages::finished(job, &Outcome::FailedPermanently { response: response("no such order") }),
        messages::finished(job, &Outcome::Interrupted),
        messages::rescued(job, "web-1"),
        messages::given_up(job, "web-1"),
        messages::refused(job),
    ];
    for message in messages {
        assert!(text.contains(&format!("\n{message}\n")), "{message}");
    }
}

/// What the program prints; its commands' help with its own.
fn help() -> (Vec<String>, String) {
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_strings-queue")).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let mut text = run(&["--help"]);
    let list = text.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<String> = names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    for command in &commands {
        text.push_str(&run(&["help", command]));
    }
    (commands, text)
}

#[test]
fn every_command_and_option_that_a_document_names_is_in_a_help() {
    let (commands, mut help) = help();
    assert!(commands.len() > 5, "{commands:?}");
    for script in ["run.sh", "test.sh", "bench.sh", "scripts/servers.sh"] {
        help.push_str(&read(script));
    }
    for (document, text) in documents() {
        for line in code(&text) {
            let words: Vec<&str> = line.split_whitespace().collect();
            for pair in words.windows(2).filter(|pair| pair[0].ends_with("strings-queue")) {
                let is_name = pair[1].chars().all(|character| character.is_ascii_lowercase());
                assert!(!is_name || commands.iter().any(|known| known == pair[1]), "{document}: {line}");
            }
            // An option alone in the README, or after one of our programs anywhere.
            let is_ours = words.iter().any(|word| ["strings-queue", ".sh"].iter().any(|ours| word.ends_with(ours)));
            let is_option = |word: &&&str| word.starts_with("--") && word[2..].starts_with(char::is_alphabetic);
            for option in words.iter().filter(|_| is_ours || document == "README.md").filter(is_option) {
                assert!(help.contains(*option), "{document} names {option}, which no help does");
            }
        }
    }
}

#[test]
fn the_readme_names_the_headers_that_are_sent_and_obeyed() {
    let source = ["client.rs", "response.rs"].map(|file| read(&format!("src/dispatch/{file}"))).concat();
    let text = read("README.md");
    let is_header = |name: &String| {
        name.contains('-') && name != "strings-queue" && name.chars().all(|c| c.is_ascii_alphabetic() || c == '-')
    };
    let headers: Vec<String> =
        spans(section(&text, "## What a handler must know")).into_iter().filter(is_header).collect();
    assert!(headers.len() > 5, "{headers:?}");
    for header in &headers {
        let (literal, constant) = (format!("\"{}\"", header.to_lowercase()), header.to_uppercase().replace('-', "_"));
        assert!(source.contains(&literal) || source.contains(&constant), "{header} is not in src/dispatch");
    }
    let literals = source.split("HeaderName::from_static(\"").skip(1).chain(source.split(": &str = \"").skip(1));
    for header in literals.filter_map(|rest| rest.split('"').next()) {
        assert!(headers.iter().any(|known| known.eq_ignore_ascii_case(header)), "{header} is not in the README");
    }
}

#[test]
fn decisions_are_short_and_numbered_without_a_gap() {
    for (index, path) in files("docs/decisions", ".md").iter().enumerate() {
        let (number, text) = (index + 1, read(path));
        assert!(path.starts_with(&format!("docs/decisions/{number:04}-")), "{path} is not number {number}");
        assert!(text.starts_with(&format!("# {number}. ")), "{path}");
        for heading in ["\n## Context\n", "\n## Decision\n", "\n## Consequences\n"] {
            assert!(text.contains(heading), "{path} lacks {heading}");
        }
        assert!(LINES_OF_A_DECISION.contains(&text.lines().count()), "{path} has {} lines", text.lines().count());
    }
}

#[test]
fn versions_are_those_of_the_package() {
    for document in ["README.md", "CONTRIBUTING.md"] {
        assert!(read(document).contains(&format!("{} or newer", env!("CARGO_PKG_RUST_VERSION"))), "{document}");
    }
    assert!(read("CHANGELOG.md").contains(&format!("\n## [{}]", env!("CARGO_PKG_VERSION"))));
}

/// The tests that a document names: in backticks, by their modules, such as `faults::kills::two_dispatchers`; those of
/// a source by its modules too, such as `job::state::tests::no_state_is_both`.
#[test]
fn every_test_that_a_document_names_exists() {
    let is_name = |span: &str| span.split("::").all(|part| !part.is_empty() && part.chars().all(is_of_a_name));
    let mut found = 0;
    for (document, text) in documents() {
        for span in spans(&text).into_iter().filter(|span| span.contains("::") && is_name(span)) {
            let (module, test) = span.rsplit_once("::").unwrap();
            let path = module.replace("::", "/");
            let source = path.trim_end_matches("/tests");
            let files = [
                format!("tests/it/{path}.rs"),
                format!("tests/it/{path}/mod.rs"),
                format!("tests/failpoints/{path}.rs"),
                format!("src/{source}.rs"),
                format!("src/{source}/mod.rs"),
                format!("src/{path}.rs"),
            ];
            let mut texts = files.iter().filter_map(|file| std::fs::read_to_string(root().join(file)).ok());
            let head = format!("fn {test}(");
            assert!(texts.any(|text| text.contains(&head)), "{document} names `{span}`, which is in none of {files:?}");
            found += 1;
        }
    }
    assert!(found > 30, "the documents name {found} tests");
}

fn is_of_a_name(character: char) -> bool {
    character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_'
}
