//! The local mesh as commands see it: pages of its proxies and of its control plane.

use std::future::Future;

use http::Method;
use lateen_local::ClientError;

use crate::args::Scope;
use crate::failure::Failure;

/// A running local mesh.
pub(crate) struct Mesh {
    mesh: lateen_local::Mesh,
}

/// The admin pages of one proxy.
pub(crate) struct PodPages {
    mesh: lateen_local::Mesh,
    pod: String,
    port: u16,
    label: String,
}

impl Mesh {
    /// Finds the mesh that is asked for.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn find(scope: &Scope) -> Result<Self, Failure> {
        lateen_local::Mesh::find(&scope.mesh)
            .map(|mesh| Self { mesh })
            .map_err(|error| refused(&error))
    }

    /// The admin pages of the pod that is meant: `[TYPE/]NAME[.NAMESPACE]`.
    ///
    /// # Errors
    /// When the mesh does not answer or has no such pod.
    pub(crate) async fn pages(
        &self,
        pod: &str,
        port: u16,
        scope: &Scope,
    ) -> Result<PodPages, Failure> {
        let status = self.mesh.status().await.map_err(|error| refused(&error))?;
        let wanted = PodReference::of(pod, &scope.namespace);
        let mut found: Vec<_> = status
            .pods
            .iter()
            .filter(|pod| wanted.means(&pod.name, &pod.namespace, &pod.workload))
            .collect();
        if found.is_empty() {
            let plain = |workload: &str| {
                workload
                    .split_once('/')
                    .map_or(String::new(), |(_, name)| name.to_owned())
            };
            found.extend(
                status.pods.iter().filter(|pod| {
                    wanted.means(&plain(&pod.workload), &pod.namespace, &pod.workload)
                }),
            );
        }
        found.sort_by_key(|pod| !pod.is_ready());
        let Some(found) = found.first() else {
            return Err(Failure::other(format!(
                "unable to retrieve Pod: no pod \"{pod}\"; `lateenctl local status` lists them"
            )));
        };
        let label = format!("{}.{}", found.name, found.namespace);
        Ok(PodPages {
            mesh: self.mesh.clone(),
            pod: label.clone(),
            port,
            label,
        })
    }

    /// A page of the control plane, and the name of its pod.
    ///
    /// # Errors
    /// When the control plane does not answer.
    pub(crate) async fn control_plane(&self, path: &str) -> Result<(String, Vec<u8>), Failure> {
        let status = self.mesh.status().await.map_err(|error| refused(&error))?;
        let is_istiod = |workload: &str| {
            workload
                .rsplit('/')
                .next()
                .is_some_and(|name| name.starts_with("istiod"))
        };
        let pod = status
            .pods
            .iter()
            .find(|pod| is_istiod(&pod.workload))
            .map_or_else(|| "istiod".to_owned(), |pod| pod.name.clone());
        let page = answer(self.mesh.istiod_http(&format!("/{path}"))).await?;
        Ok((pod, page))
    }
}

impl PodPages {
    /// `<pod>.<namespace>`.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Reads a page.
    ///
    /// # Errors
    /// When the proxy does not answer, or not with success.
    pub(crate) async fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.page(Method::GET, path).await
    }

    /// Sends a change.
    ///
    /// # Errors
    /// When the proxy does not answer, or not with success.
    pub(crate) async fn post(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.page(Method::POST, path).await
    }

    async fn page(&self, method: Method, path: &str) -> Result<Vec<u8>, Failure> {
        answer(
            self.mesh
                .page(&self.pod, self.port, method, &format!("/{path}")),
        )
        .await
    }
}

async fn answer(
    page: impl Future<Output = Result<impl AsRef<[u8]>, ClientError>>,
) -> Result<Vec<u8>, Failure> {
    page.await
        .map(|bytes| bytes.as_ref().to_vec())
        .map_err(|error| refused(&error))
}

fn refused(error: &ClientError) -> Failure {
    Failure::other(error.to_string())
}

/// A pod as people name it.
struct PodReference<'a> {
    kind: Option<&'a str>,
    /// The whole name, and the name and namespace when there is a dot in it.
    whole: &'a str,
    split: Option<(&'a str, &'a str)>,
    namespace: &'a str,
}

impl<'a> PodReference<'a> {
    fn of(text: &'a str, namespace: &'a str) -> Self {
        let (kind, whole) = text
            .split_once('/')
            .map_or((None, text), |(kind, name)| (Some(kind), name));
        Self {
            kind,
            whole,
            split: whole.rsplit_once('.'),
            namespace,
        }
    }

    /// Whether it means a pod of this name, namespace and workload (`Deployment/web`).
    fn means(&self, name: &str, namespace: &str, workload: &str) -> bool {
        let fits = |wanted: &str, in_namespace: &str| {
            let named = match self.kind {
                None | Some("pod" | "pods" | "po") => wanted == name,
                Some(kind) => workload
                    .split_once('/')
                    .is_some_and(|(of, workload)| is_kind(kind, of) && workload == wanted),
            };
            named && (in_namespace.is_empty() || in_namespace == namespace)
        };
        fits(self.whole, self.namespace)
            || self
                .split
                .is_some_and(|(wanted, namespace)| fits(wanted, namespace))
    }
}

/// Whether a kind is the one that people mean by `deploy`, `deployment` or `deployments`.
fn is_kind(said: &str, kind: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let full = match said {
        "deploy" => "deployment",
        "sts" => "statefulset",
        "ds" => "daemonset",
        "rs" => "replicaset",
        other => other.strip_suffix('s').unwrap_or(other),
    };
    full.eq_ignore_ascii_case(&kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_are_named_as_in_istioctl() {
        for (text, namespace, meant) in [
            ("web-1", "", true),
            ("web-1.shop", "", true),
            ("web-1.shop", "shop", true),
            ("web-1.other", "", false),
            ("web-1", "other", false),
            ("pod/web-1", "shop", true),
            ("deployment/web", "", true),
            ("deploy/web.shop", "", true),
            ("deployments/web", "shop", true),
            ("statefulset/web", "", false),
            ("web", "", false),
        ] {
            let reference = PodReference::of(text, namespace);
            assert_eq!(
                reference.means("web-1", "shop", "Deployment/web"),
                meant,
                "{text} in {namespace:?}"
            );
        }
    }
}
