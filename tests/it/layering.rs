//! The floors and the seams of the crate, read from its sources: see the map in `src/lib.rs`.

use std::path::{Path, PathBuf};

/// From the ground up; modules on one floor never use each other.
const FLOORS: [&[&str]; 8] = [
    &["job"],
    &["wakeup", "followed", "metrics", "logging", "reconnect", "failpoints", "panics"],
    &["config"],
    &["store"],
    &["cdc", "dispatch", "sandbox", "admin"],
    &["service"],
    &["cli"],
    &["main"],
];

/// Crates that stand behind a seam, and where they may be named.
const SEAMS: [(&str, &[&str]); 6] = [
    ("mysql_cdc", &["src/cdc/"]),
    ("mysql_async", &["src/store/", "src/store.rs", "src/cdc/secure.rs"]),
    ("reqwest", &["src/dispatch/"]),
    ("axum", &["src/sandbox/", "src/admin/"]),
    ("backoff", &["src/reconnect.rs"]),
    ("anyhow", &["src/main.rs", "src/cli.rs", "src/cli/"]),
];

#[test]
fn every_source_keeps_to_the_floors_and_the_seams() {
    let breaches: Vec<String> = sources("src").iter().flat_map(|(path, text)| breaches(path, text)).collect();
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let files = [sources("src"), sources("tests"), sources("benches")].concat();
    let silent: Vec<&str> =
        files.iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| &**path).collect();
    assert!(silent.is_empty(), "no `//!` in the first line of:\n{}", silent.join("\n"));
}

/// All that a source does against the rules, each as `file:line: what`.
fn breaches(path: &str, text: &str) -> Vec<String> {
    let Some(own) = module_of(path) else { return Vec::new() };
    let Some(floor) = floor_of(own) else { return vec![format!("{path}:1: the module {own} stands on no floor")] };
    let code = code_of(text);
    let mut found = Vec::new();
    for (line, used) in used_modules(&code) {
        if used != own && floor_of(used).is_some_and(|other| other >= floor) {
            found.push(format!("{path}:{line}: {own} must not use {used}, which does not stand below it"));
        }
    }
    for (name, places) in SEAMS {
        if places.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        for line in lines_naming(&code, name) {
            found.push(format!("{path}:{line}: {name} is named only in {}", places.join(", ")));
        }
    }
    found
}

/// `src/cdc/plain.rs` is of `cdc`, `src/service.rs` is `service`; the map itself is of none.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?.trim_end_matches(".rs");
    let first = inside.split('/').next()?;
    (first != "lib").then_some(first)
}

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The top modules named after `crate::`, the crate's own name or `super::`, with their lines.
///
/// A module may have a child with a top module's name; such a child is to be named without `super`.
fn used_modules(code: &str) -> Vec<(usize, &'static str)> {
    let roots = ["crate", "strings_queue", "super"];
    let after_root = roots.iter().flat_map(|root| paths_from(code, root));
    let mut used: Vec<_> = after_root.flat_map(|(at, rest)| first_names(code, at, rest)).collect();
    used.sort_unstable();
    used.dedup();
    used
}

/// Where `name::` stands as the first part of a path, and what follows it.
fn paths_from<'a>(code: &'a str, name: &str) -> Vec<(usize, &'a str)> {
    let pattern = format!("{name}::");
    let begins = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    let places = code.match_indices(&pattern).filter(|(at, _)| begins(*at) || name == "super");
    places.map(|(at, _)| (at, &code[at + pattern.len()..])).collect()
}

/// The known modules that a path goes to first: one, or those of a `{…}` group.
fn first_names(code: &str, at: usize, rest: &str) -> Vec<(usize, &'static str)> {
    let heads = if rest.starts_with('{') { group_heads(rest) } else { vec![(0, head(rest))] };
    let line = |offset: usize| code[..at].matches('\n').count() + rest[..offset].matches('\n').count() + 1;
    let known = |name: &str| FLOORS.iter().flat_map(|floor| floor.iter()).find(|known| **known == name);
    heads.into_iter().filter_map(|(offset, name)| Some((line(offset), *known(name)?))).collect()
}

/// The first name of each path in a group, with its place; names deeper in are of other modules.
fn group_heads(group: &str) -> Vec<(usize, &str)> {
    let (mut depth, mut heads) = (0, Vec::new());
    for (at, c) in group.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            break;
        }
        if depth == 1 && (c == '{' || c == ',') {
            let name = group[at + 1..].trim_start();
            heads.push((group.len() - name.len(), head(name)));
        }
    }
    heads
}

