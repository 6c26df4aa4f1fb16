//! The command line: pilot-discovery's flags as far as they have a meaning here; the others are refused by name.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::parser::ValueSource;
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::address::Address;

/// Flags of pilot-discovery that have no effect here; given, they are refused rather than ignored.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "kubeconfig",
        "a Kubernetes cluster as the source of configuration is not supported yet: use --configDir",
    ),
    ("registries", "services come from --configDir alone"),
    ("networksConfig", "networks are not supported yet"),
    (
        "caCertFile",
        "the control plane's own certificate comes from its CA",
    ),
    (
        "tlsCertFile",
        "the control plane's own certificate comes from its CA",
    ),
    (
        "tlsKeyFile",
        "the control plane's own certificate comes from its CA",
    ),
    (
        "tls-cipher-suites",
        "the suites of rustls are used: TLS 1.2 and 1.3 with forward secrecy",
    ),
    ("clusterAliases", "remote clusters are not supported yet"),
    (
        "clusterRegistriesNamespace",
        "remote clusters are not supported yet",
    ),
    (
        "kubernetesApiBurst",
        "a Kubernetes cluster as the source of configuration is not supported yet",
    ),
    (
        "kubernetesApiQPS",
        "a Kubernetes cluster as the source of configuration is not supported yet",
    ),
    (
        "resync",
        "a Kubernetes cluster as the source of configuration is not supported yet",
    ),
    (
        "ctrlz_address",
        "introspection is under /debug of --httpAddr",
    ),
    ("ctrlz_port", "introspection is under /debug of --httpAddr"),
    ("profile", "profiling over HTTP is not supported"),
    ("plugins", "plugins are not supported"),
    (
        "keepaliveInterval",
        "the interval of HTTP/2 pings is fixed at 30s",
    ),
    (
        "keepaliveTimeout",
        "the timeout of HTTP/2 pings is fixed at 10s",
    ),
    ("log_as_json", "logs are text"),
    ("log_caller", "logs name their module"),
    ("log_stacktrace_level", "logs carry no stack traces"),
    ("log_target", "logs go to stdout"),
    ("log_rotate", "logs go to stdout"),
    ("vklog", "there is no Kubernetes client yet"),
];

/// What was asked for.
pub(crate) enum Command {
    /// Serve.
    Discovery(Box<Discovery>),
    /// Say the version.
    Version(Version),
}

#[derive(Debug, Parser)]
#[command(
    name = "lateend",
    about = "Control plane of a Lateen mesh",
    version,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Sub,
}

#[derive(Debug, Subcommand)]
enum Sub {
    /// Serve configuration and certificates to the mesh's proxies
    Discovery(Box<Discovery>),
    /// Print the version of this program
    Version(Version),
}

