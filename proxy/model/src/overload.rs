//! What is done when the process runs short of something: resources, triggers and actions. Envoy's overload manager.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// All of an action, in parts per million.
const FULL: u32 = 1_000_000;

/// What a bootstrap says of overload.
#[derive(Clone, Debug)]
pub struct OverloadPlan {
    /// Time between looks at the resources.
    pub refresh: Duration,
    /// Resources that are looked at, with their names.
    pub monitors: Vec<(Box<str>, Resource)>,
    /// Actions and what triggers them.
    pub actions: Vec<(OverloadAction, Vec<Trigger>)>,
    /// Places that shed, and what triggers them.
    pub points: Vec<(ShedPoint, Vec<Trigger>)>,
    /// Times that [`OverloadAction::ReduceTimeouts`] shortens.
    pub timers: Vec<(ScaledTime, LeastTime)>,
    /// Downstream connections of the process; more are closed at once.
    pub max_connections: Option<u64>,
}

/// A resource whose pressure is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory of the process, against this many bytes.
    Heap(u64),
    /// The pressure that a file says.
    Injected(PathBuf),
}

/// When a pressure counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trigger {
    /// Place of the resource among [`OverloadPlan::monitors`].
    pub monitor: usize,
    /// The rule.
    pub rule: TriggerRule,
}

/// How a pressure becomes the strength of an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TriggerRule {
    /// Fully from this pressure on.
    Threshold(f64),
    /// Growing from the first pressure to the second.
    Scaled(f64, f64),
}

/// What may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverloadAction {
    /// Requests are answered 503.
    StopRequests,
    /// Connections wait in the kernel.
    StopConnections,
    /// Connections are closed once accepted.
    RejectConnections,
    /// Connections end with their current request.
    DisableKeepalive,
    /// Time limits shrink.
    ReduceTimeouts,
    /// Memory that is not needed is given back.
    ShrinkHeap,
}

/// A place that refuses work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShedPoint {
    /// Connections are closed once accepted.
    Accept,
    /// Connections are closed before HTTP begins on them.
    Codec,
    /// Requests are answered 503.
    Request,
}

/// A time limit that may shrink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaledTime {
    /// Of connections without streams.
    ConnectionIdle,
    /// Of streams without a byte.
    StreamIdle,
    /// Of TLS handshakes.
    Handshake,
    /// Of connections as a whole.
    ConnectionLife,
}

/// How far a time limit shrinks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LeastTime {
    /// To this time.
    Time(Duration),
    /// To this share of it, 0 to 1.
    Share(f64),
}

/// How overloaded the process is, read by all workers.
#[derive(Debug)]
pub struct Overload {
    actions: [AtomicU32; OverloadAction::ALL.len()],
    points: [AtomicU32; ShedPoint::ALL.len()],
    timers: Vec<(ScaledTime, LeastTime)>,
    max_connections: Option<u64>,
}

impl OverloadAction {
    /// Every action.
    pub const ALL: [Self; 6] = [
        Self::StopRequests,
        Self::StopConnections,
        Self::RejectConnections,
        Self::DisableKeepalive,
        Self::ReduceTimeouts,
        Self::ShrinkHeap,
    ];

    /// Envoy's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StopRequests => "envoy.overload_actions.stop_accepting_requests",
            Self::StopConnections => "envoy.overload_actions.stop_accepting_connections",
            Self::RejectConnections => "envoy.overload_actions.reject_incoming_connections",
            Self::DisableKeepalive => "envoy.overload_actions.disable_http_keepalive",
            Self::ReduceTimeouts => "envoy.overload_actions.reduce_timeouts",
            Self::ShrinkHeap => "envoy.overload_actions.shrink_heap",
        }
    }
}

impl ShedPoint {
    /// Every place.
    pub const ALL: [Self; 3] = [Self::Accept, Self::Codec, Self::Request];

    /// Envoy's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "envoy.load_shed_points.tcp_listener_accept",
            Self::Codec => "envoy.load_shed_points.hcm_ondata_creating_codec",
            Self::Request => "envoy.load_shed_points.http_connection_manager_decode_headers",
        }
    }
}

impl TriggerRule {
    /// The strength for a pressure, in parts per million.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0 to 1"
    )]
    fn strength(self, pressure: f64) -> u32 {
        match self {
            Self::Threshold(from) if pressure >= from => FULL,
            Self::Threshold(_) => 0,
            Self::Scaled(from, _) if pressure <= from => 0,
            Self::Scaled(_, full) if pressure >= full => FULL,
            Self::Scaled(from, full) => {
                ((pressure - from) / (full - from) * f64::from(FULL)) as u32
            }
        }
    }
}

impl Overload {
    /// Nothing is short yet.
    pub fn new(plan: &OverloadPlan) -> Self {
        Self {
            actions: Default::default(),
            points: Default::default(),
            timers: plan.timers.clone(),
            max_connections: plan.max_connections,
        }
    }

    /// Takes new pressures, in the order of the plan's monitors; `None` leaves what was.
    pub fn apply(&self, plan: &OverloadPlan, pressures: &[Option<f64>]) {
        for (action, triggers) in &plan.actions {
            if let Some(strength) = strength(triggers, pressures) {
                self.actions[*action as usize].store(strength, Ordering::Relaxed);
            }
        }
        for (point, triggers) in &plan.points {
            if let Some(strength) = strength(triggers, pressures) {
                self.points[*point as usize].store(strength, Ordering::Relaxed);
            }
        }
    }

