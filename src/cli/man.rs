//! `man`: manual pages made from the command line's own definition.

use super::arguments::{ManArguments, command_line};
use anyhow::Context;
use clap_mangen::Man;

/// Prints the page of the program or of one command.
pub(super) fn execute(arguments: &ManArguments) -> anyhow::Result<()> {
    Ok(super::print(&page(arguments.command.as_deref())?)?)
}

fn page(command: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let mut line = command_line().disable_help_subcommand(true);
    line.build();
    let described = match command {
        Some(name) => {
            line.find_subcommand(name).with_context(|| format!("there is no command `{name}`; see --help"))?
        }
        None => &line,
    };
    let mut page = Vec::new();
    Man::new(described.clone()).render(&mut page)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_and_each_command_have_a_page() {
        let main = String::from_utf8(page(None).unwrap()).unwrap();
        assert!(main.contains(".TH strings-queue 1") && main.contains("Exit codes: 0 clean"), "{main}");
        for command in ["run", "once", "check", "migrate", "sandbox", "completions", "man"] {
            let page = String::from_utf8(page(Some(command)).unwrap()).unwrap();
            assert!(page.contains(&format!(".TH strings-queue-{command} 1")), "{page}");
        }
        assert!(page(Some("dance")).is_err());
    }
}
