//! The command line and all settings of the process, in one place.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lateen_proxy_agent::{DrainSettings, Settings, Source, WaitOptions, iptables, node};
use lateen_xds::node::{Node, NodeType};

use crate::logging::LogOptions;
use crate::restart::RestartConfig;

/// Version of the program and of what node metadata says.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The command line. `pilot-agent`, the name that injected pods call, is the same program.
#[derive(Debug, Parser)]
#[command(
    name = "lateen-proxy",
    about = "The data plane of a service mesh",
    disable_version_flag = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Sub-commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy of a pod.
    Proxy(ProxyArgs),
    /// Set up the rules that redirect a pod's traffic to its proxy.
    #[command(name = "istio-iptables")]
    Iptables(Box<iptables::Args>),
    /// Wait until the proxy is ready.
    Wait(WaitArgs),
    /// Send a request to the proxy of this pod.
    Request(RequestArgs),
    /// Run an Envoy bootstrap file, as far as its features are supported.
    Envoy(EnvoyArgs),
    /// Print the version.
    Version(VersionArgs),
    /// Turn a snapshot of the configuration into a page: the child of `config_dump`.
    #[command(name = crate::child::RENDER_DUMP, hide = true)]
    RenderConfigDump,
    /// Turn a bootstrap file into its message: the child of `envoy`.
    #[command(name = crate::child::READ_BOOTSTRAP, hide = true)]
    ReadBootstrap,
    /// Turn a file of resources into its message: the child of path config sources.
    #[command(name = crate::child::READ_RESOURCES, hide = true)]
    ReadResources,
}

/// Arguments of `proxy`.
#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// Kind of proxy.
    #[arg(value_enum, default_value = "sidecar")]
    role: Role,
    /// DNS domain of the pod: `<namespace>.svc.<cluster domain>`.
    #[arg(long, default_value = "")]
    domain: String,
    /// Level of the data path's log: trace, debug, info, warning, error, critical, off.
    #[arg(long = "proxyLogLevel", default_value = "warning")]
    proxy_log_level: String,
    /// Levels of components: `component:level,…`.
    #[arg(long = "proxyComponentLogLevel", default_value = "")]
    proxy_component_log_level: String,
    /// Levels of the agent's scopes: `scope:level,…`; `default` is all of it.
    #[arg(long = "log_output_level", default_value = "default:info")]
    log_output_level: String,
    /// Write log lines as JSON.
    #[arg(long = "log_as_json")]
    log_as_json: bool,
    /// Worker threads; 0 or none takes ProxyConfig's value, else one a CPU.
    #[arg(long, default_value_t = 0)]
    concurrency: usize,
    /// Service cluster in the node; ProxyConfig's value or `<app>.<namespace>` by default.
    #[arg(long = "serviceCluster")]
    service_cluster: Option<String>,
    /// Not supported: a security token service.
    #[arg(long = "stsPort", default_value_t = 0)]
    sts_port: u16,
    /// Not supported: there is no bootstrap template.
    #[arg(long = "templateFile", default_value = "")]
    template_file: String,
    /// Not supported: a log of ejections.
    #[arg(long = "outlierLogPath", default_value = "")]
    outlier_log_path: String,
    /// Not supported: token exchange.
    #[arg(long = "tokenManagerPlugin", default_value = "")]
    token_manager_plugin: String,
    /// Not supported: ProxyConfig comes in PROXY_CONFIG.
    #[arg(long = "meshConfig", default_value = "")]
    mesh_config: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Sidecar,
    Router,
}

/// Arguments of `wait`.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Page that answers 200 when the proxy is ready.
    #[arg(long, default_value = "http://localhost:15021/healthz/ready")]
    url: String,
    /// Longest wait, in seconds.
    #[arg(long = "timeoutSeconds", default_value_t = 60)]
    timeout_seconds: u64,
    /// Longest wait for one answer, in milliseconds.
    #[arg(long = "requestTimeoutMillis", default_value_t = 500)]
    request_timeout_millis: u64,
    /// Time between requests, in milliseconds.
    #[arg(long = "periodMillis", default_value_t = 500)]
    period_millis: u64,
}

