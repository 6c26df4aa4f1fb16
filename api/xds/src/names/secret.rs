use std::fmt;
use std::str::FromStr;

use super::error::NameError;

const CA_SUFFIX: &str = "-cacert";

/// Name of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretName {
    /// `default`: the workload's certificate and key.
    Default,
    /// `ROOTCA`: the roots that peers are checked against.
    RootCa,
    /// `file-cert:<cert>~<key>`
    FileCert {
        /// Path of the certificate chain.
        cert: String,
        /// Path of the key.
        key: String,
    },
    /// `file-root:<path>`
    FileRoot(String),
    /// `file-root:system`
    SystemRoots,
    /// `kubernetes://<name>` or `kubernetes://<namespace>/<name>`
    Kubernetes {
        /// The proxy's own namespace where absent.
        namespace: Option<String>,
        /// Name of the secret, with its suffix if it is for the CA alone.
        name: String,
    },
    /// `kubernetes-gateway://<namespace>/<name>`
    KubernetesGateway {
        /// Namespace.
        namespace: String,
        /// Name of the secret.
        name: String,
    },
    /// `configmap://<namespace>/<name>`
    ConfigMap {
        /// Namespace.
        namespace: String,
        /// Name of the config map.
        name: String,
    },
    /// `builtin://`: the same as `default`.
    Builtin,
    /// `invalid://<what>`: refused on purpose.
    Invalid(String),
    /// `sds://<name>`: from an outside server.
    External(String),
    /// A name of the client's own.
    Other(String),
}

impl SecretName {
    /// `kubernetes://<name>`
    pub fn kubernetes(name: impl Into<String>) -> Self {
        Self::Kubernetes {
            namespace: None,
            name: name.into(),
        }
    }

    /// The secret that holds the CA to check clients with: the same name with `-cacert`.
    ///
    /// Names that no suffix applies to are given back as they are.
    #[must_use]
    pub fn with_ca_suffix(&self) -> Self {
        let mut named = self.clone();
        if let Self::Kubernetes { name, .. } | Self::KubernetesGateway { name, .. } = &mut named {
            name.push_str(CA_SUFFIX);
        }
        named
    }

    /// Whether the name asks for a CA alone.
    #[must_use]
    pub fn is_ca_only(&self) -> bool {
        matches!(self, Self::Kubernetes { name, .. } | Self::KubernetesGateway { name, .. } if name.ends_with(CA_SUFFIX))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::RootCa => f.write_str("ROOTCA"),
            Self::FileCert { cert, key } => write!(f, "file-cert:{cert}~{key}"),
            Self::FileRoot(path) => write!(f, "file-root:{path}"),
            Self::SystemRoots => f.write_str("file-root:system"),
            Self::Kubernetes {
                namespace: None,
                name,
            } => write!(f, "kubernetes://{name}"),
            Self::Kubernetes {
                namespace: Some(namespace),
                name,
            } => write!(f, "kubernetes://{namespace}/{name}"),
            Self::KubernetesGateway { namespace, name } => {
                write!(f, "kubernetes-gateway://{namespace}/{name}")
            }
            Self::ConfigMap { namespace, name } => write!(f, "configmap://{namespace}/{name}"),
            Self::Builtin => f.write_str("builtin://"),
            Self::Invalid(rest) => write!(f, "invalid://{rest}"),
            Self::External(name) => write!(f, "sds://{name}"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl FromStr for SecretName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text {
            "default" => return Ok(Self::Default),
            "ROOTCA" => return Ok(Self::RootCa),
            "builtin://" => return Ok(Self::Builtin),
            "file-root:system" => return Ok(Self::SystemRoots),
            _ => {}
        }
        let error = |reason| NameError::new("secret", text, reason);
        if let Some(rest) = text.strip_prefix("file-cert:") {
            let (cert, key) = rest
                .split_once('~')
                .ok_or_else(|| error("expected file-cert:<cert>~<key>"))?;
            return Ok(Self::FileCert {
                cert: cert.to_owned(),
                key: key.to_owned(),
            });
        }
        if let Some(path) = text.strip_prefix("file-root:") {
            return Ok(Self::FileRoot(path.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("invalid://") {
            return Ok(Self::Invalid(rest.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("sds://") {
            return Ok(Self::External(rest.to_owned()));
        }
        let namespaced =
            |rest: &str| object(rest).ok_or_else(|| error("expected <namespace>/<name>"));
        if let Some(rest) = text.strip_prefix("kubernetes-gateway://") {
            return namespaced(rest)
                .map(|(namespace, name)| Self::KubernetesGateway { namespace, name });
        }
        if let Some(rest) = text.strip_prefix("configmap://") {
            return namespaced(rest).map(|(namespace, name)| Self::ConfigMap { namespace, name });
        }
        match text.strip_prefix("kubernetes://") {
            Some("") => Err(error("the name is empty")),
            Some(rest) if rest.contains('/') => {
                namespaced(rest).map(|(namespace, name)| Self::Kubernetes {
                    namespace: Some(namespace),
                    name,
                })
            }
            Some(rest) => Ok(Self::kubernetes(rest)),
            None => Ok(Self::Other(text.to_owned())),
        }
    }
}

/// `<namespace>/<name>`, both there, no further slash.
fn object(text: &str) -> Option<(String, String)> {
    let (namespace, name) = text.split_once('/')?;
    let plain = !namespace.is_empty() && !name.is_empty() && !name.contains('/');
    plain.then(|| (namespace.to_owned(), name.to_owned()))
}
