//! Circuit breakers.

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use envoy_types::pb::envoy::config::core::v3::RoutingPriority;
use lateen_proxy_model::{CircuitBreakers, RetryBudget};

use super::at::{At, Refused, nothing_left};
use super::common::number;

/// Envoy's limits where nothing else is said.
const DEFAULT: CircuitBreakers = CircuitBreakers {
    max_connections: 1024,
    max_pending: 1024,
    max_requests: 1024,
    max_retries: 3,
    retry_budget: None,
    max_pools: u32::MAX,
    track_remaining: false,
};

/// The limits of a cluster.
pub(super) struct Limits {
    /// Of requests of default priority.
    pub(super) default: CircuitBreakers,
    /// Of requests of high priority.
    pub(super) high: CircuitBreakers,
    /// Connections to one endpoint.
    pub(super) per_host: Option<u32>,
}

pub(super) fn read(at: &At<'_>, message: Option<wire::CircuitBreakers>) -> Result<Limits, Refused> {
    let mut limits = Limits {
        default: DEFAULT,
        high: DEFAULT,
        per_host: None,
    };
    let message = message.unwrap_or_default();
    let list = at.field("thresholds");
    let mut seen = [false; 2];
    for (index, one) in message.thresholds.into_iter().enumerate() {
        let high = one.priority() == RoutingPriority::High;
        // As in Envoy the first entry of a priority counts.
        if let Some(before) = seen.get_mut(usize::from(high))
            && !std::mem::replace(before, true)
        {
            let read = thresholds(&list.item(index), one)?;
            *(if high {
                &mut limits.high
            } else {
                &mut limits.default
            }) = read;
        }
    }
    let list = at.field("per_host_thresholds");
    for (index, mut one) in message.per_host_thresholds.into_iter().enumerate() {
        let at = list.item(index);
        if one.priority() != RoutingPriority::Default {
            continue;
        }
        limits.per_host = limits.per_host.or(number(one.max_connections.take()));
        nothing_left(&at, &one)?;
    }
    Ok(limits)
}

fn thresholds(at: &At<'_>, mut one: Thresholds) -> Result<CircuitBreakers, Refused> {
    let or = |value: Option<u32>, default: u32| value.unwrap_or(default);
    let budget = one.retry_budget.take();
    let place = at.field("retry_budget");
    let budget = budget.map(|budget| {
        let percent = budget.budget_percent.map_or(20.0, |percent| percent.value);
        if !(0.0..=100.0).contains(&percent) {
            return Err(place
                .field("budget_percent")
                .refuse("not between 0 and 100"));
        }
        if budget.budget_interval.is_some() {
            return Err(place.field("budget_interval").unsupported());
        }
        Ok(RetryBudget {
            percent,
            min_concurrency: number(budget.min_retry_concurrency).unwrap_or(3),
        })
    });
    let made = CircuitBreakers {
        max_connections: or(number(one.max_connections.take()), DEFAULT.max_connections),
        max_pending: or(number(one.max_pending_requests.take()), DEFAULT.max_pending),
        max_requests: or(number(one.max_requests.take()), DEFAULT.max_requests),
        max_retries: or(number(one.max_retries.take()), DEFAULT.max_retries),
        retry_budget: budget.transpose()?,
        max_pools: or(number(one.max_connection_pools.take()), DEFAULT.max_pools),
        track_remaining: std::mem::take(&mut one.track_remaining),
    };
    one.priority = 0;
    nothing_left(at, &one)?;
    Ok(made)
}
