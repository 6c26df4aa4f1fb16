//! Probes of containers, as a kubelet runs them: from outside over the bridge, or as a command inside.

use std::net::Ipv4Addr;
use std::time::Duration;

use http::Method;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, HTTPHeader, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;

use super::hook::Runner;
use crate::http::exchange;

/// Bytes of a probe's answer that are read.
const MAX_BODY: usize = 10 << 10;

/// Timings of a probe, with Kubernetes's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timing {
    pub(super) delay: Duration,
    pub(super) period: Duration,
    pub(super) timeout: Duration,
    pub(super) successes: u32,
    pub(super) failures: u32,
}

impl Timing {
    pub(super) fn of(probe: &Probe) -> Self {
        let at_least = |value: Option<i32>, least: u32, default: u32| {
            value
                .and_then(|v| u32::try_from(v).ok())
                .filter(|v| *v >= least)
                .unwrap_or(default)
        };
        let seconds =
            |value, least, default| Duration::from_secs(at_least(value, least, default).into());
        Self {
            delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 1, 10),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            successes: at_least(probe.success_threshold, 1, 1),
            failures: at_least(probe.failure_threshold, 1, 3),
        }
    }
}

/// Counts results in a row and says when the verdict changes.
#[derive(Debug)]
pub(super) struct Verdict {
    timing: Timing,
    row: u32,
    last: Option<bool>,
}

impl Verdict {
    pub(super) const fn new(timing: Timing) -> Self {
        Self {
            timing,
            row: 0,
            last: None,
        }
    }

    /// The new verdict once a result has come often enough in a row.
    pub(super) fn add(&mut self, success: bool) -> Option<bool> {
        self.row = if self.last == Some(success) {
            self.row.saturating_add(1)
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success {
            self.timing.successes
        } else {
            self.timing.failures
        };
        (self.row >= needed).then_some(success)
    }
}

/// Runs a probe once.
///
/// # Errors
/// Why it failed, for people.
pub(super) async fn check(
    probe: &Probe,
    container: &Container,
    runner: &Runner,
) -> Result<(), String> {
    let limit = Timing::of(probe).timeout;
    let result = tokio::time::timeout(limit, attempt(probe, container, runner)).await;
    result.unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
}

async fn attempt(probe: &Probe, container: &Container, runner: &Runner) -> Result<(), String> {
    if let Some(exec) = &probe.exec {
        runner.exec(exec.command.clone().unwrap_or_default()).await
    } else if let Some(get) = &probe.http_get {
        http_get(get, container, runner.ip).await
    } else if let Some(socket) = &probe.tcp_socket {
        let port = port(&socket.port, container)?;
        let host = socket
            .host
            .clone()
            .filter(|h| !h.is_empty())
            .unwrap_or_else(|| runner.ip.to_string());
        TcpStream::connect((host.as_str(), port))
            .await
            .map(drop)
            .map_err(|e| format!("{host}:{port}: {e}"))
    } else {
        Err("the probe has neither exec, httpGet nor tcpSocket".to_owned())
    }
}

/// A GET from outside the pod; any status from 200 to 399 is well.
pub(super) async fn http_get(
    get: &HTTPGetAction,
    container: &Container,
    ip: Ipv4Addr,
) -> Result<(), String> {
    let port = port(&get.port, container)?;
    let host = get
        .host
        .clone()
        .filter(|h| !h.is_empty())
        .unwrap_or_else(|| ip.to_string());
    let path = get.path.as_deref().unwrap_or("/");
    let target = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let stream = TcpStream::connect((host.as_str(), port))
        .await
        .map_err(|e| format!("{host}:{port}: {e}"))?;
    let headers = headers(
        get.http_headers.as_deref().unwrap_or_default(),
        &format!("{host}:{port}"),
    );
    let (status, _) = exchange(stream, Method::GET, &target, &headers, MAX_BODY)
        .await
        .map_err(|e| format!("{host}:{port}{target}: {e}"))?;
    if (200..400).contains(&status.as_u16()) {
        Ok(())
    } else {
        Err(format!("{host}:{port}{target} answered {status}"))
    }
}

fn headers(given: &[HTTPHeader], host: &str) -> Vec<(String, String)> {
    let has = |name: &str| given.iter().any(|h| h.name.eq_ignore_ascii_case(name));
    let own = [
        ("host", host),
        ("user-agent", "kube-probe/lateen"),
        ("accept", "*/*"),
    ];
    let own = own
        .into_iter()
        .filter(|(name, _)| !has(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    own.chain(given.iter().map(|h| (h.name.clone(), h.value.clone())))
        .collect()
}

fn port(port: &IntOrString, container: &Container) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|p| p.name.as_deref() == Some(name));
            named
                .map(|p| p.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    number
        .and_then(|n| u16::try_from(n).ok())
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("container \"{}\" has no port {port:?}", container.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_needs_results_in_a_row() {
        let probe = Probe {
            failure_threshold: Some(3),
            success_threshold: Some(2),
            ..Probe::default()
        };
        let mut verdict = Verdict::new(Timing::of(&probe));
        let results = [true, true, false, false, true, false, false, false];
        let seen: Vec<_> = results.into_iter().map(|r| verdict.add(r)).collect();
        assert_eq!(
            seen,
            [None, Some(true), None, None, None, None, None, Some(false)]
        );
    }

    #[test]
    fn defaults_are_those_of_kubernetes() {
        let timing = Timing::of(&Probe::default());
        assert_eq!(
            (
                timing.delay.as_secs(),
                timing.period.as_secs(),
                timing.timeout.as_secs()
            ),
            (0, 10, 1)
        );
        assert_eq!((timing.successes, timing.failures), (1, 3));
    }
}
