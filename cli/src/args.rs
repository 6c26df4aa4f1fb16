//! The command line's grammar.
//!
//! Flags such as `-n` may stand before or after the command's name, as in istioctl. The commands of `lateenctl local` have flags of
//! their own (`-c` is a container there), so the general ones are no global flags of clap: each command that knows them has them.

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use lateen_local::cli::LocalArgs;

use crate::cmd::analyze::AnalyzeArgs;
use crate::cmd::completion::CompletionArgs;
use crate::cmd::kube_inject::KubeInjectArgs;
use crate::cmd::proxy_config::ProxyConfigArgs;
use crate::cmd::proxy_status::ProxyStatusArgs;
use crate::cmd::validate::ValidateArgs;
use crate::cmd::version::VersionArgs;
use crate::failure::Failure;
use crate::kube::Access;

/// Lateen's command line: a service mesh that speaks Istio's API.
#[derive(Debug, Parser)]
#[command(
    name = "lateenctl",
    bin_name = "lateenctl",
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        lateenctl local up -f samples/bookinfo/platform/kube/bookinfo.yaml\n  \
        lateenctl kube-inject -f deployment.yaml | kubectl apply -f -\n  \
        lateenctl validate -f virtual-service.yaml\n  \
        lateenctl analyze --use-kube=false -A manifests/\n  \
        lateenctl proxy-status\n  \
        lateenctl proxy-config cluster deployment/productpage-v1"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Local(LocalArgs),
    KubeInject(With<KubeInjectArgs>),
    #[command(visible_alias = "v")]
    Validate(With<ValidateArgs>),
    Analyze(With<AnalyzeArgs>),
    #[command(visible_alias = "ps")]
    ProxyStatus(With<ProxyStatusArgs>),
    #[command(visible_alias = "pc")]
    ProxyConfig(With<ProxyConfigArgs>),
    Version(With<VersionArgs>),
    Completion(CompletionArgs),
}

// A command's own arguments beside the general flags. No documentation comment: it would become the command's help.
#[derive(Debug, Args)]
pub(crate) struct With<T: Args> {
    #[command(flatten)]
    pub(crate) own: T,
    #[command(flatten)]
    pub(crate) globals: Globals,
}

// Flags of several commands, as they were given. No documentation comment here either.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "General options")]
pub(crate) struct Globals {
    /// The namespace of what is named without one
    #[arg(short = 'n', long, global = true, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The namespace of the control plane [default: istio-system]
    #[arg(
        short = 'i',
        long = "istioNamespace",
        global = true,
        value_name = "NAMESPACE"
    )]
    istio_namespace: Option<String>,
    /// The local mesh to look at (see `lateenctl local`) [default: default]
    #[arg(long, global = true, value_name = "NAME")]
    mesh: Option<String>,
    /// Not supported yet: a kubeconfig file
    #[arg(short = 'c', long, global = true, value_name = "FILE", hide = true)]
    kubeconfig: Option<String>,
    /// Not supported yet: a context of the kubeconfig file
    #[arg(long, global = true, value_name = "NAME", hide = true)]
    context: Option<String>,
    /// Not supported yet: a user to act as
    #[arg(long = "as", global = true, value_name = "USER", hide = true)]
    as_user: Option<String>,
    /// Not supported yet: the uid of a user to act as
    #[arg(long, global = true, value_name = "UID", hide = true)]
    as_uid: Option<String>,
    /// Not supported yet: a group to act as
    #[arg(long, global = true, value_name = "GROUP", hide = true)]
    as_group: Vec<String>,
    /// Not supported yet: a time limit for the cluster
    #[arg(long, global = true, value_name = "DURATION", hide = true)]
    kubeclient_timeout: Option<String>,
}

/// What the general flags come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// The namespace that was asked for; empty when none was.
    pub(crate) namespace: String,
    /// The namespace of the control plane.
    pub(crate) istio_namespace: String,
    /// The name of the local mesh.
    pub(crate) mesh: String,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            namespace: String::new(),
            istio_namespace: "istio-system".to_owned(),
            mesh: "default".to_owned(),
        }
    }
}