/// Arguments of `request`.
#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// HTTP method.
    pub(crate) method: String,
    /// Path with query, such as `config_dump?include_eds`.
    pub(crate) path: String,
    /// Body.
    #[arg(default_value = "")]
    pub(crate) body: String,
    /// Port of this machine: the admin port by default, 15020 for the agent.
    #[arg(long = "debug-port", default_value_t = 15000)]
    pub(crate) debug_port: u16,
}

/// Arguments of `envoy`.
#[derive(Debug, Args)]
pub(crate) struct EnvoyArgs {
    /// Bootstrap file, JSON or YAML.
    #[arg(short = 'c', long = "config-path")]
    config_path: Option<PathBuf>,
    /// Bootstrap text; merged into that of the file.
    #[arg(long = "config-yaml", default_value = "")]
    config_yaml: String,
    /// Serve, or only say what is wrong with the bootstrap.
    #[arg(long, value_enum, default_value = "serve")]
    mode: Mode,
    /// Node id, in place of the bootstrap's.
    #[arg(long = "service-node", default_value = "")]
    service_node: String,
    /// Node cluster, in place of the bootstrap's.
    #[arg(long = "service-cluster", default_value = "")]
    service_cluster: String,
    /// Zone of the node, in place of the bootstrap's.
    #[arg(long = "service-zone", default_value = "")]
    service_zone: String,
    /// File that the address of the admin pages is written to.
    #[arg(long = "admin-address-path")]
    admin_address_path: Option<PathBuf>,
    /// POST /quitquitquit on the admin pages ends the process.
    #[arg(long = "allow-quit")]
    allow_quit: bool,
    /// File for the log, in place of standard error.
    #[arg(long = "log-path")]
    log_path: Option<PathBuf>,
    /// Worker threads; 0 is one a CPU.
    #[arg(long, default_value_t = 0)]
    concurrency: usize,
    /// Log level.
    #[arg(short = 'l', long = "log-level", default_value = "info")]
    log_level: String,
    /// Levels of components.
    #[arg(long = "component-log-level", default_value = "")]
    component_log_level: String,
    /// Time over which connections are drained, in seconds.
    #[arg(long = "drain-time-s", default_value_t = 600)]
    drain_time_s: u64,
    /// How connections are asked to end: at times spread over the drain time, or at once.
    #[arg(long = "drain-strategy", value_enum, default_value = "gradual")]
    drain_strategy: DrainStrategy,
    /// Number of the family of processes that take one another's place; hot restart is on when this or a dynamic one is given.
    #[arg(long = "base-id")]
    base_id: Option<u32>,
    /// Take a free base id.
    #[arg(long = "use-dynamic-base-id")]
    use_dynamic_base_id: bool,
    /// File that tells the base id.
    #[arg(long = "base-id-path")]
    base_id_path: Option<PathBuf>,
    /// How many processes of the family were there before this one.
    #[arg(long = "restart-epoch", default_value_t = 0)]
    restart_epoch: u32,
    /// Time after which the process before this one ends, in seconds.
    #[arg(long = "parent-shutdown-time-s", default_value_t = 900)]
    parent_shutdown_time_s: u64,
    /// No hot restart.
    #[arg(long = "disable-hot-restart")]
    disable_hot_restart: bool,
}

/// What `envoy` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Serve.
    Serve,
    /// Say what is wrong with the bootstrap.
    Validate,
}

/// Arguments of `version`.
#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Only the version itself.
    #[arg(short, long)]
    pub(crate) short: bool,
}

/// Settings of `proxy`.
#[derive(Debug)]
pub(crate) struct ProxyConfig {
    /// The pod's settings.
    pub(crate) settings: Settings,
    /// Who this proxy is.
    pub(crate) node: Node,
    /// Worker threads.
    pub(crate) workers: NonZero<usize>,
}

