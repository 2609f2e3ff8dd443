//! `ssl_mode` and `ssl_ca`, for the statements and for the log, with certificates made for the test.

use super::{Ended, NO_SWEEP, SOON, run};
use crate::support::account::PASSWORD;
use crate::support::database::TestDatabase;
use crate::support::factory::job;
use crate::support::private_file::write_private;
use crate::support::receiver::Receiver;
use crate::support::server::OwnServer;
use crate::support::service::Service;
use crate::support::tls::{Authority, Identity};
use crate::support::wait::until;
use mysql_async::prelude::Queryable;
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tempfile::TempDir;

/// A server with papers of its own, and an account that gets in by TLS alone.
struct Rig {
    database: TestDatabase,
    server: OwnServer,
    folder: TempDir,
    authority: Authority,
}

impl Rig {
    async fn start() -> Rig {
        let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        authority.write_pem(&folder.path().join("ca.pem"));
        Authority::new().write_pem(&folder.path().join("stranger.pem"));
        authority.localhost().write_pem(&folder.path().join("cert.pem"), &folder.path().join("key.pem"));
        let options = [
            format!("--ssl-ca={}", path("ca.pem")),
            format!("--ssl-cert={}", path("cert.pem")),
            format!("--ssl-key={}", path("key.pem")),
        ];
        let server = OwnServer::start(&[&options[0], &options[1], &options[2]]).await;
        let database = TestDatabase::with_schema_on(server.access()).await;
        let user = "tls@'127.0.0.1'";
        let create = format!("CREATE USER {user} IDENTIFIED BY '{PASSWORD}' REQUIRE SSL; GRANT ALL ON *.* TO {user}");
        database.execute(&create).await;
        Rig { database, server, folder, authority }
    }

    /// Has the server show other papers to those who connect from now on.
    async fn show(&self, papers: &Identity) {
        self.try_to_show(papers).await.unwrap();
    }

    /// The same, if the server takes them.
    async fn try_to_show(&self, papers: &Identity) -> mysql_async::Result<()> {
        papers.write_pem(&self.folder.path().join("cert.pem"), &self.folder.path().join("key.pem"));
        let reload = if self.database.is_mysql() { "ALTER INSTANCE RELOAD TLS" } else { "FLUSH SSL" };
        self.database.conn().await.query_drop(reload).await
    }

    /// The same with papers that end in a few seconds. MySQL takes none that have ended already, as they have when the
    /// machine was busy meanwhile: then it is shown others.
    async fn show_papers_that_end_soon(&self) {
        until("the server has taken papers that end soon", SOON, async || {
            let end = self.now().await + 4;
            let Err(error) = self.try_to_show(&self.authority.ending_at(end)).await else { return true };
            assert!(self.now().await >= end, "refused before their end: {error}");
            false
        })
        .await;
    }

    /// In seconds since 1970.
    async fn now(&self) -> u64 {
        self.database.query_one("SELECT UNIX_TIMESTAMP()").await
    }

    fn ini(&self, host: &str, tls: &str) -> PathBuf {
        let folder = self.folder.path().display().to_string();
        let tls = tls.replace("ssl_ca: ", &format!("ssl_ca: {folder}/"));
        let db = format!("host: {host}\nport: {}\nuser: tls\npasswd: {PASSWORD}", self.server.access().port);
        let path = self.folder.path().join("db.ini");
        write_private(&path, format!("[db]\n{db}\ndb: {}\n{tls}\n{NO_SWEEP}\n", self.database.name()));
        path
    }

    async fn once(&self, tls: &str) -> Ended {
        run([OsStr::new("once"), self.ini("127.0.0.1", tls).as_os_str()]).await
    }

    async fn assert_lets_in(&self, tls: &str) {
        let ended = self.once(tls).await;
        assert_eq!(ended.code, Some(0), "{tls}: {ended}");
    }

    async fn assert_refuses(&self, tls: &str, told: &str) {
        let ended = self.once(tls).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(told), "{tls}: {told:?} is not in {ended}");
    }

    /// The log is followed too, over TLS: the server would not let the account in otherwise.
    async fn assert_follows(&self, host: &str, tls: &str) {
        let receiver = Receiver::start().await;
        let mut service = Service::run(&self.ini(host, tls));
        let line = service.wait_for_line("following the log", SOON).await;
        assert!(line.contains("client=Secure"), "{line}");
        let id = job().url(receiver.url("/")).insert(&self.database).await;
        until("it is done", SOON, async || {
            let sql = format!("SELECT CAST(state AS CHAR) FROM queued_job WHERE id = {id}");
            self.database.query_one::<String>(&sql).await == "completed"
        })
        .await;
        assert_eq!(service.stop(SOON).await, Some(0));
    }
}

const VERIFY_CA: &str = "ssl_mode: verify_ca\nssl_ca: ca.pem";
const VERIFY_IDENTITY: &str = "ssl_mode: verify_identity\nssl_ca: ca.pem";

#[tokio::test]
async fn every_mode_carries_the_statements_and_the_log() {
    let rig = Rig::start().await;
    for tls in ["ssl_mode: preferred", "ssl_mode: required", VERIFY_CA, VERIFY_IDENTITY, "ssl_ca: ca.pem"] {
        rig.assert_follows("127.0.0.1", tls).await;
    }
    rig.assert_follows("localhost", VERIFY_IDENTITY).await;
    rig.assert_refuses("ssl_mode: disabled", "the database answered error").await;
    // On this machine nothing is encrypted unless it is asked for.
    rig.assert_refuses("", "the database answered error").await;
}

