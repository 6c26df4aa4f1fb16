//! `lateenctl proxy-config`: what a proxy was told, from a running pod or from a saved dump (contract/cli.md §2).

mod bootstrap;
mod cluster;
mod describe;
mod endpoint;
mod listener;
mod log;
mod route;
mod secret;
mod source;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{ArgAction, Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::args::Scope;
use crate::dump::{ConfigDump, camel_case};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::table::Table;
use source::Source;

/// Show what a proxy was told: clusters, listeners, routes, endpoints, secrets, bootstrap, log levels
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "Examples:\n  \
        lateenctl proxy-config cluster deployment/productpage-v1\n  \
        lateenctl proxy-config listener productpage-v1-0.default --port 15006\n  \
        lateenctl proxy-config route -f config_dump.json -o yaml"
)]
pub(crate) struct ProxyConfigArgs {
    #[command(subcommand)]
    command: ProxyConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ProxyConfigCommand {
    /// Show the clusters: the services and versions that the proxy can send to
    #[command(visible_aliases = ["clusters", "c"], after_help = "Examples:\n  lateenctl proxy-config cluster productpage-v1-0\n  \
        lateenctl pc c deployment/productpage-v1 --fqdn reviews.default.svc.cluster.local -o json")]
    Cluster {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        filter: cluster::ClusterFilter,
    },
    /// Show the listeners: where the proxy listens, and what it does with connections
    #[command(visible_aliases = ["listeners", "l"], after_help = "Examples:\n  lateenctl proxy-config listener productpage-v1-0\n  \
        lateenctl pc l productpage-v1-0 --port 15006 --verbose=false")]
    Listener {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        filter: listener::ListenerFilter,
        #[command(flatten)]
        verbosity: Verbosity,
    },
    /// Show the routes: which request goes to which cluster
    #[command(visible_aliases = ["routes", "r"], after_help = "Examples:\n  lateenctl proxy-config route productpage-v1-0 --name 9080\n  \
        lateenctl pc r -f config_dump.json")]
    Route {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        filter: route::RouteFilter,
        #[command(flatten)]
        verbosity: Verbosity,
    },
    /// Show the endpoints: the addresses behind the clusters and their health (a file holds the answer of clusters?format=json)
    #[command(visible_aliases = ["endpoints", "ep"], after_help = "Examples:\n  lateenctl proxy-config endpoint productpage-v1-0\n  \
        lateenctl pc ep productpage-v1-0 --status unhealthy")]
    Endpoint {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        filter: endpoint::EndpointFilter,
    },
    /// Show the certificates that the proxy holds
    #[command(visible_aliases = ["secrets", "s"], after_help = "Examples:\n  lateenctl proxy-config secret productpage-v1-0\n  \
        lateenctl pc s -f config_dump.json -o json")]
    Secret {
        #[command(flatten)]
        target: Target,
    },
    /// Show what the proxy was started with
    #[command(
        visible_alias = "b",
        after_help = "Examples:\n  lateenctl proxy-config bootstrap productpage-v1-0\n  \
        lateenctl pc b productpage-v1-0 -o short"
    )]
    Bootstrap {
        #[command(flatten)]
        target: BootstrapTarget,
    },
    /// Show everything
    #[command(
        visible_alias = "a",
        after_help = "Examples:\n  lateenctl proxy-config all productpage-v1-0\n  \
        lateenctl pc a productpage-v1-0 -o json > config_dump.json"
    )]
    All {
        #[command(flatten)]
        target: Target,
    },
    /// Show or change the log levels of a proxy
    #[command(
        visible_alias = "o",
        after_help = "Examples:\n  lateenctl proxy-config log productpage-v1-0\n  \
        lateenctl pc log productpage-v1-0 --level debug\n  lateenctl pc log productpage-v1-0 --level http:debug,router:trace\n  \
        lateenctl pc log productpage-v1-0 --reset"
    )]
    Log {
        #[command(flatten)]
        args: log::LogArgs,
    },
}

/// Which proxy, and in which form.
#[derive(Debug, Clone, Args)]
struct Target {
    /// The pod: NAME, NAME.NAMESPACE or TYPE/NAME such as deployment/reviews-v1
    #[arg(
        value_name = "[TYPE/]NAME[.NAMESPACE]",
        required_unless_present = "file"
    )]
    pod: Option<String>,
    /// A saved config_dump in place of a pod; `-` reads standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "pod")]
    file: Option<PathBuf>,
    /// The form of the output
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// The port of the proxy's admin pages
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    proxy_admin_port: u16,
}

/// As [`Target`], but JSON is the default.
#[derive(Debug, Clone, Args)]
struct BootstrapTarget {
    /// The pod: NAME, NAME.NAMESPACE or TYPE/NAME such as deployment/reviews-v1
    #[arg(
        value_name = "[TYPE/]NAME[.NAMESPACE]",
        required_unless_present = "file"
    )]
    pod: Option<String>,
    /// A saved config_dump in place of a pod; `-` reads standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "pod")]
    file: Option<PathBuf>,
    /// The form of the output; short prints the versions only
    #[arg(short, long, value_enum, default_value = "json")]
    output: Format,
    /// The port of the proxy's admin pages
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    proxy_admin_port: u16,
}

