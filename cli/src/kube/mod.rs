//! A Kubernetes cluster as a source of objects.

mod list;

use std::path::PathBuf;
use std::time::Duration;

use ::kube::config::{KubeConfigOptions, Kubeconfig};
use ::kube::{Client, Config};
use http::{HeaderName, HeaderValue};

use crate::failure::Failure;

/// How a cluster is reached, as flags say it.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// The kubeconfig file; `None` for the usual ones.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context; `None` for the file's current one.
    pub(crate) context: Option<String>,
    /// The user to act as.
    pub(crate) user: Option<String>,
    /// The uid of the user to act as.
    pub(crate) uid: Option<String>,
    /// The groups of the user to act as.
    pub(crate) groups: Vec<String>,
    /// How long connecting may take.
    pub(crate) connect_timeout: Duration,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            user: None,
            uid: None,
            groups: Vec::new(),
            connect_timeout: Duration::from_secs(15),
        }
    }
}

/// A cluster that can be asked.
pub(crate) struct Cluster {
    client: Client,
    /// The context's name, or that of a remote secret's key.
    pub(crate) name: String,
    /// The address, for messages.
    url: String,
    /// The namespace of the context.
    pub(crate) namespace: String,
}

impl Cluster {
    /// Prepares the connection to the cluster of a context; nothing is sent yet.
    ///
    /// # Errors
    /// When there is no kubeconfig, no such context in it, or what it holds cannot be used.
    pub(crate) async fn connect(access: &Access, context: Option<&str>) -> Result<Self, Failure> {
        let wanted = context
            .map(str::to_owned)
            .or_else(|| access.context.clone());
        let Some(kubeconfig) = read(access)? else {
            let config = Config::incluster().map_err(|_| no_kubeconfig())?;
            return Self::of(config, "in-cluster".to_owned(), access);
        };
        let name = wanted
            .clone()
            .or_else(|| kubeconfig.current_context.clone())
            .unwrap_or_default();
        if wanted.is_some() && !kubeconfig.contexts.iter().any(|known| known.name == name) {
            let known: Vec<&str> = kubeconfig
                .contexts
                .iter()
                .map(|context| context.name.as_str())
                .collect();
            return Err(Failure::other(format!(
                "context \"{name}\" does not exist in the kubeconfig, which has: {}",
                known.join(", ")
            )));
        }
        if name.is_empty() {
            return Err(Failure::other(
                "the kubeconfig has no current context: choose one with --context, or analyze files alone with --use-kube=false",
            ));
        }
        let options = KubeConfigOptions {
            context: wanted,
            ..KubeConfigOptions::default()
        };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| {
                let causes = lateen_api::causes(&error);
                Failure::other(format!("context \"{name}\" cannot be used: {causes}"))
            })?;
        Self::of(config, name, access)
    }

    /// Prepares the connection to a cluster whose kubeconfig stands in a Secret. Such a text is not the caller's own, so that it may
    /// neither run programs nor read files of this machine.
    ///
    /// # Errors
    /// Why the text cannot be used.
    pub(crate) async fn remote(name: &str, text: &str, access: &Access) -> Result<Self, String> {
        let kubeconfig = Kubeconfig::from_yaml(text).map_err(|error| lateen_api::causes(&error))?;
        let users = kubeconfig.auth_infos.iter();
        let reaches_out = users
            .filter_map(|user| user.auth_info.as_ref())
            .any(|user| {
                user.exec.is_some()
                    || user.auth_provider.is_some()
                    || user.token_file.is_some()
                    || user.client_certificate.is_some()
                    || user.client_key.is_some()
            })
            || kubeconfig
                .clusters
                .iter()
                .filter_map(|cluster| cluster.cluster.as_ref())
                .any(|cluster| cluster.certificate_authority.is_some());
        if reaches_out {
            return Err("it names programs or files of this machine".to_owned());
        }
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .map_err(|error| lateen_api::causes(&error))?;
        let own = Access {
            connect_timeout: access.connect_timeout,
            ..Access::default()
        };
        Self::of(config, name.to_owned(), &own).map_err(|failure| failure.to_string())
    }

    fn of(mut config: Config, name: String, access: &Access) -> Result<Self, Failure> {
        config.connect_timeout = Some(access.connect_timeout);
        if access.user.is_some() {
            config.auth_info.impersonate.clone_from(&access.user);
        }
        if !access.groups.is_empty() {
            config.auth_info.impersonate_groups = Some(access.groups.clone());
        }
        if let Some(uid) = &access.uid {
            let value = HeaderValue::from_str(uid)
                .map_err(|_| Failure::usage(format!("--as-uid: \"{uid}\" is no header's value")))?;
            let header = HeaderName::from_static("impersonate-uid");
            config.headers.push((header, value));
        }
        let (url, namespace) = (
            config.cluster_url.to_string(),
            config.default_namespace.clone(),
        );
        let client = Client::try_from(config).map_err(|error| {
            let causes = lateen_api::causes(&error);
            Failure::other(format!("context \"{name}\" cannot be used: {causes}"))
        })?;
        Ok(Self {
            client,
            name,
            url,
            namespace,
        })
    }
}

/// The kubeconfig; `None` if none was named and there is none at the usual places.
fn read(access: &Access) -> Result<Option<Kubeconfig>, Failure> {
    let unusable = |error: ::kube::config::KubeconfigError| {
        let causes = lateen_api::causes(&error);
        Failure::other(format!(
            "the kubeconfig cannot be used: {causes} (--use-kube=false analyzes files alone)"
        ))
    };
    if let Some(path) = &access.kubeconfig {
        return Kubeconfig::read_from(path).map(Some).map_err(unusable);
    }
    if std::env::var_os("KUBECONFIG").is_some_and(|paths| !paths.is_empty()) {
        return Kubeconfig::read().map(Some).map_err(unusable);
    }
    let usual = std::env::home_dir().map(|home| home.join(".kube/config"));
    match usual.filter(|path| path.exists()) {
        Some(path) => Kubeconfig::read_from(path).map(Some).map_err(unusable),
        None => Ok(None),
    }
}

fn no_kubeconfig() -> Failure {
    Failure::other(
        "there is no cluster to analyze: no kubeconfig was found; name one with --kubeconfig, or analyze files alone with --use-kube=false",
    )
}
