//! The data plane binary: lateen-proxy.

mod admin;
mod child;
mod chores;
mod config;
mod connection;
mod data_path;
mod gate;
mod http;
mod listener_stats;
mod logging;
mod logs;
mod network;
mod overload;
mod pod_stats;
mod quic;
mod restart;
mod run;
mod standalone;
mod tcp;
mod worker;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use ::http::{Method, StatusCode};
use anyhow::{Context, bail};
use lateen_proxy_agent::{SystemSource, iptables};

use chores::chores_runtime;
use config::{Cli, Command, RequestArgs, VERSION, VersionArgs, WaitArgs};
use logging::LogControl;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::read(std::env::args_os());
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing can be done where standard error is gone too.
            let _ = writeln!(
                io::stderr(),
                "Error: {}",
                lateen_api::causes(error.as_ref())
            );
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Proxy(arguments) => {
            let log = LogControl::start(&arguments.log_options())?;
            run::pod(&arguments.config(&SystemSource)?, Arc::new(log))
        }
        Command::Envoy(arguments) => {
            let log = LogControl::start(&arguments.log_options())?;
            run::bootstrap(&arguments.config()?, Arc::new(log))
        }
        Command::Iptables(arguments) => set_rules(&arguments),
        Command::Wait(arguments) => wait(&arguments),
        Command::Request(arguments) => request(arguments),
        Command::Version(arguments) => version(&arguments),
        Command::RenderConfigDump => print(&child::render_dump()?),
        Command::ReadBootstrap => print(&child::read_bootstrap()?),
        Command::ReadResources => print(&child::read_resources()?),
    }
}

fn set_rules(arguments: &iptables::Args) -> anyhow::Result<()> {
    let options = arguments.options()?;
    let rules = iptables::apply(&options, arguments.dry_run)?;
    if arguments.dry_run {
        print(rules.as_bytes())?;
    }
    Ok(())
}

fn wait(arguments: &WaitArgs) -> anyhow::Result<()> {
    let options = arguments.options();
    chores_runtime()?.block_on(lateen_proxy_agent::wait(&options))?;
    Ok(())
}

fn request(arguments: RequestArgs) -> anyhow::Result<()> {
    let method: Method = arguments
        .method
        .to_uppercase()
        .parse()
        .context("HTTP method")?;
    let (port, body) = (arguments.debug_port, arguments.body.into());
    let answer = chores_runtime()?.block_on(lateen_proxy_agent::request(
        port,
        method,
        &arguments.path,
        body,
    ))?;
    print(&answer.body)?;
    if answer.status != StatusCode::OK {
        bail!(
            "localhost:{port}/{} answered {}",
            arguments.path,
            answer.status
        );
    }
    Ok(())
}

fn version(arguments: &VersionArgs) -> anyhow::Result<()> {
    if arguments.short {
        return print(format!("{VERSION}\n").as_bytes());
    }
    print(format!("lateen-proxy {VERSION}\n").as_bytes())
}

fn print(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .context("standard output")
}
