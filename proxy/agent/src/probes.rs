//! The application's probes and lifecycle hooks, which injection turned to the agent (contract/inject.md §6).

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::{Method, Request, StatusCode};
use serde::Deserialize;
use thiserror::Error;

use crate::fetch::{Fetch, connect};
use crate::grpc_health;
use crate::serve::{Answer, text};

/// Most bytes of a probe's answer that are passed on.
const MAX_BODY: usize = 10 * 1024;

/// All rewritten probes of the pod, by path.
#[derive(Clone, Debug, Default)]
pub struct Probers {
    by_path: BTreeMap<String, Prober>,
}

/// `ISTIO_KUBE_APP_PROBERS` that cannot be used.
#[derive(Debug, Error)]
pub enum ProbersError {
    /// No JSON of the expected form.
    #[error("ISTIO_KUBE_APP_PROBERS is not a JSON map of probes: {0}")]
    Json(#[from] serde_json::Error),
    /// An entry that no probe of a pod can give.
    #[error("ISTIO_KUBE_APP_PROBERS: `{path}` {reason}")]
    Entry {
        /// Path of the entry.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Where probes go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    /// The pod's address, or localhost.
    pub(crate) address: IpAddr,
    /// Port of the agent, which callers have in their `Host`.
    pub(crate) status_port: u16,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Prober {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<Grpc>,
    #[serde(default)]
    timeout_seconds: u32,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    #[serde(default)]
    host: String,
    #[serde(default)]
    scheme: String,
    /// The kubelet sends them itself: the rewritten probe keeps them.
    #[serde(default)]
    #[expect(dead_code, reason = "known, so that deny_unknown_fields lets it pass")]
    http_headers: Vec<serde_json::Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TcpSocket {
    port: u16,
    #[serde(default)]
    host: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Grpc {
    port: u16,
    service: Option<String>,
}

impl Probers {
    /// Reads the variable; `None` means no probes.
    ///
    /// # Errors
    /// When it is no JSON map of probes, or an entry has not exactly one kind of probe.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, ProbersError> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let by_path: BTreeMap<String, Prober> = serde_json::from_str(text)?;
        for (path, prober) in &by_path {
            let wrong = |reason| ProbersError::Entry {
                path: path.clone(),
                reason,
            };
            if !path.starts_with("/app-health/") && !path.starts_with("/app-lifecycle/") {
                return Err(wrong("is no path of a rewritten probe"));
            }
            let kinds = [
                prober.http_get.is_some(),
                prober.tcp_socket.is_some(),
                prober.grpc.is_some(),
            ];
            if kinds.into_iter().filter(|given| *given).count() != 1 {
                return Err(wrong("needs exactly one of httpGet, tcpSocket and grpc"));
            }
        }
        Ok(Self { by_path })
    }

    /// True for a path that only this answers.
    pub(crate) fn is_probe(path: &str) -> bool {
        path.starts_with("/app-health/") || path.starts_with("/app-lifecycle/")
    }

    /// Runs the probe that the request's path names: the application's own answer, 500 if it gives none, 400 if there is no
    /// such probe.
    pub(crate) async fn run(&self, request: &Request<Bytes>, target: Target) -> Answer {
        let Some(prober) = self.by_path.get(request.uri().path()) else {
            return text(
                StatusCode::BAD_REQUEST,
                "no probe of this pod has this path\n",
            );
        };
        let timeout = Duration::from_secs(u64::from(prober.timeout_seconds.max(1)));
        match prober {
            Prober {
                http_get: Some(http),
                ..
            } => http.run(request, target, timeout).await,
            Prober {
                tcp_socket: Some(tcp),
                ..
            } => {
                let host = host_or(&tcp.host, target.address);
                outcome(
                    within(timeout, async {
                        connect(&host, tcp.port, Some(probe_source)).await.map(drop)
                    })
                    .await,
                )
            }
            Prober {
                grpc: Some(grpc), ..
            } => {
                let service = grpc.service.clone().unwrap_or_default();
                let host = target.address.to_string();
                outcome(within(timeout, grpc_health::check(&host, grpc.port, service)).await)
            }
            _ => text(StatusCode::INTERNAL_SERVER_ERROR, "probe of unknown kind\n"),
        }
    }
}

impl HttpGet {
    async fn run(&self, request: &Request<Bytes>, target: Target, timeout: Duration) -> Answer {
        let host = host_or(&self.host, target.address);
        let path = if self.path.starts_with('/') {
            self.path.clone()
        } else {
            format!("/{}", self.path)
        };
        let mut fetch = Fetch::get(&host, self.port, &path, timeout);
        fetch.method = Method::GET;
        fetch.headers = request.headers().clone();
        for name in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
            fetch.headers.remove(name);
        }
        rewrite_host(&mut fetch.headers, target.status_port, self.port);
        fetch.tls = self.scheme.eq_ignore_ascii_case("https");
        fetch.from = Some(probe_source);
        (fetch.max_body, fetch.cut) = (MAX_BODY, true);
        match fetch.send().await {
            // The kubelet takes a redirect for health: where it leads is not the probe's business.
            Ok(fetched) if fetched.status.is_redirection() => text(StatusCode::OK, fetched.body),
            Ok(fetched) => text(fetched.status, fetched.body),
            Err(error) => failure(&error.to_string()),
        }
    }
}

/// Probes come from an address that the redirect rules leave alone.
fn probe_source(to: IpAddr) -> IpAddr {
    match to {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(127, 0, 0, 6)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6)),
    }
}

/// The caller's `Host` names the agent's port where the application expects its own.
fn rewrite_host(headers: &mut http::HeaderMap, status_port: u16, port: u16) {
    let suffix = format!(":{status_port}");
    let rewritten = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .and_then(|host| host.strip_suffix(&suffix))
        .map(|host| format!("{host}:{port}"));
    if let Some(value) = rewritten.and_then(|host| HeaderValue::try_from(host).ok()) {
        headers.insert(HOST, value);
    }
}

fn host_or(host: &str, address: IpAddr) -> String {
    if host.is_empty() || host == "localhost" && !address.is_loopback() {
        address.to_string()
    } else {
        host.to_owned()
    }
}

async fn within<E: std::fmt::Display>(
    timeout: Duration,
    probe: impl Future<Output = Result<(), E>>,
) -> Result<(), String> {
    match tokio::time::timeout(timeout, probe).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

fn outcome(result: Result<(), String>) -> Answer {
    match result {
        Ok(()) => text(StatusCode::OK, ""),
        Err(error) => failure(&error),
    }
}

fn failure(error: &str) -> Answer {
    tracing::debug!(error, "application probe failed");
    text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))
}