#[derive(Debug, Clone, Args)]
struct Verbosity {
    /// Show each match; `--verbose=false` shows a line each
    #[arg(long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set)]
    verbose: bool,
}

impl Target {
    async fn source(&self, scope: &Scope) -> Result<Source, Failure> {
        Source::open(
            self.pod.as_deref(),
            self.file.as_deref(),
            self.proxy_admin_port,
            scope,
        )
        .await
    }

    async fn dump(&self, scope: &Scope) -> Result<ConfigDump, Failure> {
        self.source(scope).await?.config_dump().await
    }
}

/// Runs one of the commands.
pub(crate) async fn run(args: ProxyConfigArgs, scope: &Scope) -> Result<(), Failure> {
    match args.command {
        ProxyConfigCommand::Cluster { target, filter } => {
            let dump = target.dump(scope).await?;
            let clusters = cluster::select(&dump, &filter);
            show(
                target.output,
                &cluster::table(&clusters, false),
                &listed(&clusters),
            )
        }
        ProxyConfigCommand::Listener {
            target,
            filter,
            verbosity,
        } => {
            let dump = target.dump(scope).await?;
            let listeners = listener::select(&dump, &filter);
            show(
                target.output,
                &listener::table(&listeners, verbosity.verbose, false),
                &listed(&listeners),
            )
        }
        ProxyConfigCommand::Route {
            target,
            filter,
            verbosity,
        } => {
            let dump = target.dump(scope).await?;
            let routes = route::select(&dump, &filter);
            show(
                target.output,
                &route::table(&routes, verbosity.verbose, ""),
                &listed(&routes),
            )
        }
        ProxyConfigCommand::Endpoint { target, filter } => {
            let clusters = target.source(scope).await?.clusters().await?;
            let selected = endpoint::selected(&clusters, &filter);
            show(
                target.output,
                &endpoint::table(&clusters, &filter),
                &listed(&selected.iter().collect::<Vec<_>>()),
            )
        }
        ProxyConfigCommand::Secret { target } => secrets(&target, &target.dump(scope).await?),
        ProxyConfigCommand::Bootstrap { target } => {
            let source = Source::open(
                target.pod.as_deref(),
                target.file.as_deref(),
                target.proxy_admin_port,
                scope,
            )
            .await?;
            output::print(&bootstrap::text(
                &source.config_dump().await?,
                target.output,
            )?)
        }
        ProxyConfigCommand::All { target } => {
            let dump = target.dump(scope).await?;
            match target.output.structured() {
                Some(form) => output::print(&output::render(&camel_case(dump.whole()), form)),
                None => output::print(&summary(&dump)),
            }
        }
        ProxyConfigCommand::Log { args } => log::run(&args, scope).await,
    }
}

/// Prints the table, or the resources themselves.
fn show(format: Format, table: &Table, resources: &Value) -> Result<(), Failure> {
    match format.structured() {
        Some(form) => output::print(&output::render(resources, form)),
        None => output::print(&table.text()),
    }
}

fn secrets(target: &Target, dump: &ConfigDump) -> Result<(), Failure> {
    let found = secret::read(dump, Timestamp::now());
    if found.is_empty() && target.output.structured().is_none() {
        return output::print("No secret items to show.\n");
    }
    show(
        target.output,
        &secret::table(&found, ""),
        &camel_case(&secret::json(dump)),
    )
}

fn listed(resources: &[&Value]) -> Value {
    json!(
        resources
            .iter()
            .map(|resource| camel_case(resource))
            .collect::<Vec<_>>()
    )
}

/// All tables, each with the resources' names first.
fn summary(dump: &ConfigDump) -> String {
    let clusters = cluster::select(dump, &cluster::ClusterFilter::default());
    let listeners = listener::select(dump, &listener::ListenerFilter::default());
    let routes = route::select(dump, &route::RouteFilter::default());
    let secrets = secret::read(dump, Timestamp::now());
    let endpoints = endpoint::assignments(dump);
    let tables = [
        (!clusters.is_empty()).then(|| cluster::table(&clusters, true)),
        (!listeners.is_empty()).then(|| listener::table(&listeners, true, true)),
        (!routes.is_empty()).then(|| route::table(&routes, true, "route/")),
        (!endpoints.is_empty()).then(|| endpoint::assignment_table(&endpoints)),
        (!secrets.is_empty()).then(|| secret::table(&secrets, "secret/")),
    ];
    tables
        .into_iter()
        .flatten()
        .map(|table| table.text())
        .collect::<Vec<_>>()
        .join("\n")
}
