//! `completions`: what a shell needs to complete our command line.

use super::arguments::{CompletionsArguments, command_line};
use clap_complete::generate;

/// Prints the shell's script.
pub(super) fn execute(arguments: &CompletionsArguments) -> anyhow::Result<()> {
    Ok(super::print(&script(arguments.shell))?)
}

fn script(shell: clap_complete::Shell) -> Vec<u8> {
    let mut command = command_line();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    generate(shell, &mut command, name.clone(), &mut script);
    // clap_complete writes a hyphen in a program's name as `__` where it sets the command that it is in, and as
    // `__subcmd__` where it looks at it, so that bash found no options of commands.
    let text = String::from_utf8_lossy(&script);
    text.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in clap_complete::Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in ["run", "once", "check", "migrate", "sandbox"] {
                assert!(script.contains(command), "{shell} lacks {command}");
            }
        }
    }
}
