//! `manual FOLDER`: writes the man pages of `rr-runtime` and of its commands, and its completions for bash, zsh and fish.

use std::fs;
use std::io;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

/// Of the manual: an administrator's commands.
const SECTION: &str = "8";

/// What each page stands under.
const VERSION: &str = concat!("rr-runtime ", env!("CARGO_PKG_VERSION"));

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).ok_or_else(|| io::Error::other("usage: manual FOLDER"))?;
    let folder = Path::new(&folder);
    let all = rr_runtime::command();
    let shown = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    let mut command = Command::new("rr-runtime")
        .about(all.get_about().cloned().unwrap_or_default())
        .args(all.get_arguments().cloned())
        .subcommand_required(true)
        .subcommands(shown);
    command.build();
    let pages = folder.join("man8");
    fs::create_dir_all(&pages)?;
    write(&command, "rr-runtime", &pages)?;
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "rr-runtime", &completions)?;
    }
    Ok(())
}

/// The page of a command, and those of its own.
fn write(command: &Command, name: &str, pages: &Path) -> io::Result<()> {
    // It bears the page's name; its synopsis stays that of the command line.
    let named = command.clone().display_name(name.to_owned());
    let mut page = Vec::new();
    Man::new(named).title(name).section(SECTION).source(VERSION).manual("rr-runtime").render(&mut page)?;
    fs::write(pages.join(format!("{name}.{SECTION}")), page)?;
    let below = |verb: &Command| write(verb, &format!("{name}-{}", verb.get_name()), pages);
    command.get_subcommands().filter(|verb| verb.get_name() != "help").try_for_each(below)
}
