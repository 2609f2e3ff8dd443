//! What a server's first start makes, made once: the servers of the tests begin with a copy of it.

use super::database::server_program;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use strings_queue::sandbox::{PrivateServer, ServerOptions};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Nobody drops it: its folder is below that of `test.sh`, and goes with it.
static TEMPLATE: OnceCell<TempDir> = OnceCell::const_new();

/// Makes the directory of a server that has been started once, has stopped, and has written no log.
pub async fn copy_to(directory: &Path) {
    let template = TEMPLATE.get_or_init(make).await.path().join("server");
    let mut copy = Command::new("cp");
    copy.args(["--archive", "--reflink=auto"]).arg(template).arg(directory);
    assert!(copy.status().await.unwrap().success(), "no copy of the first server at {}", directory.display());
}

async fn make() -> TempDir {
    let folder = TempDir::new().unwrap();
    // The server runs as another user when we are root.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut options = ServerOptions::new(folder.path().join("server"));
    options.program = Some(server_program());
    options.open_root = true;
    options.arguments = vec!["--skip-log-bin".to_owned()];
    PrivateServer::start(&options).await.unwrap().stop().await;
    // Each MySQL server makes one with its own name, which others know it by.
    let name = options.directory.join("data/auto.cnf");
    if name.exists() {
        std::fs::remove_file(name).unwrap();
    }
    folder
}
