//! The overload manager: looks at resources in intervals, and what workers do about it when they accept connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lateen_proxy_agent::resident_bytes;
use lateen_proxy_listen::{Downstream, Listening};
use lateen_proxy_model::{
    FilterChain, Listener, Overload, OverloadAction, OverloadPlan, Resource, ScaledTime, ShedPoint,
};
use lateen_proxy_relay::http::Shedding;
use lateen_proxy_telemetry::{Counter, Gauge, Metrics, Stats};
use tokio::sync::watch;

use crate::data_path::Active;
use crate::worker::Worker;

/// Largest file that says a pressure.
const LONGEST: usize = 64;
/// All of an action.
const FULL: u32 = 1_000_000;

/// What one look at the resources updates.
struct Watch {
    plan: OverloadPlan,
    state: Arc<Overload>,
    pressures: Vec<(Gauge, Counter)>,
    /// Activity and strength in percent of each action, in the plan's order.
    actions: Vec<(Gauge, Gauge)>,
    points: Vec<Gauge>,
}

/// Looks at the resources from now on. Needs a runtime.
pub(crate) fn start(plan: OverloadPlan, metrics: Arc<Metrics>) -> Shedding {
    let state = Arc::new(Overload::new(&plan));
    let (changed, changes) = watch::channel(0);
    let stats = metrics.stats();
    let shedding = Shedding {
        state: Arc::clone(&state),
        changes,
        shed: ShedPoint::ALL
            .map(|point| stats.counter(&format!("overload.{}.shed_load_count", point.name()))),
    };
    let watch = Watch::new(plan, state, stats);
    if !watch.plan.monitors.is_empty() {
        tokio::spawn(watch.run(changed));
    }
    shedding
}

impl Watch {
    fn new(plan: OverloadPlan, state: Arc<Overload>, stats: &Stats) -> Self {
        let gauge = |name: &str, what: &str| stats.gauge(&format!("overload.{name}.{what}"));
        let pressures = plan.monitors.iter().map(|(name, _)| {
            let failed = stats.counter(&format!("overload.{name}.failed_updates"));
            (gauge(name, "pressure"), failed)
        });
        let actions = plan.actions.iter().map(|(action, _)| {
            let name = action.name();
            (gauge(name, "active"), gauge(name, "scale_percent"))
        });
        let points = plan.points.iter();
        Self {
            pressures: pressures.collect(),
            actions: actions.collect(),
            points: points
                .map(|(point, _)| gauge(point.name(), "scale_percent"))
                .collect(),
            plan,
            state,
        }
    }

    async fn run(self, changed: watch::Sender<u64>) {
        let mut before = Vec::new();
        loop {
            let pressures: Vec<_> = (self.plan.monitors.iter().zip(&self.pressures))
                .map(|((_, resource), (shown, failed))| {
                    let pressure = pressure(resource);
                    match pressure {
                        Some(pressure) => shown.set(percent(pressure)),
                        None => failed.inc(),
                    }
                    pressure
                })
                .collect();
            self.state.apply(&self.plan, &pressures);
            let now = self.strengths();
            if now != before {
                changed.send_modify(|count| *count = count.wrapping_add(1));
                before = now;
            }
            tokio::time::sleep(self.plan.refresh).await;
        }
    }

    /// The strengths, as statistics show them too.
    fn strengths(&self) -> Vec<u32> {
        let mut all = Vec::with_capacity(self.actions.len() + self.points.len());
        for ((action, _), (active, scale)) in self.plan.actions.iter().zip(&self.actions) {
            let strength = self.state.strength(*action);
            active.set(u64::from(strength >= FULL));
            scale.set(u64::from(strength / (FULL / 100)));
            all.push(strength);
        }
        for ((point, _), scale) in self.plan.points.iter().zip(&self.points) {
            let strength = self.state.shedding(*point);
            scale.set(u64::from(strength / (FULL / 100)));
            all.push(strength);
        }
        all
    }
}

impl Worker {
    /// The next connection; none is taken while overload says that they must wait.
    pub(crate) async fn next(
        &self,
        socket: &Listening,
        exempt: bool,
    ) -> std::io::Result<(Downstream, Option<SocketAddr>)> {
        let Some(overload) = self.blueprint.overload.as_ref().filter(|_| !exempt) else {
            return socket.accept().await;
        };
        let mut changes = overload.changes.clone();
        loop {
            changes.mark_unchanged();
            let stopped = overload.state.is_full(OverloadAction::StopConnections);
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => {}
                accepted = socket.accept(), if !stopped => return accepted,
                // Nobody looks at the resources any more.
                else => std::future::pending::<()>().await,
            }
        }
    }

    /// Counts a new connection, or closes it: too many are open, or the process is overloaded.
    pub(crate) fn let_in(&self, listener: &Listener) -> Option<Active> {
        let active = &self.blueprint.active;
        let Some(overload) = &self.blueprint.overload else {
            return Some(Active::new(active));
        };
        let rejected = !listener.exempt.overload
            && (overload.sheds(ShedPoint::Accept)
                || overload.hits(OverloadAction::RejectConnections));
        if rejected {
            self.count(listener, "downstream_cx_overload_reject");
            return None;
        }
        let most = overload.state.max_connections();
        match most.filter(|_| !listener.exempt.connection_limit) {
            None => Some(Active::new(active)),
            Some(most) => {
                let counted = Active::within(active, most);
                if counted.is_none() {
                    self.count(listener, "downstream_global_cx_overflow");
                }
                counted
            }
        }
    }

    /// Time for a TLS handshake.
    pub(crate) fn handshake_time(
        &self,
        chain: &FilterChain,
        listener: &Listener,
    ) -> Option<Duration> {
        let overload = self.blueprint.overload.as_ref();
        let overload = overload.filter(|_| !listener.exempt.overload);
        let time = chain.handshake_timeout?;
        Some(match overload {
            Some(overload) => overload.state.time(ScaledTime::Handshake, time),
            None => time,
        })
    }
}

/// The pressure of a resource, 0 to 1; `None` when it cannot be read.
fn pressure(resource: &Resource) -> Option<f64> {
    match resource {
        #[allow(clippy::cast_precision_loss, reason = "a share")]
        Resource::Heap(most) => match resident_bytes() {
            0 => None,
            held => Some(held as f64 / *most as f64),
        },
        Resource::Injected(path) => {
            let text = std::fs::read_to_string(path).ok()?;
            let text = text.get(..text.len().min(LONGEST))?;
            let pressure = text.trim().parse::<f64>().ok()?;
            (0.0..=1.0).contains(&pressure).then_some(pressure)
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a percentage"
)]
fn percent(pressure: f64) -> u64 {
    (pressure * 100.0) as u64
}
