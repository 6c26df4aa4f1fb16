//! Load balancing of clusters: the older fields and the policies of `load_balancing_policy`.

use std::mem::take;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy as WirePolicy, SlowStartConfig,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::load_balancing_policies as policies;
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3 as common;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, UInt32Value, UInt64Value};
use lateen_proxy_model::{Balancing, LbPolicy, SlowStart};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number, percent, unpack};
use super::ignored;

/// Points of a ring at least and at most; the most is also the limit of both.
const RING: (u64, u64) = (1024, 8 * 1024 * 1024);
/// Entries of a Maglev table, and their limit.
const MAGLEV: (u64, u64) = (65_537, 5_000_011);
/// Policies inside policies.
const DEPTH: usize = 4;

/// How a cluster balances.
pub(super) struct Built {
    pub(super) lb: LbPolicy,
    pub(super) balancing: Balancing,
    pub(super) panic_threshold: u32,
}

/// Reads everything that concerns balancing.
pub(super) fn balancing(at: &At<'_>, message: &mut wire::Cluster) -> Result<Built, Refused> {
    let mut built = Built {
        lb: LbPolicy::RoundRobin,
        balancing: Balancing::default(),
        panic_threshold: 50,
    };
    let place = at.field("common_lb_config");
    common_lb(&place, message.common_lb_config.take(), &mut built)?;
    match message.load_balancing_policy.take() {
        Some(list) => {
            message.lb_policy = 0;
            built.lb = policy_of(
                &at.field("load_balancing_policy"),
                list,
                &mut built.balancing,
                DEPTH,
            )?;
        }
        None => built.lb = policy(at, message, &mut built.balancing)?,
    }
    Ok(built)
}

fn common_lb(
    at: &At<'_>,
    message: Option<wire::cluster::CommonLbConfig>,
    built: &mut Built,
) -> Result<(), Refused> {
    let mut message = message.unwrap_or_default();
    ignored::common_lb(&mut message);
    let place = at.field("healthy_panic_threshold");
    built.panic_threshold = percent(&place, message.healthy_panic_threshold.take(), 50)?;
    match message.locality_config_specifier.take() {
        None => {}
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) => {
            built.balancing.locality_weighted = true;
        }
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(_)) => {
            return Err(at.field("zone_aware_lb_config").unsupported());
        }
    }
    if let Some(config) = message.consistent_hashing_lb_config.take() {
        let at = at.field("consistent_hashing_lb_config");
        let ConsistentHashingLbConfig {
            use_hostname_for_hashing,
            hash_balance_factor,
        } = config;
        built.balancing.hash_hostnames = use_hostname_for_hashing;
        must_be_off(
            &at.field("hash_balance_factor"),
            hash_balance_factor.is_some(),
        )?;
    }
    nothing_left(at, &message)
}

fn policy(
    at: &At<'_>,
    message: &mut wire::Cluster,
    balancing: &mut Balancing,
) -> Result<LbPolicy, Refused> {
    let policy = message.lb_policy();
    message.lb_policy = 0;
    match (policy, message.lb_config.take()) {
        (WirePolicy::RoundRobin, None) => Ok(LbPolicy::RoundRobin),
        (WirePolicy::RoundRobin, Some(LbConfig::RoundRobinLbConfig(mut config))) => {
            let at = at.field("round_robin_lb_config");
            balancing.slow_start = older_slow_start(&at, config.slow_start_config.take())?;
            nothing_left(&at, &config)?;
            Ok(LbPolicy::RoundRobin)
        }
        (WirePolicy::LeastRequest, None) => Ok(LbPolicy::LeastRequest { choices: 2 }),
        (WirePolicy::LeastRequest, Some(LbConfig::LeastRequestLbConfig(mut config))) => {
            let at = at.field("least_request_lb_config");
            balancing.slow_start = older_slow_start(&at, config.slow_start_config.take())?;
            balancing.active_request_bias = bias(&at, config.active_request_bias.take())?;
            let choices = choices(&at, config.choice_count.take())?;
            nothing_left(&at, &config)?;
            Ok(LbPolicy::LeastRequest { choices })
        }
        (WirePolicy::RingHash, None) => ring(at, None, None),
        (WirePolicy::RingHash, Some(LbConfig::RingHashLbConfig(config))) => {
            let at = at.field("ring_hash_lb_config");
            must_be_off(&at.field("hash_function"), config.hash_function != 0)?;
            ring(&at, config.minimum_ring_size, config.maximum_ring_size)
        }
        (WirePolicy::Maglev, None) => maglev(at, None),
        (WirePolicy::Maglev, Some(LbConfig::MaglevLbConfig(config))) => {
            maglev(&at.field("maglev_lb_config"), config.table_size)
        }
        (WirePolicy::Random, None) => Ok(LbPolicy::Random),
        (WirePolicy::ClusterProvided, None) => Ok(LbPolicy::ClusterProvided),
        (other, None) => {
            let text = format!("{} is not supported", other.as_str_name());
            Err(at.field("lb_policy").refuse(text))
        }
        (_, Some(_)) => Err(at
            .field("lb_config")
            .refuse("belongs to another policy than lb_policy")),
    }
}

