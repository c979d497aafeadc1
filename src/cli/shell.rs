//! `multinorm completions` and `multinorm man`.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use multinorm::files::write_atomic;
use multinorm::{Error, Result};

use super::console::{note, write_out};

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm completions bash > ~/.local/share/bash-completion/completions/multinorm
  multinorm completions zsh > ~/.zfunc/_multinorm        with fpath+=~/.zfunc before compinit in ~/.zshrc
  multinorm completions fish > ~/.config/fish/completions/multinorm.fish")]
pub struct CompletionsArgs {
    /// The shell to complete for
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args)]
#[command(after_help = "Examples:
  multinorm man | man -l -
  multinorm man --out ~/.local/share/man/man1")]
pub struct ManArgs {
    /// Write one page for the program and one per command into this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub fn completions(mut program: Command, args: &CompletionsArgs) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "multinorm", &mut script);
    write_out(format_args!("{}", String::from_utf8_lossy(&script)));
    Ok(())
}

pub fn man(mut program: Command, args: &ManArgs) -> Result<()> {
    program.build(); // propagates global arguments to every command
    let Some(folder) = &args.out else {
        write_out(format_args!("{}", page(program)?));
        return Ok(());
    };
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let commands = program.get_subcommands().filter(|command| command.get_name() != "help").cloned();
    let commands: Vec<Command> = std::iter::once(program.clone()).chain(commands).collect();
    for command in commands {
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = folder.join(format!("{name}.1"));
        write_atomic(&path, page(command)?.as_bytes())?;
        note!("wrote {}", path.display());
    }
    Ok(())
}

/// A command's manual page, in roff.
fn page(command: Command) -> Result<String> {
    let mut page = Vec::new();
    Man::new(command).render(&mut page).map_err(Error::io("write", "a page of the manual"))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}
