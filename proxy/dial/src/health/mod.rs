//! Active health checks. They run on the runtime of the chores, a task an endpoint, never on workers; what they find is
//! in [`Endpoint::found`] and in the plans that are made after each change.

mod event;
mod http;
mod judge;
mod tcp;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lateen_proxy_model::{ActiveHealth, CheckKind, Cluster, Endpoint, HealthCheck, Prepare};
use lateen_proxy_state::State;
use tokio::task::AbortHandle;

use crate::connect::Plan;
use judge::{Finding, Judge, Verdict};

/// Longest wait for news of clusters.
const LOOK: Duration = Duration::from_secs(1);

/// Checks every cluster of `state` that asks for it, for ever. `prepare` makes plans after changes of health.
pub async fn check_health(state: Arc<State>, prepare: Arc<dyn Prepare>) {
    let mut checkers = Checkers {
        state,
        prepare,
        sessions: HashMap::new(),
    };
    loop {
        checkers.follow();
        let news = checkers.state.changed().notified();
        // Whoever was told too early is looked at again.
        let _ = tokio::time::timeout(LOOK, news).await;
    }
}

struct Checkers {
    state: Arc<State>,
    prepare: Arc<dyn Prepare>,
    sessions: HashMap<(Arc<str>, u64), Session>,
}

/// The checks of one endpoint; they end with it.
struct Session {
    subject: Arc<Mutex<Subject>>,
    check: Arc<HealthCheck>,
    task: AbortHandle,
}

/// What is checked, as it is described now.
#[derive(Clone)]
struct Subject {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Checkers {
    /// Starts checks of new endpoints and ends those of others.
    fn follow(&mut self) {
        let mut seen = HashSet::new();
        let clusters = self.state.clusters();
        for cluster in clusters.matching(|cluster| cluster.health_check.is_some()) {
            let Some(check) = cluster.health_check.clone() else {
                continue;
            };
            let set = cluster.endpoints().and_then(|slot| slot.load_full());
            for endpoint in set.iter().flat_map(|set| set.iter()) {
                if endpoint.check.as_ref().is_some_and(|own| own.disabled) {
                    continue;
                }
                let key = (Arc::clone(&cluster.name), endpoint.id);
                seen.insert(key.clone());
                let subject = Subject {
                    cluster: Arc::clone(&cluster),
                    endpoint: Arc::clone(endpoint),
                };
                match self.sessions.get(&key) {
                    Some(session) if Arc::ptr_eq(&session.check, &check) => {
                        *lock(&session.subject) = subject;
                    }
                    _ => {
                        let session = self.start(subject, Arc::clone(&check));
                        self.sessions.insert(key, session);
                    }
                }
            }
        }
        self.sessions.retain(|key, _| seen.contains(key));
    }

    fn start(&self, subject: Subject, check: Arc<HealthCheck>) -> Session {
        let subject = Arc::new(Mutex::new(subject));
        let task = tokio::spawn(run(
            Arc::clone(&self.state),
            Arc::clone(&self.prepare),
            Arc::clone(&subject),
            Arc::clone(&check),
        ));
        Session {
            subject,
            check,
            task: task.abort_handle(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection that serves more than one check.
enum Kept {
    None,
    Http(Box<http::Client>),
    Tcp(Box<tcp::Open>),
}

async fn run(
    state: Arc<State>,
    prepare: Arc<dyn Prepare>,
    subject: Arc<Mutex<Subject>>,
    check: Arc<HealthCheck>,
) {
    let mut judge = Judge::default();
    let mut kept = Kept::None;
    if let Some(jitter) = check.times.initial_jitter {
        tokio::time::sleep(jitter.mul_f64(fastrand::f64())).await;
    }
    loop {
        let Subject { cluster, endpoint } = lock(&subject).clone();
        bump(&cluster.shared.checks().attempt);
        let asked = ask(&cluster, &endpoint, &check, &mut kept);
        let finding = match tokio::time::timeout(check.times.timeout, asked).await {
            Ok(finding) => finding,
            Err(_) => Finding::TimedOut,
        };
        if !check.reuse_connection || !matches!(finding, Finding::Well { .. }) {
            kept = Kept::None;
        }
        // The endpoint may have been described anew meanwhile.
        let now = lock(&subject).clone();
        let verdict = judge.take(&check, &now.endpoint, finding);
        count(&now.cluster, finding);
        if matches!(finding, Finding::Well { .. })
            && !now.endpoint.found.has(ActiveHealth::FAILED)
            && now
                .cluster
                .outlier
                .as_ref()
                .is_some_and(|it| it.uneject_by_check)
        {
            prepare.uneject(&now.cluster, &now.endpoint);
        }
        if verdict.changed {
            prepare.prepare(&now.cluster);
            state.drop_left(&now.cluster);
            state.checked().notify_one();
        }
        event::log(&check, &now.cluster, &now.endpoint, &verdict);
        tokio::time::sleep(wait(&check, &now.cluster, &verdict)).await;
    }
}

async fn ask(
    cluster: &Arc<Cluster>,
    endpoint: &Arc<Endpoint>,
    check: &Arc<HealthCheck>,
    kept: &mut Kept,
) -> Finding {
    match &check.kind {
        CheckKind::Http(settings) => {
            http::ask(&plan(cluster, endpoint, check), settings, kept).await
        }
        CheckKind::Grpc(settings) => {
            http::ask_grpc(&plan(cluster, endpoint, check), settings, kept).await
        }
        CheckKind::Tcp(settings) => tcp::ask(&plan(cluster, endpoint, check), settings, kept).await,
    }
}

/// How the endpoint is reached for a check.
fn plan(cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>, check: &Arc<HealthCheck>) -> Plan {
    let own = endpoint.check.as_deref();
    let mut address = own.and_then(|own| own.address).unwrap_or(endpoint.address);
    let port = own.map(|own| own.port).filter(|port| *port > 0);
    if own.is_none_or(|own| own.address.is_none())
        && let Some(port) = port
    {
        address = SocketAddr::new(address.ip(), port);
    }
    Plan {
        cluster: Arc::clone(cluster),
        endpoint: Arc::clone(endpoint),
        version: None,
        istio_alpn: false,
        host: None,
        downstream: None,
        source: None,
        address: Some(address),
        alpn: (!check.alpn.is_empty()).then(|| check.alpn.clone()),
        criteria: Some(Arc::clone(check)),
    }
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn count(cluster: &Cluster, finding: Finding) {
    let stats = cluster.shared.checks();
    match finding {
        Finding::Well { .. } => bump(&stats.success),
        Finding::Network | Finding::TimedOut => {
            bump(&stats.failure);
            bump(&stats.network_failure);
        }
        Finding::WrongService => {
            bump(&stats.failure);
            bump(&stats.verify_cluster);
        }
        Finding::Refused { .. } => bump(&stats.failure),
    }
}

/// The time until the next check.
fn wait(check: &HealthCheck, cluster: &Cluster, verdict: &Verdict) -> Duration {
    let times = &check.times;
    let used = cluster.shared.used.load(Ordering::Relaxed) > 0;
    let base = match (used, verdict.well, verdict.edge) {
        (false, true, _) => times.no_traffic_healthy,
        (false, false, _) => times.no_traffic,
        (true, true, false) => times.interval,
        (true, true, true) => times.healthy_edge,
        (true, false, false) => times.unhealthy,
        (true, false, true) => times.unhealthy_edge,
    };
    let percent = f64::from(times.interval_jitter_percent) / 100.0;
    let more = times.interval_jitter.unwrap_or_default();
    base + base.mul_f64(percent * fastrand::f64()) + more.mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