/// Flags of `lateend discovery`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Discovery {
    /// Folder with Istio and Kubernetes objects as YAML or JSON files; may be repeated. Watched for changes
    #[arg(long = "configDir", value_name = "DIR", required = true)]
    pub(crate) config_dirs: Vec<PathBuf>,
    /// File with the mesh configuration; the defaults are used while it does not exist. Watched for changes
    #[arg(
        long = "meshConfig",
        value_name = "FILE",
        default_value = "./etc/istio/config/mesh"
    )]
    pub(crate) mesh_config: PathBuf,
    /// Address of xDS without TLS, which serves no secrets, certificates or debug pages; off unless given
    #[arg(long = "grpcAddr", value_name = "ADDR", default_value = "")]
    pub(crate) grpc_addr: Address,
    /// Address of xDS and the certificate service over TLS
    #[arg(long = "secureGRPCAddr", value_name = "ADDR", default_value = ":15012")]
    pub(crate) secure_grpc_addr: Address,
    /// Address of /ready and /debug
    #[arg(long = "httpAddr", value_name = "ADDR", default_value = ":8080")]
    pub(crate) http_addr: Address,
    /// Address of /ready and /debug over TLS
    #[arg(long = "httpsAddr", value_name = "ADDR", default_value = ":15017")]
    pub(crate) https_addr: Address,
    /// Address of /metrics, /version and /debug
    #[arg(long = "monitoringAddr", value_name = "ADDR", default_value = ":15014")]
    pub(crate) monitoring_addr: Address,
    /// DNS domain of the services
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub(crate) domain: String,
    /// Name of the cluster the objects come from
    #[arg(
        long = "clusterID",
        value_name = "ID",
        env = "CLUSTER_ID",
        default_value = "Kubernetes"
    )]
    pub(crate) cluster_id: String,
    /// Trust domain; overrides the one of the mesh configuration
    #[arg(long = "trust-domain", value_name = "DOMAIN")]
    pub(crate) trust_domain: Option<String>,
    /// Namespace of the control plane: its callers see all debug pages
    #[arg(
        long,
        short,
        value_name = "NAMESPACE",
        env = "POD_NAMESPACE",
        default_value = "istio-system"
    )]
    pub(crate) namespace: String,
    /// Name of this replica
    #[arg(
        long = "podName",
        value_name = "NAME",
        env = "POD_NAME",
        default_value = "istiod",
        hide = true
    )]
    pub(crate) pod_name: String,
    /// Revision of this control plane
    #[arg(
        long,
        value_name = "REVISION",
        env = "REVISION",
        default_value = "default"
    )]
    pub(crate) revision: String,
    /// Whose bearer tokens are believed: JSON with issuer, jwks (inline) and audiences
    #[arg(long = "jwtRule", value_name = "JSON", env = "JWT_RULE", hide = true)]
    pub(crate) jwt_rule: Option<String>,
    /// Folder of a plugged-in CA: ca-cert.pem, ca-key.pem, root-cert.pem, cert-chain.pem
    #[arg(
        long = "rootCADir",
        value_name = "DIR",
        env = "ROOT_CA_DIR",
        default_value = "./etc/cacerts",
        hide = true
    )]
    pub(crate) root_ca_dir: PathBuf,
    /// Folder in which a self-signed root is kept over restarts. Without the flag /var/lib/lateen/ca is used if it exists, else
    /// the root lives in memory
    #[arg(long = "caDir", value_name = "DIR")]
    pub(crate) ca_dir: Option<PathBuf>,
    /// Folder in which a client certificate for the operator's tools is kept: cert-chain.pem, key.pem, root-cert.pem
    #[arg(long = "operatorCertDir", value_name = "DIR")]
    pub(crate) operator_cert_dir: Option<PathBuf>,
    /// File that gets the addresses in use, as JSON, once all of them are bound
    #[arg(long = "addressFile", value_name = "FILE")]
    pub(crate) address_file: Option<PathBuf>,
    /// Further names in the control plane's certificate, separated by commas
    #[arg(
        long = "customHost",
        value_name = "HOSTS",
        env = "ISTIOD_CUSTOM_HOST",
        value_delimiter = ',',
        hide = true
    )]
    pub(crate) custom_hosts: Vec<String>,
    /// Life of a workload certificate when the request names none
    #[arg(long = "defaultWorkloadCertTTL", value_name = "DURATION", env = "DEFAULT_WORKLOAD_CERT_TTL", default_value = "24h", value_parser = duration, hide = true)]
    pub(crate) default_cert_life: Duration,
    /// Longest life of a workload certificate
    #[arg(long = "maxWorkloadCertTTL", value_name = "DURATION", env = "MAX_WORKLOAD_CERT_TTL", default_value = "2160h", value_parser = duration, hide = true)]
    pub(crate) max_cert_life: Duration,
    /// Longest life of a client's connection
    #[arg(long = "keepaliveMaxServerConnectionAge", value_name = "DURATION", default_value = "30m", value_parser = duration)]
    pub(crate) max_connection_age: Duration,
    /// Time that requests under way get when the program is told to end
    #[arg(long = "shutdownDuration", value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(crate) shutdown: Duration,
    /// Levels of the log: <scope>:<level> separated by commas; scopes default, ads, ca, config, model; levels none, error, warn, info, debug
    #[arg(
        long = "log_output_level",
        value_name = "LEVELS",
        default_value = "default:info"
    )]
    pub(crate) log_output_level: String,
}