/// Settings of `envoy`.
#[derive(Debug)]
pub(crate) struct EnvoyConfig {
    /// Bootstrap file.
    pub(crate) bootstrap: Option<PathBuf>,
    /// Bootstrap text that is merged into it.
    pub(crate) text: String,
    /// Serve, or validate.
    pub(crate) mode: Mode,
    /// Node id, cluster and zone in place of the bootstrap's, where not empty.
    pub(crate) node: [String; 3],
    /// File for the admin address.
    pub(crate) admin_address: Option<PathBuf>,
    /// The admin pages may end the process.
    pub(crate) allow_quit: bool,
    /// Level of the log, for the admin pages.
    pub(crate) log_level: String,
    /// Worker threads.
    pub(crate) workers: NonZero<usize>,
    /// Time over which connections are drained.
    pub(crate) drain: Duration,
    /// How they are asked to end.
    strategy: DrainStrategy,
    /// Hot restart; `None` is off.
    pub(crate) restart: Option<RestartConfig>,
}

/// How connections are asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DrainStrategy {
    /// At times spread over the drain time.
    Gradual,
    /// At once.
    Immediate,
}

impl ProxyConfig {
    /// Whether this proxy is a gateway.
    pub(crate) fn is_router(&self) -> bool {
        self.node.id.kind == NodeType::Router
    }
}

impl EnvoyConfig {
    /// The time over which HTTP connections are asked to end.
    pub(crate) fn drain_over(&self) -> Duration {
        match self.strategy {
            DrainStrategy::Gradual => self.drain,
            DrainStrategy::Immediate => Duration::ZERO,
        }
    }

    /// How the process ends: idle connections at once, others with their current request, within the drain time.
    pub(crate) fn drain_settings(&self) -> DrainSettings {
        DrainSettings {
            drain: self.drain,
            termination: Duration::ZERO,
            exit_on_zero_connections: false,
            minimum: Duration::ZERO,
        }
    }
}

impl Cli {
    /// Reads the command line; errors and help are clap's and end the process.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self::parse_from(arguments)
    }
}

impl ProxyArgs {
    /// How to log: the first thing a process needs.
    pub(crate) fn log_options(&self) -> LogOptions {
        LogOptions {
            proxy: self.proxy_log_level.clone(),
            components: self.proxy_component_log_level.clone(),
            agent: self.log_output_level.clone(),
            json: self.log_as_json,
            path: None,
        }
    }

    /// All settings, from arguments and the pod's environment.
    ///
    /// # Errors
    /// Names the flag, variable or field that cannot be used.
    pub(crate) fn config(self, source: &dyn Source) -> anyhow::Result<ProxyConfig> {
        self.refuse_unsupported()?;
        let mut settings = Settings::read(source)?;
        if let Some(cluster) = self.service_cluster.filter(|cluster| !cluster.is_empty()) {
            settings
                .proxy_config
                .insert("serviceCluster".to_owned(), cluster.into());
        }
        let kind = match self.role {
            Role::Sidecar => NodeType::Sidecar,
            Role::Router => NodeType::Router,
        };
        let node = node(source, &settings, kind, &self.domain, VERSION)?;
        let workers = workers(
            Some(self.concurrency)
                .filter(|count| *count > 0)
                .or(settings.concurrency),
        );
        Ok(ProxyConfig {
            settings,
            node,
            workers,
        })
    }

    fn refuse_unsupported(&self) -> anyhow::Result<()> {
        let flags = [
            (
                self.sts_port != 0,
                "--stsPort",
                "there is no security token service",
            ),
            (
                !self.template_file.is_empty(),
                "--templateFile",
                "the proxy needs no bootstrap template",
            ),
            (
                !self.outlier_log_path.is_empty(),
                "--outlierLogPath",
                "ejections are in the log and the statistics",
            ),
            (
                !self.token_manager_plugin.is_empty(),
                "--tokenManagerPlugin",
                "tokens are not exchanged",
            ),
            (
                !self.mesh_config.is_empty(),
                "--meshConfig",
                "ProxyConfig is read from PROXY_CONFIG",
            ),
        ];
        match flags.into_iter().find(|(given, ..)| *given) {
            Some((_, flag, reason)) => bail!("{flag} is not supported: {reason}"),
            None => Ok(()),
        }
    }
}

