//! Passwords: in the settings, in a file of their own, or in the environment.

use super::Secret;
use super::files;
use super::reader::Reader;
use super::settings::{API_PASSWD, API_PASSWD_FILE, DB_PASSWD, DB_PASSWD_FILE, Setting};
use std::ffi::OsString;
use std::path::Path;

/// Where one password may come from.
pub(super) struct Source {
    key: &'static Setting,
    file_key: &'static Setting,
    variable: &'static str,
}

/// The password of `[db]`.
pub(super) const DATABASE: Source =
    Source { key: &DB_PASSWD, file_key: &DB_PASSWD_FILE, variable: "STRINGS_QUEUE_DB_PASSWD" };
/// The password of `[api]`.
pub(super) const API: Source =
    Source { key: &API_PASSWD, file_key: &API_PASSWD_FILE, variable: "STRINGS_QUEUE_API_PASSWD" };

/// The password; an empty one is one, save in the environment, where an empty variable means none.
pub(super) fn read(reader: &mut Reader<'_>, source: &Source) -> Option<Secret> {
    let written = reader.entry(source.key);
    if written.is_some() && reader.entry(source.file_key).is_some() {
        reader.problem(source.file_key, "stands beside passwd; take one of the two out");
    }
    if reader.open_to_all && written.is_some_and(|entry| !entry.value.is_empty()) {
        warn_of_readers(reader, source.key, reader.file);
    }
    match (reader.environment)(source.variable).filter(|value| !value.is_empty()).map(OsString::into_string) {
        Some(Ok(value)) => return Some(Secret::new(value)),
        Some(Err(_)) => {
            let variable = source.variable;
            reader.problem(source.key, format!("{variable} in the environment is not UTF-8 text; set it anew"));
            return None;
        }
        None => {}
    }
    match written {
        Some(entry) if entry.value.contains('\n') => {
            reader.problem(source.key, "runs on over the next line, which is indented deeper; mend the indentation");
            None
        }
        Some(entry) => Some(Secret::new(entry.value.as_str())),
        None => read_file(reader, source),
    }
}

fn read_file(reader: &mut Reader<'_>, source: &Source) -> Option<Secret> {
    let path = reader.path(source.file_key)?;
    let file = match files::read(&path) {
        Ok(file) => file,
        Err(error) => {
            reader.problem(source.file_key, format!("{} {}", path.display(), files::fault(&error)));
            return None;
        }
    };
    if file.open_to_all {
        warn_of_readers(reader, source.file_key, &path);
    }
    let line = file.text.strip_suffix('\n').unwrap_or(&file.text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() || line.contains('\n') {
        reader.problem(source.file_key, format!("{} must hold the password as its only line", path.display()));
        return None;
    }
    Some(Secret::new(line))
}

fn warn_of_readers(reader: &mut Reader<'_>, key: &Setting, file: &Path) {
    let file = file.display();
    let mend = format!("`chmod o-r {file}`, or the mode with which it is mounted, mends that");
    reader.warn(key, &format!("everybody on this machine may read it; {mend}"));
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    fn password(folder: &Path, text: &str, variable: Option<&str>) -> (Option<String>, String, usize) {
        let document = ini::read(&format!("[db]\n{text}"));
        let file = folder.join("db.ini");
        let environment = |name: &str| variable.filter(|_| name == "STRINGS_QUEUE_DB_PASSWD").map(OsString::from);
        let mut reader = Reader::new(&document, &file, &environment);
        let secret = read(&mut reader, &DATABASE).map(|secret| secret.reveal().to_owned());
        let problems: Vec<String> = reader.problems.iter().map(ToString::to_string).collect();
        (secret, problems.join("\n"), reader.warnings.len())
    }

    fn secret(text: &str) -> (Option<String>, String, usize) {
        (Some(text.to_owned()), String::new(), 0)
    }

    #[test]
    fn the_password_is_taken_as_it_stands() {
        let nowhere = Path::new("");
        assert_eq!(password(nowhere, "passwd: p%%w \"d\\", None), secret("p%%w \"d\\"));
        assert_eq!(password(nowhere, "passwd:", None), secret(""));
        assert_eq!(password(nowhere, "", None), (None, String::new(), 0));
    }

    #[test]
    fn the_environment_wins_unless_it_is_empty() {
        assert_eq!(password(Path::new(""), "passwd: a", Some("b")), secret("b"));
        assert_eq!(password(Path::new(""), "passwd_file: /missing", Some("b")), secret("b"));
        assert_eq!(password(Path::new(""), "passwd: a", Some("")), secret("a"));
    }

    #[test]
    fn a_password_file_loses_its_line_end_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, " p w \r\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(password(folder.path(), "passwd_file: secret", None), secret(" p w "));
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(password(folder.path(), "passwd_file: secret", None).2, 1);
    }

    #[test]
    fn a_password_file_that_can_not_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        assert!(password(folder.path(), "passwd_file: none", None).1.contains("there is no such file"));
        fs::write(folder.path().join("two"), "hunter2\nhunter3\n").unwrap();
        let (_, told, _) = password(folder.path(), "passwd_file: two", None);
        assert!(told.contains("its only line") && !told.contains("hunter"), "{told}");
    }

    #[test]
    fn both_at_once_are_refused() {
        assert!(password(Path::new(""), "passwd: a\npasswd_file: b", None).1.contains("take one of the two out"));
        assert!(password(Path::new(""), "passwd: a\n  hunter2", None).1.contains("indented deeper"));
    }
}