/// Flags of `lateend version`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Version {
    /// The number alone
    #[arg(long, short)]
    short: bool,
    /// Form of the output
    #[arg(long, short, value_enum)]
    output: Option<Form>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    Json,
    Yaml,
}

impl Version {
    /// What is printed.
    pub(crate) fn text(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        match self.output {
            Some(Form::Json) => format!("{{\n  \"version\": \"{version}\"\n}}"),
            Some(Form::Yaml) => format!("version: {version}"),
            None if self.short => version.to_owned(),
            None => format!("lateend version: {version}"),
        }
    }
}

/// Reads the command line; help and misuse end the program as clap does.
///
/// # Errors
/// When a flag is given that has no meaning here.
pub(crate) fn parse() -> anyhow::Result<Command> {
    let matches = command().get_matches();
    if let Some((_, given)) = matches
        .subcommand()
        .filter(|(name, _)| *name == "discovery")
    {
        refuse_unsupported(given)?;
    }
    match Cli::from_arg_matches(&matches)
        .unwrap_or_else(|error| error.exit())
        .command
    {
        Sub::Discovery(options) => Ok(Command::Discovery(options)),
        Sub::Version(version) => Ok(Command::Version(version)),
    }
}

fn command() -> clap::Command {
    Cli::command().mut_subcommand("discovery", |discovery| {
        let hidden = UNSUPPORTED
            .iter()
            .map(|(name, _)| Arg::new(*name).long(*name).hide(true).num_args(0..=1));
        discovery.args(hidden)
    })
}

fn refuse_unsupported(given: &clap::ArgMatches) -> anyhow::Result<()> {
    for (name, reason) in UNSUPPORTED {
        if given.value_source(name) == Some(ValueSource::CommandLine) {
            bail!("--{name} is not supported: {reason}");
        }
    }
    Ok(())
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: lateen_api::Duration = text
        .parse()
        .map_err(|error: lateen_api::proto::DurationError| error.to_string())?;
    if span.as_nanos() <= 0 {
        Err("must be more than zero, such as 30m".to_owned())
    } else {
        Ok(span.to_std())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> anyhow::Result<Discovery> {
        let line = ["lateend", "discovery"].iter().chain(args);
        let matches = command().try_get_matches_from(line)?;
        refuse_unsupported(matches.subcommand().expect("discovery").1)?;
        match Cli::from_arg_matches(&matches)?.command {
            Sub::Discovery(options) => Ok(*options),
            Sub::Version(_) => bail!("version"),
        }
    }

    #[test]
    fn defaults_are_pilot_discoverys_and_plain_text_is_off() {
        command().debug_assert();
        let options = options(&[
            "--configDir",
            "a",
            "--configDir=b",
            "--monitoringAddr=:15014",
            "--keepaliveMaxServerConnectionAge",
            "30m",
        ])
        .expect("valid");
        assert_eq!(
            options.config_dirs,
            [PathBuf::from("a"), PathBuf::from("b")]
        );
        assert_eq!(options.grpc_addr, Address::Off);
        assert_eq!(options.secure_grpc_addr, Address::Wildcard(15012));
        assert_eq!(
            (
                options.max_connection_age.as_secs(),
                options.shutdown.as_secs()
            ),
            (1800, 10)
        );
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        let error = |args: &[&str]| options(args).expect_err("refused").to_string();
        assert!(
            error(&["--configDir", "a", "--kubeconfig", "x"])
                .starts_with("--kubeconfig is not supported")
        );
        assert!(
            error(&["--configDir", "a", "--log_as_json"])
                .starts_with("--log_as_json is not supported")
        );
        assert!(error(&[]).contains("--configDir"));
        assert!(error(&["--configDir", "a", "--httpAddr", "nonsense"]).contains("--httpAddr"));
        assert!(
            error(&["--configDir", "a", "--shutdownDuration", "x"]).contains("--shutdownDuration")
        );
    }
}
