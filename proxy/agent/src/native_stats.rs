//! Statistics that are derived when somebody looks: nothing counts them twice.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use lateen_proxy_state::{ResourceKind, State};
use lateen_proxy_telemetry::Stats;

use crate::certificate::{IDENTITY, validity};

const SECONDS_A_DAY: u64 = 86_400;

/// Brings the statistics of clusters, listeners and server up to date before a page is rendered.
pub fn refresh_stats(state: &State, stats: &Stats) {
    let readiness = state.readiness();
    for (kind, prefix) in [
        (ResourceKind::Cluster, "cluster_manager.cds"),
        (ResourceKind::Listener, "listener_manager.lds"),
    ] {
        let counts = readiness.counts(kind);
        for (name, value) in [
            ("update_success", counts.success),
            ("update_rejected", counts.rejected),
            ("update_attempt", counts.attempt),
            ("update_failure", counts.failure),
            ("init_fetch_timeout", counts.timeout),
        ] {
            let counter = stats.counter(&format!("{prefix}.{name}"));
            counter.add(value.saturating_sub(counter.value()));
        }
    }
    stats
        .gauge("control_plane.connected_state")
        .set(u64::from(readiness.is_connected()));
    let waiting = readiness.waiting();
    let warming = |of| waiting.iter().filter(|(kind, _)| *kind == of).count() as u64;
    stats
        .gauge("cluster_manager.warming_clusters")
        .set(warming(ResourceKind::Cluster));
    stats
        .gauge("listener_manager.total_listeners_warming")
        .set(warming(ResourceKind::Listener));
    let gauge = |name: &str, value: usize| {
        stats
            .gauge(name)
            .set(u64::try_from(value).unwrap_or(u64::MAX))
    };
    gauge(
        "cluster_manager.active_clusters",
        state.resources().names(ResourceKind::Cluster).len(),
    );
    gauge(
        "listener_manager.total_listeners_active",
        state.resources().names(ResourceKind::Listener).len(),
    );
    stats.gauge("server.live").set(1);
    stats.gauge("server.uptime").set(uptime_seconds());
    stats
        .gauge("server.memory_physical_size")
        .set(resident_bytes());
    if let Some(identity) = &*state.secrets().identity(IDENTITY).load() {
        let ends = identity
            .chain
            .first()
            .and_then(|leaf| validity(leaf).ok())
            .map(|span| span.not_after);
        let left = ends
            .and_then(|ends| ends.duration_since(SystemTime::now()).ok())
            .unwrap_or_default();
        stats
            .gauge("server.days_until_first_cert_expiring")
            .set(left.as_secs() / SECONDS_A_DAY);
    }
}

/// Seconds since the first look, which the composition takes at the start.
pub(crate) fn uptime_seconds() -> u64 {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    STARTED.get_or_init(Instant::now).elapsed().as_secs()
}

/// Memory of the process that is resident, as the kernel counts it; 0 where it does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().split(' ').next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default().saturating_mul(1024)
}
