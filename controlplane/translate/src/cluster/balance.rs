//! Load balancing of clusters.

use lateen_api::networking::{
    ConsistentHash, HashAlgorithm, LoadBalancerPolicy, LoadBalancerSettings, SimpleLoadBalancer,
    Warmup,
};

use crate::pb::cluster::Cluster;
use crate::pb::cluster::cluster::{
    CommonLbConfig, LbConfig, LbPolicy, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
    RoundRobinLbConfig, SlowStartConfig, common_lb_config,
};
use crate::pb::{core, kind};
use crate::wire::{span, wide};

/// Smallest ring where a rule names none.
const DEFAULT_RING: u64 = 1024;

/// True when connections go to wherever the client was going.
pub(super) fn is_passthrough(settings: Option<&LoadBalancerSettings>) -> bool {
    let policy = settings.and_then(|settings| settings.lb_policy.as_ref());
    matches!(
        policy,
        Some(LoadBalancerPolicy::Simple(SimpleLoadBalancer::Passthrough))
    )
}

/// Sets the balancing policy of a cluster with known endpoints.
pub(super) fn apply(
    cluster: &mut Cluster,
    settings: Option<&LoadBalancerSettings>,
    min_health_percent: i32,
    weighted: bool,
) {
    cluster.common_lb_config = Some(CommonLbConfig {
        healthy_panic_threshold: Some(kind::Percent {
            value: f64::from(min_health_percent.clamp(0, 100)),
        }),
        locality_config_specifier: weighted.then_some(
            common_lb_config::LocalityConfigSpecifier::LocalityWeightedLbConfig(
                common_lb_config::LocalityWeightedLbConfig {},
            ),
        ),
        ..Default::default()
    });
    let slow_start = settings.and_then(slow_start);
    let policy = settings.and_then(|settings| settings.lb_policy.as_ref());
    let (policy, config) = match policy {
        Some(LoadBalancerPolicy::ConsistentHash(hash)) => consistent_hash(hash),
        Some(LoadBalancerPolicy::Simple(SimpleLoadBalancer::Random)) => (LbPolicy::Random, None),
        Some(LoadBalancerPolicy::Simple(SimpleLoadBalancer::RoundRobin)) => (
            LbPolicy::RoundRobin,
            slow_start.map(|slow| {
                LbConfig::RoundRobinLbConfig(RoundRobinLbConfig {
                    slow_start_config: Some(slow),
                })
            }),
        ),
        _ => (
            LbPolicy::LeastRequest,
            slow_start.map(|slow| {
                LbConfig::LeastRequestLbConfig(LeastRequestLbConfig {
                    slow_start_config: Some(slow),
                    ..Default::default()
                })
            }),
        ),
    };
    cluster.lb_policy = policy as i32;
    cluster.lb_config = config;
}

fn consistent_hash(hash: &ConsistentHash) -> (LbPolicy, Option<LbConfig>) {
    match &hash.hash_algorithm {
        Some(HashAlgorithm::Maglev(maglev)) => {
            let table_size = if maglev.table_size > 0 {
                wide(maglev.table_size)
            } else {
                None
            };
            (
                LbPolicy::Maglev,
                table_size.map(|size| {
                    LbConfig::MaglevLbConfig(MaglevLbConfig {
                        table_size: Some(size),
                    })
                }),
            )
        }
        ring => {
            let own = match ring {
                Some(HashAlgorithm::RingHash(ring)) => ring.minimum_ring_size,
                _ => 0,
            };
            let size = [own, hash.minimum_ring_size]
                .into_iter()
                .find(|size| *size > 0)
                .unwrap_or(DEFAULT_RING);
            let config = RingHashLbConfig {
                minimum_ring_size: wide(size),
                ..Default::default()
            };
            (LbPolicy::RingHash, Some(LbConfig::RingHashLbConfig(config)))
        }
    }
}

fn slow_start(settings: &LoadBalancerSettings) -> Option<SlowStartConfig> {
    let deprecated = settings.warmup_duration_secs.map(|duration| Warmup {
        duration: Some(duration),
        ..Default::default()
    });
    let warmup = settings.warmup.as_ref().or(deprecated.as_ref())?;
    Some(SlowStartConfig {
        slow_start_window: warmup.duration.and_then(span),
        aggression: warmup.aggression.map(|value| core::RuntimeDouble {
            default_value: value,
            runtime_key: String::new(),
        }),
        min_weight_percent: warmup.minimum_percent.map(|value| kind::Percent { value }),
    })
}