#[cfg(test)]
mod tests {
    use super::{Probers, rewrite_host};

    #[test]
    fn the_variable_is_read_strictly() {
        let good = r#"{"/app-health/reviews/livez":{"httpGet":{"path":"/health","port":9080,"scheme":"HTTP"},"timeoutSeconds":1},
            "/app-health/reviews/readyz":{"grpc":{"port":9081,"service":null}}}"#;
        assert_eq!(Probers::parse(Some(good)).expect("reads").by_path.len(), 2);
        for (bad, part) in [
            (r#"{"/other":{"tcpSocket":{"port":1}}}"#, "/other"),
            (r#"{"/app-health/a/livez":{}}"#, "exactly one"),
            (r#"{"/app-health/a/livez":{"exec":{}}}"#, "exec"),
            (
                r#"{"/app-health/a/livez":{"tcpSocket":{"port":"http"}}}"#,
                "port",
            ),
        ] {
            let error = Probers::parse(Some(bad)).expect_err(bad).to_string();
            assert!(
                error.contains("ISTIO_KUBE_APP_PROBERS")
                    && (error.contains(part) || part == "port"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_agents_port_becomes_the_applications() {
        for (host, expected) in [
            ("10.1.0.7:15020", "10.1.0.7:9080"),
            ("app.example", "app.example"),
            ("[::1]:15020", "[::1]:9080"),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert("host", host.parse().expect("value"));
            rewrite_host(&mut headers, 15020, 9080);
            assert_eq!(headers["host"], expected);
        }
    }
}
