//! What the command line says of itself: help, version, completions, manual pages, wrong usage.

use super::{Ended, SOON, end_of, run};
use crate::support::service::program;
use std::path::Path;
use std::process::Stdio;
use tokio::process::Command;

const COMMANDS: [&str; 7] = ["run", "once", "check", "migrate", "sandbox", "completions", "man"];

#[tokio::test]
async fn help_names_the_commands_and_tells_the_exit_codes() {
    for flag in ["-h", "--help", "help"] {
        let help = run([flag]).await;
        help.assert_clean();
        for command in COMMANDS {
            assert!(help.stdout.contains(&format!("\n  {command} ")), "{command} is not in: {help}");
        }
        assert!(help.stdout.contains("Exit codes: 0 clean, 1 failed, 2 wrong usage or settings."), "{help}");
        assert!(!help.stdout.contains("demo-handler"), "{help}");
    }
    for command in COMMANDS {
        let help = run([command, "--help"]).await;
        help.assert_clean();
        assert!(help.stdout.contains(&format!("strings-queue {command}")), "{help}");
    }
}

#[tokio::test]
async fn version_is_that_of_the_project() {
    let version = run(["--version"]).await;
    version.assert_clean();
    assert_eq!(version.stdout, format!("strings-queue {}\n", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn wrong_usage_exits_2_and_says_so_on_stderr() {
    let wrong: [(&[&str], &str); 8] = [
        (&[], "Usage: strings-queue"),
        (&["chek"], "`chek` is no command, and no file of settings either"),
        (&["run", "--loud"], "unexpected argument '--loud'"),
        (&["once"], "<DB_INI>"),
        (&["migrate"], "<DB_INI>"),
        (&["a.ini", "b.ini"], "Usage: strings-queue"),
        (&["completions", "tcsh"], "possible values: bash, elvish, fish, powershell, zsh"),
        (&["man", "dance"], "possible values: run, once, check"),
    ];
    for (line, told) in wrong {
        run(line).await.assert_failed(2, told);
    }
}

#[tokio::test]
async fn a_wrong_filter_in_the_environment_exits_2() {
    let mut command = program();
    command.env("RUST_LOG", "strings_queue=loud").args(["migrate", "--print"]);
    end_of(command).await.assert_failed(2, "strings-queue: RUST_LOG in the environment is no filter");
}

async fn completions(shell: &str) -> String {
    let script = run(["completions", shell]).await;
    script.assert_clean();
    script.stdout
}

/// Has a shell read a script; none where that shell is not installed.
async fn read_by(shell: &str, arguments: &[&str], script: &Path) -> Option<Ended> {
    Command::new(shell).arg("-c").arg("exit 0").output().await.ok()?;
    let mut command = Command::new(shell);
    command.args(arguments).arg(script).kill_on_drop(true);
    Some(end_of(command).await)
}

#[tokio::test]
async fn every_shell_understands_its_completions() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = completions(shell).await;
        for command in COMMANDS {
            assert!(script.contains(command), "{shell} lacks {command}");
        }
        let file = folder.path().join(shell);
        std::fs::write(&file, script).unwrap();
        let check = if shell == "elvish" { "-compileonly" } else { "-n" };
        if ["bash", "zsh", "fish", "elvish"].contains(&shell)
            && let Some(read) = read_by(shell, &[check], &file).await
        {
            read.assert_clean();
        }
    }
}

#[tokio::test]
async fn bash_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("strings-queue.bash");
    std::fs::write(&file, completions("bash").await).unwrap();
    for (line, at, expected) in [("on", 1, "once"), ("migrate --pr", 2, "--print"), ("completions z", 2, "zsh")] {
        let script = format!(
            ". '{}'; COMP_WORDS=(strings-queue {line}); COMP_CWORD={at}; \
             _strings__queue strings-queue \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at}-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
            file.display()
        );
        let mut command = Command::new("bash");
        command.args(["--norc", "-c", &script]).kill_on_drop(true);
        let completed = end_of(command).await;
        completed.assert_clean();
        assert!(completed.stdout.split_whitespace().any(|word| word == expected), "{line}: {completed}");
    }
}

#[tokio::test]
async fn manual_pages_are_pages() {
    let folder = tempfile::tempdir().unwrap();
    for command in [None, Some("run"), Some("once"), Some("check"), Some("migrate"), Some("sandbox")] {
        let page = run(["man"].into_iter().chain(command)).await;
        page.assert_clean();
        assert!(page.stdout.contains(".TH strings-queue") && page.stdout.contains("\n.SH NAME\n"), "{page}");
        let file = folder.path().join("page.1");
        std::fs::write(&file, page.stdout).unwrap();
        if let Some(read) = read_by("groff", &["-man", "-Tutf8", "-ww", "-z"], &file).await {
            read.assert_clean();
        }
    }
    let page = run(["man"]).await;
    assert!(page.stdout.contains("Exit codes: 0 clean, 1 failed, 2 wrong usage or settings."), "{page}");
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() {
    let mut command = program();
    command.args(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = tokio::time::timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
}