    /// How strong an action is, in parts per million.
    pub fn strength(&self, action: OverloadAction) -> u32 {
        self.actions[action as usize].load(Ordering::Relaxed)
    }

    /// How strong the shedding at a place is, in parts per million.
    pub fn shedding(&self, point: ShedPoint) -> u32 {
        self.points[point as usize].load(Ordering::Relaxed)
    }

    /// Whether an action is at its full strength.
    pub fn is_full(&self, action: OverloadAction) -> bool {
        self.strength(action) >= FULL
    }

    /// Whether an action takes this one; `draw` gives even draws of `0..1_000_000`.
    pub fn hits(&self, action: OverloadAction, draw: impl FnOnce() -> u32) -> bool {
        holds(self.strength(action), draw)
    }

    /// Whether a place sheds this one.
    pub fn sheds(&self, point: ShedPoint, draw: impl FnOnce() -> u32) -> bool {
        holds(self.shedding(point), draw)
    }

    /// Most downstream connections of the process.
    pub fn max_connections(&self) -> Option<u64> {
        self.max_connections
    }

    /// Whether time limits may shrink at all.
    pub fn scales_times(&self) -> bool {
        !self.timers.is_empty()
    }

    /// A time limit as it is now.
    pub fn time(&self, which: ScaledTime, limit: Duration) -> Duration {
        let strength = self.strength(OverloadAction::ReduceTimeouts);
        let known = self.timers.iter().find(|(own, _)| *own == which);
        let Some((_, least)) = known.filter(|_| strength > 0) else {
            return limit;
        };
        let least = match *least {
            LeastTime::Time(time) => time,
            LeastTime::Share(share) => limit.mul_f64(share.clamp(0.0, 1.0)),
        };
        let spare = limit.saturating_sub(least);
        let kept = f64::from(FULL.saturating_sub(strength)) / f64::from(FULL);
        limit.min(least.saturating_add(spare.mul_f64(kept)))
    }
}

fn holds(strength: u32, draw: impl FnOnce() -> u32) -> bool {
    strength > 0 && draw() < strength
}

/// The strongest of the triggers; `None` when none of them has news.
fn strength(triggers: &[Trigger], pressures: &[Option<f64>]) -> Option<u32> {
    triggers
        .iter()
        .filter_map(|trigger| {
            let pressure = pressures.get(trigger.monitor).copied().flatten()?;
            Some(trigger.rule.strength(pressure))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> OverloadPlan {
        let trigger = |rule| vec![Trigger { monitor: 0, rule }];
        OverloadPlan {
            refresh: Duration::from_secs(1),
            monitors: vec![("m".into(), Resource::Heap(1))],
            actions: vec![
                (
                    OverloadAction::StopRequests,
                    trigger(TriggerRule::Threshold(0.9)),
                ),
                (
                    OverloadAction::ReduceTimeouts,
                    trigger(TriggerRule::Scaled(0.5, 0.9)),
                ),
            ],
            points: vec![(ShedPoint::Accept, trigger(TriggerRule::Threshold(0.8)))],
            timers: vec![
                (
                    ScaledTime::ConnectionIdle,
                    LeastTime::Time(Duration::from_secs(2)),
                ),
                (ScaledTime::StreamIdle, LeastTime::Share(0.1)),
            ],
            max_connections: None,
        }
    }

    #[test]
    fn pressures_become_strengths() {
        let plan = plan();
        let overload = Overload::new(&plan);
        overload.apply(&plan, &[Some(0.7)]);
        assert!(!overload.hits(OverloadAction::StopRequests, || 0));
        assert!(
            overload
                .strength(OverloadAction::ReduceTimeouts)
                .abs_diff(500_000)
                < 2
        );
        overload.apply(&plan, &[Some(0.9)]);
        assert!(overload.hits(OverloadAction::StopRequests, || 999_999));
        assert!(overload.sheds(ShedPoint::Accept, || 999_999));
        // A resource that cannot be read leaves what was.
        overload.apply(&plan, &[None]);
        assert!(overload.is_full(OverloadAction::StopRequests));
        overload.apply(&plan, &[Some(0.0)]);
        assert!(!overload.hits(OverloadAction::StopRequests, || 0));
    }

    #[test]
    fn times_shrink_to_their_least() {
        let plan = plan();
        let overload = Overload::new(&plan);
        let hour = Duration::from_secs(3600);
        assert_eq!(overload.time(ScaledTime::ConnectionIdle, hour), hour);
        overload.apply(&plan, &[Some(1.0)]);
        let two = Duration::from_secs(2);
        assert_eq!(overload.time(ScaledTime::ConnectionIdle, hour), two);
        assert_eq!(overload.time(ScaledTime::StreamIdle, hour).as_secs(), 360);
        assert_eq!(overload.time(ScaledTime::Handshake, hour), hour);
        let short = Duration::from_secs(1);
        assert_eq!(overload.time(ScaledTime::ConnectionIdle, short), short);
    }
}
