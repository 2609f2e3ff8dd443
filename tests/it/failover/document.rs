//! `docs/failover.md`: the tests and the lines that it names are there.

use std::path::Path;

/// The first cells of the tables below a heading, or the last ones; without their backquotes.
fn cells(heading: &str, last: bool) -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/failover.md")).unwrap();
    let section = text.split(&format!("\n## {heading}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    let cell = |row: &str| {
        let mut cells = row.trim_matches('|').split('|');
        let found = if last { cells.next_back() } else { cells.next() };
        found.unwrap().trim().trim_matches('`').to_owned()
    };
    rows.map(cell).collect()
}

fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            all += &std::fs::read_to_string(&path).unwrap();
        }
    }
    all
}

#[test]
fn every_test_and_every_line_that_it_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (product, tests) = (sources(&root.join("src")), sources(&root.join("tests/it")));
    let (lines, held) = (cells("What you see", false), cells("What holds it", true));
    assert!(lines.len() > 4 && held.len() > 5, "{lines:?} {held:?}");
    for line in lines {
        assert!(product.contains(&line), "no source says {line:?}");
    }
    for name in held {
        assert!(tests.contains(&format!("async fn {name}()")), "there is no test {name}");
    }
}
