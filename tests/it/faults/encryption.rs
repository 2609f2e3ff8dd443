//! A log that the server encrypts on its disk: followed as any other, through files that end and a server that dies.

use super::checker::check;
use super::load::Load;
use super::{ENOUGH, NO_SWEEP, base, following, ledger, report, stage_on, times};
use crate::support::database::TestServer;
use crate::support::keyring::Keyring;
use crate::support::left_out::left_out;
use crate::support::server::OwnServer;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_log_is_followed() {
    let mysql = TestServer::get().is_mysql();
    let Some(keyring) = (if mysql { Keyring::for_mysql() } else { Keyring::for_mariadb() }) else {
        let place = if mysql { "component_keyring_file" } else { "file_key_management" };
        return left_out(&format!("encrypted logs: this server comes without {place}"));
    };
    let encrypt = if mysql { "--binlog-encryption=ON" } else { "--encrypt-binlog=ON" };
    let mut options: Vec<&str> = keyring.options.iter().map(String::as_str).collect();
    options.push(encrypt);
    let mut server = OwnServer::start_program(keyring.program.clone(), &options).await;
    let (database, receiver) = stage_on(server.access()).await;
    let variable = if mysql { "@@binlog_encryption" } else { "@@encrypt_binlog" };
    assert_eq!(database.query_one::<u8>(&format!("SELECT {variable}")).await, 1);
    let mut service = following(&database.ini(NO_SWEEP)).await;
    let load = Load::start(&database, &base(&receiver), (4, 60));
    for round in 0..times(2, 20) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // MySQL's key of the log is a new one with each of these.
        let rotate = if mysql { "ALTER INSTANCE ROTATE BINLOG MASTER KEY" } else { "FLUSH BINARY LOGS" };
        database.execute(rotate).await;
        if round % 10 == 1 {
            server.kill().await;
            server.start_again().await;
        }
    }
    let found = check(&database, &receiver, &load.stop_after(ENOUGH).await).await;
    assert_eq!((found.extra_calls, found.taken_back), (0, 0), "{found:?}");
    report("encrypted log", format!("{found:?}"));
    assert_eq!(service.stop(Duration::from_secs(10)).await, Some(0));
    ledger::assert_lost_only_to(&service, &ledger::BROKEN);
}