#[tokio::test]
async fn papers_are_looked_at_as_far_as_the_mode_says() {
    let rig = Rig::start().await;
    for mode in ["verify_ca", "verify_identity"] {
        let tls = format!("ssl_mode: {mode}\nssl_ca: stranger.pem");
        rig.assert_refuses(&tls, "invalid peer certificate").await;
    }
    // The authorities that come with the program did not sign it.
    rig.assert_refuses("ssl_mode: verify_identity", "invalid peer certificate: UnknownIssuer").await;
    rig.show(&rig.authority.elsewhere()).await;
    rig.assert_lets_in("ssl_mode: required").await;
    rig.assert_lets_in(VERIFY_CA).await;
    rig.assert_refuses(VERIFY_IDENTITY, "not valid for name").await;
    rig.show_papers_that_end_soon().await;
    until("the papers have ended", SOON, async || rig.once(VERIFY_IDENTITY).await.code == Some(1)).await;
    rig.assert_lets_in("ssl_mode: required").await;
    rig.assert_refuses(VERIFY_CA, "certificate expired").await;
    rig.assert_refuses(VERIFY_IDENTITY, "certificate expired").await;
}

#[tokio::test]
async fn the_logs_own_connection_looks_at_the_papers_too() {
    let rig = Rig::start().await;
    let service = Service::run(&rig.ini("127.0.0.1", VERIFY_IDENTITY));
    service.wait_for_line("following the log", SOON).await;
    rig.show(&rig.authority.elsewhere()).await;
    let log = "SELECT id FROM information_schema.processlist WHERE user = 'tls' AND command LIKE 'Binlog Dump%'";
    let connection: u64 = rig.database.query_one(log).await;
    rig.database.execute(&format!("KILL {connection}")).await;
    let line = service.wait_for_line("not valid for name", SOON).await;
    assert!(line.contains("the log is not being followed"), "{line}");
    rig.show(&rig.authority.localhost()).await;
    until("the log is followed again", SOON, async || {
        service.lines().iter().filter(|line| line.contains("following the log")).count() == 2
    })
    .await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_unless_tls_is_only_preferred() {
    let without = if crate::support::database::TestServer::get().is_mysql() { "--tls-version=" } else { "--skip-ssl" };
    let server = OwnServer::start(&[without]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    let authority = database.files().join("ca.pem");
    Authority::new().write_pem(&authority);
    let checked = format!("ssl_ca: {}\nssl_mode: ", authority.display());
    for tls in ["ssl_mode: required".into(), format!("{checked}verify_ca"), format!("{checked}verify_identity")] {
        let ini = database.ini(&tls);
        let ended = run([OsStr::new("once"), ini.as_os_str()]).await;
        ended.assert_failed(1, "does not have this capability");
    }
    let user = "plain@'127.0.0.1'";
    database.execute(&format!("CREATE USER {user} IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {user}")).await;
    let login = format!("user: plain\npasswd: {PASSWORD}");
    let ini = database.ini_as(&login, database.server().port, &format!("ssl_mode: preferred\n{NO_SWEEP}"));
    let mut service = Service::run(&ini);
    let line = service.wait_for_line("following the log", SOON).await;
    assert!(line.contains("client=Plain"), "{line}");
    assert_eq!(service.stop(SOON).await, Some(0));
}

/// `MySQL` makes papers for itself, with an authority of its own and without the host's name.
#[tokio::test]
async fn the_papers_that_a_server_made_for_itself_can_be_verified_but_for_the_name() {
    let server = OwnServer::start(&[]).await;
    let database = TestDatabase::with_schema_on(server.access()).await;
    if !database.is_mysql() {
        return;
    }
    let folder: String = database.query_one("SELECT @@datadir").await;
    // The folder is the server's own; a person would copy the file.
    let authority = database.files().join("ca.pem");
    std::fs::copy(PathBuf::from(folder).join("ca.pem"), &authority).unwrap();
    let ini = |mode| database.ini(&format!("ssl_mode: {mode}\nssl_ca: {}\n{NO_SWEEP}", authority.display()));
    let ended = run([OsStr::new("once"), ini("verify_identity").as_os_str()]).await;
    ended.assert_failed(1, "invalid peer certificate");
    let mut service = Service::run(&ini("verify_ca"));
    service.wait_for_line("following the log", SOON).await;
    assert_eq!(service.stop(SOON).await, Some(0));
}

/// As `openssl x509 -req` makes one unless told otherwise: of version 1. The key is nobody's.
#[tokio::test]
async fn a_certificate_that_cannot_be_read_leaves_tls_out_where_it_is_only_preferred() {
    let rig = Rig::start().await;
    let papers = [("cert.pem", include_str!("version_1_cert.pem")), ("key.pem", include_str!("version_1_key.pem"))];
    for (name, text) in papers {
        std::fs::write(rig.folder.path().join(name), text).unwrap();
    }
    let reload = if rig.database.is_mysql() { "ALTER INSTANCE RELOAD TLS" } else { "FLUSH SSL" };
    rig.database.execute(reload).await;
    rig.assert_refuses("ssl_mode: preferred", "the database answered error 1045").await;
    rig.assert_refuses("ssl_mode: required", "UnsupportedCertVersion").await;
    let checked = run([OsStr::new("check"), rig.ini("127.0.0.1", "ssl_mode: required").as_os_str()]).await;
    assert!(checked.stdout.contains("issue the server's certificate anew, as one of version 3"), "{checked}");
    rig.database.execute("ALTER USER tls@'127.0.0.1' REQUIRE NONE").await;
    rig.assert_lets_in("ssl_mode: preferred").await;
}
