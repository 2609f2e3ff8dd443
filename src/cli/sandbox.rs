//! `sandbox`: a private database server, the tables, a demo handler and the service, all in one.

use super::arguments::SandboxArguments;
use super::runtime::run_until_signal;
use crate::config::Config;
use crate::job::JobId;
use crate::sandbox::{self, DATABASE, DemoHandler, PrivateServer, SERVICE_USER, ServerOptions};
use crate::service;
use crate::store::migrate::migrate;
use crate::store::{Session, Store, enqueue, read_outcome};
use anyhow::{Context, bail};
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long the demo job may take.
const DEMO_DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at the demo job.
const DEMO_LOOK: Duration = Duration::from_millis(20);

pub(super) fn execute(arguments: &SandboxArguments) -> anyhow::Result<()> {
    run_until_signal(async |stop| {
        let server = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            server = start_server(arguments) => server?,
        };
        let result = run_beside(&server, arguments, &stop).await;
        server.stop().await;
        result
    })
}

async fn start_server(arguments: &SandboxArguments) -> anyhow::Result<PrivateServer> {
    let directory = match &arguments.dir {
        Some(directory) => directory.clone(),
        None => sandbox::default_directory()?,
    };
    say(&format!("starting a private database server in {}", directory.display()))?;
    let mut options = ServerOptions::new(directory);
    options.program.clone_from(&arguments.server_program);
    options.open_root = arguments.database_only;
    Ok(PrivateServer::start(&options).await?)
}

async fn run_beside(
    server: &PrivateServer,
    arguments: &SandboxArguments,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    say(&format!("database: {} on 127.0.0.1:{}", server.version(), server.port()))?;
    tokio::select! {
        status = server.ended() => bail!("the database server ended by itself ({status:?}); its log is in {}",
            server.directory().display()),
        result = async {
            if arguments.database_only {
                write_ready_file(arguments, server)?;
                say(&format!("SQL: {}", server.client_command()))?;
                stop.cancelled().await;
                return Ok(());
            }
            serve(server, arguments, stop).await
        } => result,
    }
}

async fn serve(server: &PrivateServer, arguments: &SandboxArguments, stop: &CancellationToken) -> anyhow::Result<()> {
    let ini = server.directory().join("db.ini");
    let config = write_settings(&ini, server)?;
    let store = Store::new(&config.database);
    migrate(&mut store.session()).await?;
    let handler = DemoHandler::start(None).await.context("the demo handler cannot listen")?;
    // The service ends by its own token: it must not begin to stop before the demo is over or failed.
    let service = tokio::spawn({
        let (config, stop) = (config.clone(), stop.clone());
        async move { service::run(&config, stop).await }
    });
    let demo = async {
        if !arguments.no_demo_job {
            show_demo_job(&mut store.session(), &handler, stop).await?;
        }
        write_ready_file(arguments, server)?;
        show_usage(server, &handler, &ini)
    };
    let shown = demo.await;
    if shown.is_err() {
        stop.cancel();
    }
    let ended = service.await.context("the service failed")?;
    handler.stop().await;
    // Where the service failed, so did the demo.
    ended?;
    shown
}

/// The settings of the sandbox's service, as a file that `strings-queue check` and `once` take too.
fn write_settings(ini: &Path, server: &PrivateServer) -> anyhow::Result<Config> {
    let text = format!(
        "[db]\nhost: 127.0.0.1\nport: {}\nuser: {SERVICE_USER}\npasswd: {}\ndb: {DATABASE}\n",
        server.port(),
        server.password().reveal()
    );
    sandbox::write_private_file(ini, &text).with_context(|| format!("cannot write {}", ini.display()))?;
    Ok(Config::parse(ini, &text, &|_| None)?)
}

async fn show_demo_job(session: &mut Session, handler: &DemoHandler, stop: &CancellationToken) -> anyhow::Result<()> {
    let url = handler.url("/demo");
    let job = enqueue(session, ("post", &url), "hello from strings-queue", 30).await?;
    say(&format!("enqueued demo job {job}: POST {url}"))?;
    let (state, response) = tokio::select! {
        outcome = tokio::time::timeout(DEMO_DEADLINE, final_outcome(session, job)) =>
            outcome.context("the demo job was not done in time")??,
        () = stop.cancelled() => return Ok(()),
    };
    say(&format!("demo job {job} is {state}: {}", response.trim_end().replace('\n', " / ")))
}

async fn final_outcome(session: &mut Session, job: JobId) -> anyhow::Result<(String, String)> {
    loop {
        match read_outcome(session, job).await? {
            Some((state, response)) if state == "completed" => return Ok((state, response)),
            Some(_) => tokio::time::sleep(DEMO_LOOK).await,
            None => bail!("the demo job is gone"),
        }
    }
}

fn show_usage(server: &PrivateServer, handler: &DemoHandler, ini: &Path) -> anyhow::Result<()> {
    let insert = format!(
        "INSERT INTO queued_job (http_method, url, body, timeout_secs) VALUES ('post', '{}', 'some post body', 120)",
        handler.url("/somewhere")
    );
    say(&format!("settings: {}", ini.display()))?;
    say("enqueue more with this line (Ctrl-C here ends the sandbox; its jobs stay):")?;
    say(&format!("{} -e \"{insert}\"", server.client_command()))
}

fn write_ready_file(arguments: &SandboxArguments, server: &PrivateServer) -> anyhow::Result<()> {
    match &arguments.ready_file {
        Some(file) => Ok(sandbox::write_ready_file(file, server)?),
        None => Ok(()),
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    Ok(super::print(format!("{line}\n").as_bytes())?)
}
