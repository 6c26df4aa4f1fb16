//! From the pods there should be and the pods there are to the next steps: what Kubernetes's controllers do.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::images::Program;
use crate::pod::{Phase, PodKey, WorkloadKey};

/// Failed pods of a Job that are replaced before it counts as failed, as Kubernetes has it.
pub(crate) const JOB_RETRIES: usize = 6;

/// How pods of another revision are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strategy {
    /// New ones first, within bounds (Deployment, DaemonSet).
    Rolling {
        /// Pods above the wanted number.
        surge: usize,
        /// Pods below the wanted number that need not be available.
        unavailable: usize,
    },
    /// Old ones end before new ones start (Deployment `Recreate`, Pod).
    Recreate,
    /// Old ones stay (ReplicaSet).
    Keep,
    /// One name a pod, replaced one by one from the last (StatefulSet); `parallel` starts them all at once.
    Ordinal {
        /// `podManagementPolicy: Parallel`.
        parallel: bool,
    },
    /// Until this many pods have ended well (Job).
    Completions {
        /// Pods that must end well.
        wanted: usize,
        /// Failed pods that are replaced.
        retries: usize,
    },
}

/// Pods that should run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkloadPlan {
    /// What they are made from.
    pub key: WorkloadKey,
    /// Fingerprint of template and programs.
    pub revision: String,
    /// How many at a time.
    pub replicas: usize,
    /// How they are replaced.
    pub strategy: Strategy,
    /// Seconds a pod must be ready to count as available.
    pub min_ready_seconds: u64,
    /// The pod, injected, without name and uid.
    pub template: Pod,
    /// Program of each container.
    pub programs: BTreeMap<String, Program>,
}

/// What a controller sees of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PodView {
    /// Its key.
    pub key: PodKey,
    /// Its revision.
    pub revision: String,
    /// Ready, and long enough.
    pub available: bool,
    /// It is ending.
    pub deleting: bool,
    /// Its phase.
    pub phase: Phase,
}

/// A next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Start a pod, with this name if it has one.
    Create(Option<String>),
    /// End a pod.
    Delete(PodKey),
}

/// The next steps towards the plan.
#[must_use]
pub(crate) fn next_steps(plan: &WorkloadPlan, pods: &[PodView]) -> Vec<Step> {
    match plan.strategy {
        Strategy::Rolling { surge, unavailable } => rolling(plan, pods, surge, unavailable),
        Strategy::Recreate => recreate(plan, pods),
        Strategy::Keep => {
            let live: Vec<&PodView> = pods.iter().filter(|p| !p.deleting).collect();
            scale(plan.replicas, &live, live.len())
        }
        Strategy::Ordinal { parallel } => ordinal(plan, pods, parallel),
        Strategy::Completions { wanted, retries } => job(plan, pods, wanted, retries),
    }
}

fn rolling(plan: &WorkloadPlan, pods: &[PodView], surge: usize, unavailable: usize) -> Vec<Step> {
    let live: Vec<&PodView> = pods.iter().filter(|p| !p.deleting).collect();
    let (new, mut old): (Vec<&PodView>, Vec<&PodView>) =
        live.iter().partition(|p| p.revision == plan.revision);
    let room = (plan.replicas + surge).saturating_sub(live.len());
    let mut steps = if new.len() > plan.replicas {
        scale(plan.replicas, &new, new.len())
    } else {
        vec![Step::Create(None); plan.replicas.saturating_sub(new.len()).min(room)]
    };
    let mut available = live.iter().filter(|p| p.available).count();
    let least = plan.replicas.saturating_sub(unavailable);
    old.sort_by_key(|p| p.available);
    for pod in old {
        if pod.available {
            if available <= least {
                break;
            }
            available -= 1;
        }
        steps.push(Step::Delete(pod.key.clone()));
    }
    steps
}

fn recreate(plan: &WorkloadPlan, pods: &[PodView]) -> Vec<Step> {
    let old: Vec<&PodView> = pods
        .iter()
        .filter(|p| p.revision != plan.revision)
        .collect();
    if !old.is_empty() {
        return old
            .iter()
            .filter(|p| !p.deleting)
            .map(|p| Step::Delete(p.key.clone()))
            .collect();
    }
    let fixed_name = plan.template.metadata.name.is_some();
    let live: Vec<&PodView> = pods.iter().filter(|p| !p.deleting).collect();
    // A pod with a name of its own can only come back when the one before has gone.
    let present = if fixed_name { pods.len() } else { live.len() };
    scale(plan.replicas, &live, present)
}

/// More or fewer equal pods; those that are not available go first.
fn scale(wanted: usize, live: &[&PodView], present: usize) -> Vec<Step> {
    if present < wanted {
        return vec![Step::Create(None); wanted - present];
    }
    let mut sorted = live.to_vec();
    sorted.sort_by_key(|p| p.available);
    sorted
        .iter()
        .take(live.len().saturating_sub(wanted))
        .map(|p| Step::Delete(p.key.clone()))
        .collect()
}

