//! The server's command line.

use super::database::ServerOptions;
use super::directory::Directory;
use super::initialise::path_option;
use super::program::{Flavour, ServerProgram, in_path};
use std::path::Path;
use std::process::Command;

/// For both kinds: loopback only, a log of rows that survives a crash, small memory, no names looked up.
const SETTINGS: [&str; 10] = [
    "--bind-address=127.0.0.1",
    "--skip-name-resolve",
    "--server-id=1",
    "--log-bin=binlog",
    "--binlog-row-image=FULL",
    "--sync-binlog=1",
    "--innodb-flush-log-at-trx-commit=1",
    "--binlog-expire-logs-seconds=604800",
    "--innodb-buffer-pool-size=64M",
    "--max-connections=200",
];

/// The command that starts the server; later options win, so those of the caller come last.
pub(super) fn command(
    program: &ServerProgram,
    directory: &Directory,
    options: &ServerOptions,
    port: u16,
    socket: &Path,
) -> Command {
    let mut command = dying_with_us(&program.path);
    command.arg("--no-defaults").args(SETTINGS).arg(format!("--port={port}"));
    command.args(match program.flavour {
        Flavour::MariaDb => ["--binlog-format=ROW"].as_slice(),
        Flavour::MySql => ["--mysqlx=0", "--secure-file-priv=NULL"].as_slice(),
    });
    command.args([
        path_option("--datadir=", &directory.data()),
        path_option("--tmpdir=", &directory.tmp()),
        path_option("--pid-file=", &directory.pid_file()),
        path_option("--init-file=", &directory.init_file()),
        path_option("--socket=", socket),
    ]);
    command.args(&options.arguments).current_dir("/");
    directory.owner().apply(&mut command);
    command
}

/// Asks the kernel, where `setpriv` is there to do so, to end the server with us, even when we are killed.
///
/// The user is changed before, not by `setpriv` or the server: a change of user would forget the request.
pub(super) fn dying_with_us(program: &Path) -> Command {
    let Some(setpriv) = in_path("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}
