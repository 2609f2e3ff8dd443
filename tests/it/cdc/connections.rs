//! The ways of connecting that choose the client by themselves.

use super::rig::{Rig, Setup};
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::left_out::left_out;
use mysql_async::prelude::Queryable;
use strings_queue::cdc::BinlogStream;
use strings_queue::config::SslMode;

async fn assert_follows(rig: &Rig, database: &TestDatabase) {
    rig.until_following().await;
    let id = job().insert(database).await;
    rig.assert_rung(database, &[id]).await;
}

async fn chosen(database: &TestDatabase) -> Setup {
    Setup { client: None, ..Setup::new(database, BinlogStream::Plain).await }
}

#[tokio::test]
async fn plain_tcp() {
    let database = TestDatabase::with_schema().await;
    assert_follows(&chosen(&database).await.start(), &database).await;
}

#[tokio::test]
async fn unix_socket() {
    let database = TestDatabase::with_schema().await;
    let mut setup = chosen(&database).await;
    setup.database.socket = Some(database.server().socket.clone());
    setup.database.user = "root".into();
    setup.database.password = None;
    assert_follows(&setup.start(), &database).await;
}

#[tokio::test]
async fn an_account_without_a_password() {
    let database = TestDatabase::with_schema().await;
    let mut setup = chosen(&database).await;
    setup.database.user = "root".into();
    setup.database.password = None;
    assert_follows(&setup.start(), &database).await;
}

#[tokio::test]
async fn tls_where_the_server_offers_it() {
    let database = TestDatabase::with_schema().await;
    let mut setup = chosen(&database).await;
    setup.database.ssl_mode = SslMode::Preferred;
    assert_follows(&setup.start(), &database).await;
}

#[tokio::test]
async fn an_account_whose_plugin_only_the_secure_client_knows() {
    let database = TestDatabase::with_schema().await;
    if !database.is_mariadb() {
        return;
    }
    let user = database.name();
    // Debian has the plugin in `mariadb-server`, and the server program alone in `mariadb-server-core`. Another error
    // means that it is installed already; else creating the user fails.
    let installed = database.conn().await.query_drop("INSTALL SONAME 'auth_ed25519'").await;
    if installed.is_err_and(|error| error.to_string().contains("Can't open shared library")) {
        return left_out("accounts with auth_ed25519: this server has no such plugin");
    }
    database
        .execute(&format!(
            "CREATE USER {user}@'127.0.0.1' IDENTIFIED VIA ed25519 USING PASSWORD('secret'); \
             GRANT ALL ON *.* TO {user}@'127.0.0.1'"
        ))
        .await;
    let rig = chosen(&database).await.user(user, "secret").start();
    rig.until_following().await;
    let id = job().insert(&database).await;
    assert_eq!(rig.heard_until_now(&database).await.jobs, [id]);
    database.execute(&format!("DROP USER {user}@'127.0.0.1'")).await;
}

#[tokio::test]
async fn a_wrong_password_is_told_without_it() {
    let database = TestDatabase::with_schema().await;
    let rig = Setup::new(&database, BinlogStream::Plain).await.user("nobody_here", "hunter2secret").start();
    let reason = rig.until_broken(super::rig::SOON).await;
    assert!(!reason.contains("hunter2"), "{reason}");
}
