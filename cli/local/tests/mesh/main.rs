//! A whole local mesh with stand-ins for lateend, the proxy and the apps. This program is all of them: it is linked under their
//! names, and it is lateenctl where it is called with `local`.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test without the standard harness"
)]

mod programs;
mod story;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Local(lateen_local::cli::LocalArgs),
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some(code) = lateen_local::hidden::run(&arguments) {
        return code;
    }
    let name = std::env::args().next().unwrap_or_default();
    let name = Path::new(&name)
        .file_name()
        .and_then(|n| n.to_str())
        .unwrap_or_default()
        .to_owned();
    if let Some(code) = programs::run(&name, &std::env::args().skip(1).collect::<Vec<_>>()) {
        return code;
    }
    if arguments.first().is_some_and(|a| a == "local") {
        let Command::Local(local) = Cli::parse().command;
        let runtime = tokio::runtime::Runtime::new().expect("runtime");
        return runtime
            .block_on(lateen_local::cli::run(local))
            .unwrap_or_else(|error| {
                eprintln!("Error: {error:#}");
                ExitCode::FAILURE
            });
    }
    // `cargo test -- --list` and filters ask for names.
    if arguments.iter().any(|a| a == "--list") {
        println!("mesh: test");
        return ExitCode::SUCCESS;
    }
    story::run();
    ExitCode::SUCCESS
}
