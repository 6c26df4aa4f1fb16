//! `lateenctl completion`: a script for the shell.

use clap::{Args, ValueEnum};
use clap_complete::{Shell, generate};

use crate::args::grammar;
use crate::failure::Failure;
use crate::output;

/// Print a script that completes commands and flags in a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    source <(lateenctl completion bash)\n  \
    lateenctl completion zsh > \"${fpath[1]}/_lateenctl\"\n  \
    lateenctl completion fish > ~/.config/fish/completions/lateenctl.fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Known,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Known {
    Bash,
    Zsh,
    Fish,
    Powershell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionArgs) -> Result<(), Failure> {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
        Known::Powershell => Shell::PowerShell,
    };
    let mut script = Vec::new();
    generate(shell, &mut grammar(), "lateenctl", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let mut script = Vec::new();
            generate(shell, &mut grammar(), "lateenctl", &mut script);
            assert!(
                String::from_utf8_lossy(&script).contains("proxy-config"),
                "{shell}"
            );
        }
    }
}