/// The grammar, where the general flags before a command are the root's alone.
pub(crate) fn grammar() -> clap::Command {
    Cli::command()
        .mut_args(|arg| arg.global(false))
        .mut_subcommand("analyze", |analyze| {
            CLUSTER_FLAGS
                .iter()
                .fold(analyze, |analyze, (name, help)| {
                    analyze.mut_arg(name, |arg| arg.hide(false).help(*help))
                })
                .mut_arg("mesh", |arg| arg.hide(true))
        })
}

/// The flags of a cluster, as commands that know clusters explain them.
const CLUSTER_FLAGS: [(&str, &str); 6] = [
    (
        "kubeconfig",
        "The kubeconfig file [default: $KUBECONFIG, then ~/.kube/config]",
    ),
    (
        "context",
        "The context of the kubeconfig file [default: its current one]",
    ),
    ("as_user", "The user to act as"),
    ("as_uid", "The uid of the user to act as"),
    ("as_group", "A group to act as; may be repeated"),
    (
        "kubeclient_timeout",
        "How long connecting to the cluster may take [default: 15s]",
    ),
];

impl Cli {
    /// Reads a command line.
    ///
    /// # Errors
    /// A usage error, or a request for help.
    pub(crate) fn read<I: IntoIterator<Item: Into<std::ffi::OsString> + Clone>>(
        arguments: I,
    ) -> Result<Self, clap::Error> {
        let mut grammar = grammar();
        let matches = grammar.try_get_matches_from_mut(arguments)?;
        Self::from_arg_matches(&matches).map_err(|error| error.format(&mut grammar))
    }
}