impl EnvoyArgs {
    /// How to log.
    pub(crate) fn log_options(&self) -> LogOptions {
        LogOptions {
            proxy: self.log_level.clone(),
            components: self.component_log_level.clone(),
            agent: String::new(),
            json: false,
            path: self.log_path.clone(),
        }
    }

    /// All settings.
    ///
    /// # Errors
    /// When there is no bootstrap, or its file is not there.
    pub(crate) fn config(self) -> anyhow::Result<EnvoyConfig> {
        if let Some(path) = &self.config_path {
            std::fs::metadata(path).with_context(|| path.display().to_string())?;
        } else if self.config_yaml.is_empty() {
            bail!("a bootstrap is needed: --config-path or --config-yaml");
        }
        if self.use_dynamic_base_id && self.restart_epoch > 0 {
            bail!("--use-dynamic-base-id is for the first process of a family alone");
        }
        let named = self.base_id.is_some() || self.use_dynamic_base_id || self.restart_epoch > 0;
        let restart = (named && !self.disable_hot_restart).then(|| RestartConfig {
            base_id: match (self.use_dynamic_base_id, self.base_id) {
                (true, _) => None,
                (false, base_id) => Some(base_id.unwrap_or(0)),
            },
            base_id_path: self.base_id_path,
            epoch: self.restart_epoch,
            parent_shutdown: Duration::from_secs(self.parent_shutdown_time_s),
        });
        Ok(EnvoyConfig {
            bootstrap: self.config_path,
            text: self.config_yaml,
            mode: self.mode,
            node: [self.service_node, self.service_cluster, self.service_zone],
            admin_address: self.admin_address_path,
            allow_quit: self.allow_quit,
            log_level: self.log_level,
            workers: workers(Some(self.concurrency).filter(|count| *count > 0)),
            drain: Duration::from_secs(self.drain_time_s),
            strategy: self.drain_strategy,
            restart,
        })
    }
}

impl WaitArgs {
    /// As the agent takes it.
    pub(crate) fn options(&self) -> WaitOptions {
        WaitOptions {
            url: self.url.clone(),
            timeout: Duration::from_secs(self.timeout_seconds),
            request_timeout: Duration::from_millis(self.request_timeout_millis),
            period: Duration::from_millis(self.period_millis),
        }
    }
}

/// Workers wanted, or one a CPU.
fn workers(wanted: Option<usize>) -> NonZero<usize> {
    let cpus = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    wanted.and_then(NonZero::new).unwrap_or_else(cpus)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Cli, Command};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("pilot-agent").chain(line.split_whitespace()))
    }

    #[test]
    fn the_lines_of_injected_pods_parse() {
        for line in [
            "proxy sidecar --domain shop.svc.cluster.local --proxyLogLevel=warning --proxyComponentLogLevel=misc:error --log_output_level=default:info",
            "proxy router --domain istio-system.svc.cluster.local --log_as_json",
            "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x= -b * -d 15090,15021,15020 --log_output_level=default:info",
            "wait",
            "wait --url=http://localhost:15020/healthz/ready --timeoutSeconds 5",
            "request --debug-port=15020 POST drain",
            "request GET config_dump?include_eds",
            "envoy -c bootstrap.yaml --concurrency 1 --log-level warning",
            "envoy --config-yaml x --mode validate --service-node a --log-path l --disable-hot-restart",
            "version",
        ] {
            assert!(parse(line).is_ok(), "{line}: {:?}", parse(line).err());
        }
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let refusal = |line: &str| match parse(line).expect("a known flag parses").command {
            Command::Proxy(arguments) => arguments
                .refuse_unsupported()
                .expect_err("refused")
                .to_string(),
            other => format!("{other:?}"),
        };
        let error = refusal("proxy sidecar --stsPort=15463");
        assert!(error.contains("--stsPort"), "{error}");
        let error = parse("proxy sidecar --unknownFlag")
            .expect_err("refused")
            .to_string();
        assert!(error.contains("--unknownFlag"), "{error}");
    }
}