fn head(path: &str) -> &str {
    path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The lines on which a crate is named: as the root of a path, or alone in a `use`.
fn lines_naming(code: &str, name: &str) -> Vec<usize> {
    let alone = |line: &str| [format!("use {name};"), format!("use {name} as")].iter().any(|form| line.contains(form));
    let named = |line: &&str| !paths_from(line, name).is_empty() || alone(line);
    code.lines().enumerate().filter(|(_, line)| named(line)).map(|(at, _)| at + 1).collect()
}

/// The text with its comments and strings blanked, line for line.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let blank = blank_length(rest);
        let length = blank.max(next.len_utf8());
        let piece = &rest[..length];
        if blank == 0 {
            code.push(next);
        } else {
            code.extend(piece.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        rest = &rest[length..];
    }
    code
}

/// How long the comment or string is that begins here; 0 when none does.
fn blank_length(text: &str) -> usize {
    let up_to = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    match text.as_bytes() {
        [b'/', b'/', ..] => text.find('\n').unwrap_or(text.len()),
        [b'/', b'*', ..] => up_to(2, "*/"),
        [b'r', b'#', b'"', ..] => up_to(3, "\"#"),
        [b'\'', b'"', b'\'', ..] => 3,
        [b'\'', b'\\', _, b'\'', ..] => 4,
        [b'"', inside @ ..] => string_length(inside) + 1,
        _ => 0,
    }
}

/// Up to the quote that no backslash escapes.
fn string_length(inside: &[u8]) -> usize {
    let mut at = 0;
    while at < inside.len() && inside[at] != b'"' {
        at += if inside[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(inside.len())
}

/// All `.rs` files below a folder of the project, with their texts.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join(folder), &mut files);
    files.sort();
    let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
    files.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn a_breach_of_the_floors_is_seen() {
    let told = [
        ("src/cdc/x.rs", "use crate::dispatch::Dispatcher;\n", "src/cdc/x.rs:1: cdc must not use dispatch"),
        ("src/dispatch/x.rs", "//! x\n\nuse super::super::cdc;\n", "src/dispatch/x.rs:3: dispatch must not use cdc"),
        ("src/store/mod.rs", "use super::cdc::Change;\n", "src/store/mod.rs:1: store must not use cdc"),
        ("src/config/mod.rs", "fn f() { crate::store::g() }\n", "src/config/mod.rs:1: config must not use store"),
        ("src/job/mod.rs", "use crate::{\n    config::X,\n};\n", "src/job/mod.rs:2: job must not use config"),
        (
            "src/wakeup.rs",
            "\n\nuse crate::{job::{metrics}, metrics::Y};\n",
            "src/wakeup.rs:3: wakeup must not use metrics",
        ),
        ("src/sandbox/x.rs", "use strings_queue::service;\n", "src/sandbox/x.rs:1: sandbox must not use service"),
        ("src/novel/mod.rs", "", "src/novel/mod.rs:1: the module novel stands on no floor"),
    ];
    for (path, text, expected) in told {
        let breaches = breaches(path, text);
        assert!(breaches.first().is_some_and(|breach| breach.starts_with(expected)), "{text}: {breaches:?}");
    }
}

#[test]
fn a_breach_of_the_seams_is_seen() {
    for (name, places) in SEAMS {
        let text = format!("//! x\nuse {name}::Thing;\n");
        let elsewhere = breaches("src/metrics.rs", &text);
        assert_eq!(elsewhere, [format!("src/metrics.rs:2: {name} is named only in {}", places.join(", "))]);
        assert_eq!(breaches("src/metrics.rs", &format!("fn f() -> {name}::Thing;\n")).len(), 1);
        assert_eq!(breaches("src/metrics.rs", &format!("use {name};\n")).len(), 1);
        for place in places {
            let file = if place.ends_with('/') { format!("{place}x.rs") } else { (*place).to_owned() };
            assert_eq!(breaches(&file, &text), Vec::<String>::new());
        }
    }
}

#[test]
fn what_is_allowed_is_not_taken_for_a_breach() {
    let allowed = [
        ("src/cdc/x.rs", "use crate::store::Store;\nuse super::position;\nuse crate::{config::Config, wakeup};\n"),
        (
            "src/cdc/x.rs",
            "//! [`crate::dispatch`]\n// crate::dispatch\n/* crate::cli */ fn f() { g(\"crate::dispatch\") }\n",
        ),
        ("src/cdc/x.rs", "const Q: char = '\"'; const S: &str = r#\"\" crate::dispatch\"#; use crate::cdc::plain;\n"),
        ("src/main.rs", "use strings_queue::cli;\n"),
        ("src/cli/run.rs", "use crate::{service, sandbox, store};\n"),
        ("src/dispatch/x.rs", "let my_axum::x = self::backoff::y(job.backoff);\n"),
        ("src/lib.rs", "pub mod cdc;\npub mod dispatch;\n"),
    ];
    for (path, text) in allowed {
        assert_eq!(breaches(path, text), Vec::<String>::new(), "{text}");
    }
}