impl Globals {
    /// What these flags, given before the command, and those after it come to; the later ones win, then the environment counts.
    ///
    /// # Errors
    /// A usage error for a flag that only means something with a cluster.
    pub(crate) fn scope(
        &self,
        after: &Self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Scope, Failure> {
        self.check()?;
        after.check()?;
        Ok(self.merge(after, environment))
    }

    /// What these flags come to for a command that knows clusters.
    ///
    /// # Errors
    /// A usage error for a time limit that is none.
    pub(crate) fn cluster_scope(
        &self,
        after: &Self,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<(Scope, Access), Failure> {
        let pick = |before: &Option<String>, after: &Option<String>, variable: &str| {
            let given = after.clone().or_else(|| before.clone());
            given.or_else(|| environment(variable))
        };
        let mut access = Access {
            kubeconfig: pick(&self.kubeconfig, &after.kubeconfig, "ISTIOCTL_KUBECONFIG")
                .map(Into::into),
            context: pick(&self.context, &after.context, "ISTIOCTL_CONTEXT"),
            user: pick(&self.as_user, &after.as_user, "ISTIOCTL_AS"),
            uid: pick(&self.as_uid, &after.as_uid, "ISTIOCTL_AS_UID"),
            groups: [self.as_group.clone(), after.as_group.clone()].concat(),
            ..Access::default()
        };
        let variable = "ISTIOCTL_KUBECLIENT_TIMEOUT";
        if let Some(limit) = pick(
            &self.kubeclient_timeout,
            &after.kubeclient_timeout,
            variable,
        ) {
            let limit: lateen_api::Duration = limit
                .parse()
                .map_err(|error| Failure::usage(format!("--kubeclient-timeout: {error}")))?;
            access.connect_timeout = limit.to_std();
        }
        Ok((self.merge(after, environment), access))
    }

    fn merge(&self, after: &Self, environment: impl Fn(&str) -> Option<String>) -> Scope {
        let default = Scope::default();
        let pick =
            |before: &Option<String>, after: &Option<String>, variable: &str, default: String| {
                after
                    .clone()
                    .or_else(|| before.clone())
                    .or_else(|| environment(variable))
                    .unwrap_or(default)
            };
        Scope {
            namespace: pick(
                &self.namespace,
                &after.namespace,
                "ISTIOCTL_NAMESPACE",
                default.namespace,
            ),
            istio_namespace: pick(
                &self.istio_namespace,
                &after.istio_namespace,
                "ISTIOCTL_ISTIONAMESPACE",
                default.istio_namespace,
            ),
            mesh: pick(&self.mesh, &after.mesh, "LATEEN_MESH", default.mesh),
        }
    }

    /// Refuses all flags: the command has its own.
    ///
    /// # Errors
    /// A usage error that names the flag.
    pub(crate) fn none(&self, command: &str) -> Result<(), Failure> {
        self.check()?;
        let given = [
            ("--namespace", &self.namespace),
            ("--istioNamespace", &self.istio_namespace),
            ("--mesh", &self.mesh),
        ];
        match given.into_iter().find(|(_, given)| given.is_some()) {
            None => Ok(()),
            Some((flag, _)) => Err(Failure::usage(format!(
                "{flag} does not belong before `{command}`: see `lateenctl {command} --help`"
            ))),
        }
    }

    fn check(&self) -> Result<(), Failure> {
        let given = [
            ("--kubeconfig", self.kubeconfig.is_some()),
            ("--context", self.context.is_some()),
            ("--as", self.as_user.is_some()),
            ("--as-uid", self.as_uid.is_some()),
            ("--as-group", !self.as_group.is_empty()),
            ("--kubeclient-timeout", self.kubeclient_timeout.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Failure::usage(format!(
                "{flag}: a Kubernetes cluster is not supported yet; commands work on files (-f) and on a local mesh (--mesh NAME)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_an_example() {
        fn walk(command: &mut clap::Command, path: &str) {
            let help = command.render_long_help().to_string();
            assert!(command.get_about().is_some(), "{path} says what it does");
            assert!(
                help.contains("Examples:") || path.starts_with("lateenctl local"),
                "{path}:\n{help}"
            );
            for sub in command
                .get_subcommands_mut()
                .filter(|sub| sub.get_name() != "help")
            {
                let path = format!("{path} {}", sub.get_name());
                walk(sub, &path);
            }
        }
        let mut cli = grammar();
        cli.build();
        walk(&mut cli, "lateenctl");
    }

    fn scope(line: &str) -> Result<Scope, String> {
        let cli = Cli::read(line.split(' ')).map_err(|error| error.to_string())?;
        let environment =
            |name: &str| (name == "ISTIOCTL_NAMESPACE").then(|| "from-env".to_owned());
        match &cli.command {
            Command::Version(with) => cli.globals.scope(&with.globals, environment),
            Command::ProxyConfig(with) => cli.globals.scope(&with.globals, environment),
            _ => cli.globals.none("local").map(|()| Scope::default()),
        }
        .map_err(|failure| failure.to_string())
    }

    #[test]
    fn general_flags_stand_before_or_after_the_command() {
        for (line, namespace) in [
            ("lateenctl version", "from-env"),
            ("lateenctl -n a version", "a"),
            ("lateenctl version -n b", "b"),
            ("lateenctl -n a version -n b", "b"),
            ("lateenctl pc cluster web -n c", "c"),
            ("lateenctl pc -n c cluster web", "c"),
        ] {
            assert_eq!(
                scope(line).map(|scope| scope.namespace).as_deref(),
                Ok(namespace),
                "{line}"
            );
        }
    }

    #[test]
    fn flags_of_a_cluster_and_misplaced_ones_are_refused_by_name() {
        for (line, start) in [
            (
                "lateenctl version --context x",
                "--context: a Kubernetes cluster is not supported",
            ),
            (
                "lateenctl -c x version",
                "--kubeconfig: a Kubernetes cluster is not supported",
            ),
            (
                "lateenctl -n x local status",
                "--namespace does not belong before `local`",
            ),
        ] {
            let refused = scope(line).expect_err(line);
            assert!(refused.starts_with(start), "{line}: {refused}");
        }
    }
}