/// The first of a list of policies that is known; the order is the sender's preference.
fn policy_of(
    at: &At<'_>,
    list: wire::LoadBalancingPolicy,
    balancing: &mut Balancing,
    depth: usize,
) -> Result<LbPolicy, Refused> {
    let place = at.field("policies");
    let mut unknown = String::new();
    for (index, one) in list.policies.into_iter().enumerate() {
        let item = place.item(index);
        let at = item.field("typed_extension_config");
        let extension = one
            .typed_extension_config
            .ok_or_else(|| at.refuse("missing"))?;
        let packed = extension.typed_config.unwrap_or_default();
        let at = at.field("typed_config");
        if let Some(known) = extension_of(&at, &packed, balancing, depth)? {
            return Ok(known);
        }
        if !unknown.is_empty() {
            unknown.push_str(", ");
        }
        unknown.push_str(any::full_name(&packed.type_url));
    }
    Err(place.refuse(format!("no policy is supported: {unknown}")))
}

/// `None` when the type is not known.
fn extension_of(
    at: &At<'_>,
    packed: &Any,
    balancing: &mut Balancing,
    depth: usize,
) -> Result<Option<LbPolicy>, Refused> {
    const PACKAGE: &str = "envoy.extensions.load_balancing_policies.";
    let name = any::full_name(&packed.type_url);
    let policy = match name.strip_prefix(PACKAGE).unwrap_or_default() {
        "round_robin.v3.RoundRobin" => {
            let config: policies::round_robin::v3::RoundRobin = unpack(at, packed)?;
            locality(at, config.locality_lb_config, balancing)?;
            balancing.slow_start = slow_start(at, config.slow_start_config)?;
            LbPolicy::RoundRobin
        }
        "least_request.v3.LeastRequest" => least_request(at, unpack(at, packed)?, balancing)?,
        "random.v3.Random" => {
            let config: policies::random::v3::Random = unpack(at, packed)?;
            locality(at, config.locality_lb_config, balancing)?;
            LbPolicy::Random
        }
        "ring_hash.v3.RingHash" => {
            let mut config: policies::ring_hash::v3::RingHash = unpack(at, packed)?;
            // Default and xxHash are one.
            must_be_off(
                &at.field("hash_function"),
                take(&mut config.hash_function) > 1,
            )?;
            let sizes = (
                config.minimum_ring_size.take(),
                config.maximum_ring_size.take(),
            );
            balancing.hash_hostnames |= take(&mut config.use_hostname_for_hashing);
            hashing(at, config.consistent_hashing_lb_config.take(), balancing)?;
            balancing.locality_weighted |= config.locality_weighted_lb_config.take().is_some();
            nothing_left(at, &config)?;
            ring(at, sizes.0, sizes.1)?
        }
        "maglev.v3.Maglev" => {
            let config: policies::maglev::v3::Maglev = unpack(at, packed)?;
            hashing(at, config.consistent_hashing_lb_config, balancing)?;
            balancing.locality_weighted |= config.locality_weighted_lb_config.is_some();
            maglev(at, config.table_size)?
        }
        "wrr_locality.v3.WrrLocality" => {
            let config: policies::wrr_locality::v3::WrrLocality = unpack(at, packed)?;
            let at = at.field("endpoint_picking_policy");
            let inner = config
                .endpoint_picking_policy
                .filter(|_| depth > 0)
                .ok_or_else(|| at.refuse("missing, or too deep"))?;
            balancing.locality_weighted = true;
            policy_of(&at, inner, balancing, depth - 1)?
        }
        "cluster_provided.v3.ClusterProvided" => LbPolicy::ClusterProvided,
        _ => return Ok(None),
    };
    Ok(Some(policy))
}

fn least_request(
    at: &At<'_>,
    mut config: policies::least_request::v3::LeastRequest,
    balancing: &mut Balancing,
) -> Result<LbPolicy, Refused> {
    use policies::least_request::v3::least_request::SelectionMethod;
    balancing.full_scan = flag(config.enable_full_scan.take(), false)
        || config.selection_method == SelectionMethod::FullScan as i32;
    config.selection_method = 0;
    balancing.active_request_bias = bias(at, config.active_request_bias.take())?;
    balancing.slow_start = slow_start(at, config.slow_start_config.take())?;
    locality(at, config.locality_lb_config.take(), balancing)?;
    let choices = choices(at, config.choice_count.take())?;
    nothing_left(at, &config)?;
    Ok(LbPolicy::LeastRequest { choices })
}

