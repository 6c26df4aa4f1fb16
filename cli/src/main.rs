//! The command line: lateenctl. `main` reads the arguments, runs the command, and turns what went wrong into a text and an exit code.

mod args;
mod cmd;
mod dump;
mod failure;
mod input;
mod kube;
mod mesh;
mod output;
mod table;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;

use args::Cli;
use failure::Failure;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = lateen_local::hidden::run(arguments.get(1..).unwrap_or_default()) {
        return code;
    }
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(told) => return explain(&told),
    };
    match run(cli) {
        Ok(code) => code,
        Err(failure) => {
            output::error(&failure.to_string());
            failure.code()
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    output::start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime
        .map_err(|error| Failure::other(format!("the async runtime cannot start: {error}")))?;
    runtime.block_on(cmd::run(cli))
}

/// Prints help and usage errors as clap words them; a usage error is 64, as in istioctl.
fn explain(told: &clap::Error) -> ExitCode {
    // Nothing can be said when the terminal is gone.
    let _ = told.print();
    match told.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => ExitCode::SUCCESS,
        _ => Failure::usage(String::new()).code(),
    }
}
