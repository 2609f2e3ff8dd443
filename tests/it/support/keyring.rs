//! Where a server that encrypts its log has its keys from.

use super::database::server_program;
use super::server::server_plugin;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const FILE_KEYS: &str = "1;a7addd9adea9978fda19f21e6be987880e68ac92632ca052e5bb42b1a506939a\n";

/// A program and options for a server with a key; the folder is there for as long as this is.
pub struct Keyring {
    pub program: PathBuf,
    pub options: Vec<String>,
    _folder: TempDir,
}

impl Keyring {
    /// MariaDB's plugin reads keys from a file; none where the server comes without it.
    pub fn for_mariadb() -> Option<Keyring> {
        let plugins = server_plugin("file_key_management.so")?;
        let folder = open_folder();
        let keys = folder.path().join("keys");
        std::fs::write(&keys, FILE_KEYS).unwrap();
        let options = vec![
            format!("--plugin-dir={}", plugins.display()),
            "--plugin-load-add=file_key_management".to_owned(),
            format!("--file-key-management-filename={}", keys.display()),
        ];
        Some(Keyring { program: server_program(), options, _folder: folder })
    }

    /// MySQL's component is named in a file beside the program and set up by one beside the component. Both folders are
    /// not ours to change, so the server is started from a view of its own files. None where it is not an unpacked one, or
    /// comes without the component.
    pub fn for_mysql() -> Option<Keyring> {
        let wrapper = server_program();
        let unpacked = wrapper.parent()?.join("root");
        let server =
            ["usr/sbin", "usr/libexec", "usr/bin"].into_iter().find(|at| unpacked.join(at).join("mysqld").exists())?;
        let plugins = "usr/lib/mysql/plugin";
        if !unpacked.join(plugins).join("component_keyring_file.so").exists() {
            return None;
        }
        let folder = open_folder();
        let (view, keys) = (folder.path().join("root"), folder.path().join("keys"));
        mirror(&unpacked, &view, &[server, plugins]);
        std::fs::write(view.join(server).join("mysqld.my"), r#"{"components": "file://component_keyring_file"}"#)
            .unwrap();
        let settings = format!(r#"{{"path": "{}", "read_only": false}}"#, keys.display());
        std::fs::write(view.join(plugins).join("component_keyring_file.cnf"), settings).unwrap();
        // It looks for its files beside itself.
        let program = folder.path().join("mysqld");
        std::fs::copy(wrapper, &program).unwrap();
        Some(Keyring { program, options: Vec::new(), _folder: folder })
    }
}

/// For everybody: the server runs as another user when we are root.
fn open_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    folder
}

/// A folder with a link to each entry of another; those that lead to the given places are folders of the same kind.
fn mirror(of: &Path, to: &Path, places: &[&str]) {
    std::fs::create_dir(to).unwrap();
    for entry in of.read_dir().unwrap() {
        let name = entry.unwrap().file_name();
        let below = |place: &&str| Path::new(place).strip_prefix(&name).ok()?.to_str().map(str::to_owned);
        let inner: Vec<String> = places.iter().filter_map(below).collect();
        if inner.is_empty() {
            symlink(of.join(&name), to.join(&name)).unwrap();
        } else {
            mirror(&of.join(&name), &to.join(&name), &inner.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_mirror_has_folders_on_the_way_and_links_elsewhere() {
    let folder = TempDir::new().unwrap();
    let (of, to) = (folder.path().join("of"), folder.path().join("to"));
    for path in ["usr/sbin", "usr/lib/plugin", "etc"] {
        std::fs::create_dir_all(of.join(path)).unwrap();
        std::fs::write(of.join(path).join("file"), path).unwrap();
    }
    mirror(&of, &to, &["usr/sbin", "usr/lib/plugin"]);
    assert!(to.join("etc").is_symlink() && to.join("usr/lib/plugin/file").is_symlink());
    assert!(!to.join("usr/sbin").is_symlink() && !to.join("usr/lib/plugin").is_symlink());
    assert_eq!(std::fs::read_to_string(to.join("usr/sbin/file")).unwrap(), "usr/sbin");
}