fn ordinal(plan: &WorkloadPlan, pods: &[PodView], parallel: bool) -> Vec<Step> {
    let name = |index: usize| format!("{}-{index}", plan.key.name);
    let names: Vec<String> = (0..plan.replicas).map(name).collect();
    let surplus = pods
        .iter()
        .filter(|p| !p.deleting && !names.contains(&p.key.name));
    if let Some(last) = surplus.max_by_key(|p| p.key.name.clone()) {
        return vec![Step::Delete(last.key.clone())];
    }
    let mut creates = Vec::new();
    for name in &names {
        let pod = pods.iter().find(|p| p.key.name == *name);
        if pod.is_none() {
            creates.push(Step::Create(Some(name.clone())));
        }
        if !parallel && pod.is_none_or(|p| !p.available || p.deleting) {
            return creates;
        }
    }
    if !creates.is_empty()
        || pods
            .iter()
            .any(|p| p.deleting || !p.available && p.revision == plan.revision)
    {
        return creates;
    }
    let outdated = names.iter().rev().find_map(|n| {
        pods.iter()
            .find(|p| p.key.name == *n && p.revision != plan.revision)
    });
    outdated
        .map(|p| vec![Step::Delete(p.key.clone())])
        .unwrap_or_default()
}

fn job(plan: &WorkloadPlan, pods: &[PodView], wanted: usize, retries: usize) -> Vec<Step> {
    let count = |phase: Phase| pods.iter().filter(|p| p.phase == phase).count();
    let (done, failed) = (count(Phase::Succeeded), count(Phase::Failed));
    let running = pods
        .iter()
        .filter(|p| !p.deleting && matches!(p.phase, Phase::Pending | Phase::Running))
        .count();
    if failed > retries {
        return Vec::new();
    }
    let missing = wanted
        .saturating_sub(done + running)
        .min(plan.replicas.saturating_sub(running));
    vec![Step::Create(None); missing]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(replicas: usize, strategy: Strategy) -> WorkloadPlan {
        let key = WorkloadKey {
            kind: "Deployment".to_owned(),
            namespace: "n".to_owned(),
            name: "w".to_owned(),
        };
        WorkloadPlan {
            key,
            revision: "new".to_owned(),
            replicas,
            strategy,
            min_ready_seconds: 0,
            template: Pod::default(),
            programs: BTreeMap::new(),
        }
    }

    fn pod(name: &str, revision: &str, available: bool) -> PodView {
        let key = PodKey {
            namespace: "n".to_owned(),
            name: name.to_owned(),
        };
        PodView {
            key,
            revision: revision.to_owned(),
            available,
            deleting: false,
            phase: Phase::Running,
        }
    }

    fn delete(name: &str) -> Step {
        Step::Delete(PodKey {
            namespace: "n".to_owned(),
            name: name.to_owned(),
        })
    }

    const ROLL: Strategy = Strategy::Rolling {
        surge: 1,
        unavailable: 0,
    };

    #[test]
    fn an_old_pod_ends_only_when_a_new_one_is_ready() {
        let plan = plan(1, ROLL);
        assert_eq!(next_steps(&plan, &[]), [Step::Create(None)]);
        assert_eq!(
            next_steps(&plan, &[pod("a", "old", true)]),
            [Step::Create(None)]
        );
        assert_eq!(
            next_steps(&plan, &[pod("a", "old", true), pod("b", "new", false)]),
            []
        );
        assert_eq!(
            next_steps(&plan, &[pod("a", "old", true), pod("b", "new", true)]),
            [delete("a")]
        );
        assert_eq!(next_steps(&plan, &[pod("b", "new", true)]), []);
    }

    #[test]
    fn scaling_down_ends_unready_pods_first() {
        let pods = [pod("a", "new", true), pod("b", "new", false)];
        assert_eq!(next_steps(&plan(1, ROLL), &pods), [delete("b")]);
    }

    #[test]
    fn recreate_waits_for_the_old_to_be_gone() {
        let plan = plan(1, Strategy::Recreate);
        let mut old = pod("a", "old", true);
        assert_eq!(next_steps(&plan, std::slice::from_ref(&old)), [delete("a")]);
        old.deleting = true;
        assert_eq!(next_steps(&plan, &[old]), []);
    }

    #[test]
    fn ordinals_start_in_order_and_are_replaced_from_the_last() {
        let plan = plan(2, Strategy::Ordinal { parallel: false });
        let create = |name: &str| Step::Create(Some(name.to_owned()));
        assert_eq!(next_steps(&plan, &[]), [create("w-0")]);
        assert_eq!(next_steps(&plan, &[pod("w-0", "new", false)]), []);
        assert_eq!(
            next_steps(&plan, &[pod("w-0", "new", true)]),
            [create("w-1")]
        );
        let old = [pod("w-0", "old", true), pod("w-1", "old", true)];
        assert_eq!(next_steps(&plan, &old), [delete("w-1")]);
        let three = [
            pod("w-0", "new", true),
            pod("w-1", "new", true),
            pod("w-2", "new", true),
        ];
        assert_eq!(next_steps(&plan, &three), [delete("w-2")]);
    }

    #[test]
    fn a_job_replaces_failed_pods_until_its_limit() {
        let plan = plan(
            1,
            Strategy::Completions {
                wanted: 1,
                retries: 1,
            },
        );
        let with = |phases: &[Phase]| -> Vec<PodView> {
            phases
                .iter()
                .map(|phase| PodView {
                    phase: *phase,
                    ..pod("j", "new", false)
                })
                .collect()
        };
        assert_eq!(
            next_steps(&plan, &with(&[Phase::Failed])),
            [Step::Create(None)]
        );
        assert_eq!(
            next_steps(&plan, &with(&[Phase::Failed, Phase::Failed])),
            []
        );
        assert_eq!(next_steps(&plan, &with(&[Phase::Succeeded])), []);
    }
}
