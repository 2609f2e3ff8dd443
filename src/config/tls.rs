//! `ssl_mode`, `ssl_ca` and `ca_file`: how far connections are encrypted, and whose certificates are trusted.

use super::reader::{Reader, shown};
use super::settings::{DB_SSL_CA, DB_SSL_MODE, Setting};
use super::{HostPort, SslMode, files, host};
use std::path::{Path, PathBuf};

/// The modes by the names they have in the server's own clients.
const MODES: [(&str, SslMode); 5] = [
    ("disabled", SslMode::Disabled),
    ("preferred", SslMode::Preferred),
    ("required", SslMode::Required),
    ("verify_ca", SslMode::VerifyCa),
    ("verify_identity", SslMode::VerifyIdentity),
];

/// The mode and the file of trusted certificates.
pub(super) fn read(reader: &mut Reader<'_>, hosts: &[HostPort], by_socket: bool) -> (SslMode, Option<PathBuf>) {
    let authorities = authorities(reader, &DB_SSL_CA);
    let written = reader.text(&DB_SSL_MODE).and_then(|text| parse_mode(reader, &text));
    if by_socket {
        check_socket(reader, written);
        if authorities.is_some() {
            reader.warn(&DB_SSL_CA, "has no effect beside socket, which never leaves this machine");
        }
        return (SslMode::Disabled, authorities);
    }
    let mode = written.unwrap_or_else(|| default_mode(hosts, authorities.is_some()));
    check_pair(reader, mode, authorities.is_some());
    (mode, authorities)
}

/// A file of trusted certificates.
pub(super) fn authorities(reader: &mut Reader<'_>, setting: &Setting) -> Option<PathBuf> {
    let path = reader.path(setting);
    if let Some(path) = &path {
        check_certificates(reader, setting, path);
    }
    path
}

/// As in the server's own clients: who names certificates wants them looked at.
fn default_mode(hosts: &[HostPort], has_authorities: bool) -> SslMode {
    if has_authorities {
        SslMode::VerifyCa
    } else if hosts.iter().all(|server| host::is_loopback(&server.host)) {
        SslMode::Disabled
    } else {
        SslMode::Preferred
    }
}

fn parse_mode(reader: &mut Reader<'_>, text: &str) -> Option<SslMode> {
    let name = text.to_ascii_lowercase().replace('-', "_");
    let mode = MODES.iter().find(|(known, _)| *known == name).map(|(_, mode)| *mode);
    if mode.is_none() {
        let names: Vec<&str> = MODES.iter().map(|(known, _)| *known).collect();
        reader.problem(&DB_SSL_MODE, format!("{} is not one of {}", shown(text), names.join(", ")));
    }
    mode
}

fn check_certificates(reader: &mut Reader<'_>, setting: &Setting, path: &Path) {
    let fault = match files::read(path) {
        Ok(file) if file.text.contains("-----BEGIN CERTIFICATE-----") => return,
        Ok(_) => "holds no certificate in PEM form; name the file of the authority's certificate".to_owned(),
        Err(error) => files::fault(&error),
    };
    reader.problem(setting, format!("{} {fault}", path.display()));
}

fn check_socket(reader: &mut Reader<'_>, written: Option<SslMode>) {
    if !matches!(written, None | Some(SslMode::Disabled | SslMode::Preferred)) {
        reader
            .problem(&DB_SSL_MODE, "does not go with socket, which never leaves this machine; take one of the two out");
    }
}

fn check_pair(reader: &mut Reader<'_>, mode: SslMode, has_authorities: bool) {
    match mode {
        SslMode::VerifyCa if !has_authorities => {
            let mend = "verify_ca needs ssl_ca; name the authority's certificate, or use verify_identity";
            reader.problem(&DB_SSL_MODE, mend);
        }
        SslMode::Disabled | SslMode::Preferred | SslMode::Required if has_authorities => {
            reader.warn(&DB_SSL_MODE, "does not look at ssl_ca; verify_ca and verify_identity do");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::ini;
    use super::*;

    fn mode(text: &str, host: &str) -> Result<SslMode, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), "-----BEGIN CERTIFICATE-----\n").unwrap();
        std::fs::write(folder.path().join("key.pem"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
        let document = ini::read(&format!("[db]\n{text}"));
        let file = folder.path().join("db.ini");
        let mut reader = Reader::new(&document, Path::new(&file), &|_| None);
        let hosts = [HostPort { host: host.to_owned(), port: 3306 }];
        let (mode, _) = read(&mut reader, &hosts, host == "socket");
        match reader.problems.first() {
            Some(problem) => Err(problem.message.clone()),
            None => Ok(mode),
        }
    }

    #[test]
    fn the_default_follows_the_way_to_the_server() {
        for loopback in ["localhost", "127.0.0.1", "::1", "socket"] {
            assert_eq!(mode("", loopback), Ok(SslMode::Disabled), "{loopback}");
        }
        assert_eq!(mode("", "db.example.com"), Ok(SslMode::Preferred));
        assert_eq!(mode("ssl_ca: ca.pem", "localhost"), Ok(SslMode::VerifyCa));
    }

    #[test]
    fn every_mode_can_be_written() {
        for (name, known) in MODES {
            assert_eq!(mode(&format!("ssl_ca: ca.pem\nssl_mode: {name}"), "db"), Ok(known));
        }
        assert_eq!(mode("ssl_mode: VERIFY-IDENTITY", "db"), Ok(SslMode::VerifyIdentity));
        assert!(mode("ssl_mode: on", "db").unwrap_err().contains("`on` is not one of disabled, preferred"));
    }

    #[test]
    fn verify_ca_needs_certificates() {
        assert!(mode("ssl_mode: verify_ca", "db").unwrap_err().contains("needs ssl_ca"));
        assert!(mode("ssl_ca: none.pem", "db").unwrap_err().contains("there is no such file"));
        assert!(mode("ssl_ca: key.pem", "db").unwrap_err().contains("holds no certificate"));
    }

    #[test]
    fn a_socket_is_not_encrypted() {
        assert_eq!(mode("ssl_mode: preferred", "socket"), Ok(SslMode::Disabled));
        assert!(mode("ssl_mode: required", "socket").unwrap_err().contains("does not go with socket"));
    }
}