fn locality(
    at: &At<'_>,
    config: Option<common::LocalityLbConfig>,
    balancing: &mut Balancing,
) -> Result<(), Refused> {
    use common::locality_lb_config::LocalityConfigSpecifier as Specifier;
    let at = at.field("locality_lb_config");
    match config.and_then(|config| config.locality_config_specifier) {
        None => {}
        Some(Specifier::LocalityWeightedLbConfig(_)) => balancing.locality_weighted = true,
        Some(Specifier::ZoneAwareLbConfig(_)) => {
            return Err(at.field("zone_aware_lb_config").unsupported());
        }
    }
    Ok(())
}

fn hashing(
    at: &At<'_>,
    config: Option<common::ConsistentHashingLbConfig>,
    balancing: &mut Balancing,
) -> Result<(), Refused> {
    let at = at.field("consistent_hashing_lb_config");
    let Some(config) = config else {
        return Ok(());
    };
    must_be_off(
        &at.field("hash_balance_factor"),
        config.hash_balance_factor.is_some(),
    )?;
    must_be_off(&at.field("hash_policy"), !config.hash_policy.is_empty())?;
    balancing.hash_hostnames |= config.use_hostname_for_hashing;
    Ok(())
}

fn ring(
    at: &At<'_>,
    min: Option<UInt64Value>,
    max: Option<UInt64Value>,
) -> Result<LbPolicy, Refused> {
    let limited = |field: &str, value: Option<UInt64Value>, default: u64| {
        let value = value.map_or(default, |value| value.value);
        if value == 0 || value > RING.1 {
            let text = format!("must be from 1 to {}", RING.1);
            return Err(at.field(field).refuse(text));
        }
        Ok(value)
    };
    let min = limited("minimum_ring_size", min, RING.0)?;
    let max = limited("maximum_ring_size", max, RING.1)?;
    if min > max {
        let place = at.field("minimum_ring_size");
        return Err(place.refuse("above maximum_ring_size"));
    }
    Ok(LbPolicy::RingHash { min, max })
}

fn maglev(at: &At<'_>, size: Option<UInt64Value>) -> Result<LbPolicy, Refused> {
    let at = at.field("table_size");
    let size = size.map_or(MAGLEV.0, |size| size.value);
    if size > MAGLEV.1 || !is_prime(size) {
        let text = format!("must be a prime up to {}", MAGLEV.1);
        return Err(at.refuse(text));
    }
    let size = u32::try_from(size).map_err(|_| at.refuse("too large"))?;
    Ok(LbPolicy::Maglev { size })
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number > 1 && !divisors.any(|divisor: u64| number.is_multiple_of(divisor))
}

fn choices(at: &At<'_>, value: Option<UInt32Value>) -> Result<u32, Refused> {
    match number(value).unwrap_or(2) {
        0 | 1 => Err(at.field("choice_count").refuse("must be at least 2")),
        choices => Ok(choices),
    }
}

fn bias(at: &At<'_>, value: Option<core::RuntimeDouble>) -> Result<f64, Refused> {
    let bias = value.map_or(1.0, |value| value.default_value);
    if bias.is_finite() && bias >= 0.0 {
        Ok(bias)
    } else {
        Err(at
            .field("active_request_bias")
            .refuse("must not be negative"))
    }
}

fn older_slow_start(
    at: &At<'_>,
    config: Option<SlowStartConfig>,
) -> Result<Option<SlowStart>, Refused> {
    let same = |config: SlowStartConfig| common::SlowStartConfig {
        slow_start_window: config.slow_start_window,
        aggression: config.aggression,
        min_weight_percent: config.min_weight_percent,
    };
    slow_start(at, config.map(same))
}

fn slow_start(
    at: &At<'_>,
    config: Option<common::SlowStartConfig>,
) -> Result<Option<SlowStart>, Refused> {
    let Some(config) = config else {
        return Ok(None);
    };
    let at = at.field("slow_start_config");
    let window = duration(&at.field("slow_start_window"), config.slow_start_window)?;
    let aggression = config.aggression.map_or(1.0, |value| value.default_value);
    if !aggression.is_finite() || aggression <= 0.0 {
        return Err(at.field("aggression").refuse("must be above 0"));
    }
    let min = config.min_weight_percent.unwrap_or(Percent { value: 10.0 });
    if !(0.0..=100.0).contains(&min.value) {
        let place = at.field("min_weight_percent");
        return Err(place.refuse("must be from 0 to 100"));
    }
    Ok(window
        .filter(|window| !window.is_zero())
        .map(|window| SlowStart {
            window,
            aggression,
            min_weight: min.value / 100.0,
        }))
}
