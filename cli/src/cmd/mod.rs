//! The commands: a module each.

pub(crate) mod analyze;
pub(crate) mod completion;
pub(crate) mod kube_inject;
pub(crate) mod proxy_config;
pub(crate) mod proxy_status;
pub(crate) mod validate;
pub(crate) mod version;

use std::process::ExitCode;

use crate::args::{Cli, Command};
use crate::failure::Failure;

/// Runs the chosen command.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let before = cli.globals;
    let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    match cli.command {
        Command::Local(args) => {
            before.none("local")?;
            return Ok(lateen_local::cli::run(args).await?);
        }
        Command::KubeInject(with) => {
            kube_inject::run(&with.own, &before.scope(&with.globals, environment)?)?
        }
        Command::Validate(with) => {
            validate::run(&with.own, &before.scope(&with.globals, environment)?)?
        }
        Command::Analyze(with) => {
            let (scope, access) = before.cluster_scope(&with.globals, environment)?;
            return analyze::run(&with.own, &scope, &access).await;
        }
        Command::ProxyStatus(with) => {
            proxy_status::run(&with.own, &before.scope(&with.globals, environment)?).await?
        }
        Command::ProxyConfig(with) => {
            proxy_config::run(with.own, &before.scope(&with.globals, environment)?).await?
        }
        Command::Version(with) => {
            version::run(&with.own, &before.scope(&with.globals, environment)?).await?
        }
        Command::Completion(args) => completion::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
