//! Load balancing of clusters: the older fields and the policies of `load_balancing_policy`.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::envoy::config::cluster::v3::cluster::common_lb_config::{
    ConsistentHashingLbConfig, LocalityConfigSpecifier,
};
use envoy_types::pb::envoy::config::cluster::v3::cluster::lb_subset_config::LbSubsetSelector;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy as WirePolicy, LbSubsetConfig, SlowStartConfig,
};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::load_balancing_policies as policies;
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3 as common;
use envoy_types::pb::envoy::extensions::load_balancing_policies::common::v3::locality_lb_config;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, UInt32Value, UInt64Value};
use lateen_proxy_model::{
    Balancing, LbPolicy, NamedEndpoint, ReportedWeights, SlowStart, Subsets, ZoneAware,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_off, number, percent, unpack};
use super::context::Context;
use super::matcher::header_name;
use super::{ignored, subset};

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
    /// Division that the policy asks for.
    pub(super) subsets: Option<Arc<Subsets>>,
}

/// Reads everything that concerns balancing.
pub(super) fn balancing(
    context: &Context<'_>,
    at: &At<'_>,
    message: &mut wire::Cluster,
) -> Result<Built, Refused> {
    let mut built = Built {
        lb: LbPolicy::RoundRobin,
        balancing: Balancing::default(),
        panic_threshold: 50,
        subsets: None,
    };
    let place = at.field("common_lb_config");
    common_lb(context, &place, message.common_lb_config.take(), &mut built)?;
    match message.load_balancing_policy.take() {
        Some(list) => {
            message.lb_policy = 0;
            let place = at.field("load_balancing_policy");
            built.lb = policy_of(context, &place, list, &mut built, DEPTH)?;
        }
        None => built.lb = policy(at, message, &mut built.balancing)?,
    }
    Ok(built)
}

fn common_lb(
    context: &Context<'_>,
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
        Some(LocalityConfigSpecifier::ZoneAwareLbConfig(config)) => {
            let config = locality_lb_config::ZoneAwareLbConfig {
                routing_enabled: config.routing_enabled,
                min_cluster_size: config.min_cluster_size,
                fail_traffic_on_panic: config.fail_traffic_on_panic,
                ..Default::default()
            };
            let place = at.field("zone_aware_lb_config");
            zone_aware(context, &place, config, &mut built.balancing)?;
        }
    }
    built.balancing.ignore_unchecked = take(&mut message.ignore_new_hosts_until_first_hc);
    if let Some(config) = message.consistent_hashing_lb_config.take() {
        let at = at.field("consistent_hashing_lb_config");
        let ConsistentHashingLbConfig {
            use_hostname_for_hashing,
            hash_balance_factor,
        } = config;
        built.balancing.hash_hostnames = use_hostname_for_hashing;
        built.balancing.hash_balance = balance_factor(&at, hash_balance_factor)?;
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
    context: &Context<'_>,
    at: &At<'_>,
    list: wire::LoadBalancingPolicy,
    built: &mut Built,
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
        if let Some(known) = extension_of(context, &at, &packed, built, depth)? {
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
    context: &Context<'_>,
    at: &At<'_>,
    packed: &Any,
    built: &mut Built,
    depth: usize,
) -> Result<Option<LbPolicy>, Refused> {
    const PACKAGE: &str = "envoy.extensions.load_balancing_policies.";
    let inner = |at: &At<'_>, policy: Option<wire::LoadBalancingPolicy>, built: &mut Built| {
        let inner = policy
            .filter(|_| depth > 0)
            .ok_or_else(|| at.refuse("missing, or too deep"))?;
        policy_of(context, at, inner, built, depth - 1)
    };
    let balancing = &mut built.balancing;
    let name = any::full_name(&packed.type_url);
    let policy = match name.strip_prefix(PACKAGE).unwrap_or_default() {
        "round_robin.v3.RoundRobin" => {
            let config: policies::round_robin::v3::RoundRobin = unpack(at, packed)?;
            locality(context, at, config.locality_lb_config, balancing)?;
            balancing.slow_start = slow_start(at, config.slow_start_config)?;
            LbPolicy::RoundRobin
        }
        "least_request.v3.LeastRequest" => {
            least_request(context, at, unpack(at, packed)?, balancing)?
        }
        "random.v3.Random" => {
            let config: policies::random::v3::Random = unpack(at, packed)?;
            locality(context, at, config.locality_lb_config, balancing)?;
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
            balancing.locality_weighted = true;
            let at = at.field("endpoint_picking_policy");
            inner(&at, config.endpoint_picking_policy, built)?
        }
        "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin" => {
            let config = unpack(at, packed)?;
            balancing.reported = Some(Arc::new(reported(at, config, balancing)?));
            LbPolicy::RoundRobin
        }
        "override_host.v3.OverrideHost" => {
            let mut config: policies::override_host::v3::OverrideHost = unpack(at, packed)?;
            let sources = take(&mut config.override_host_sources);
            balancing.named = Some(Arc::new(named(at, sources)?));
            let fallback = config.fallback_policy.take();
            nothing_left(at, &config)?;
            inner(&at.field("fallback_policy"), fallback, built)?
        }
        "subset.v3.Subset" => {
            let config: policies::subset::v3::Subset = unpack(at, packed)?;
            let (older, policy) = older_subset(at, config)?;
            built.subsets = subset::read(at, Some(older))?;
            inner(&at.field("subset_lb_policy"), policy, built)?
        }
        "cluster_provided.v3.ClusterProvided" => LbPolicy::ClusterProvided,
        _ => return Ok(None),
    };
    Ok(Some(policy))
}

fn least_request(
    context: &Context<'_>,
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
    locality(context, at, config.locality_lb_config.take(), balancing)?;
    let choices = choices(at, config.choice_count.take())?;
    nothing_left(at, &config)?;
    Ok(LbPolicy::LeastRequest { choices })
}

fn locality(
    context: &Context<'_>,
    at: &At<'_>,
    config: Option<common::LocalityLbConfig>,
    balancing: &mut Balancing,
) -> Result<(), Refused> {
    use common::locality_lb_config::LocalityConfigSpecifier as Specifier;
    let at = at.field("locality_lb_config");
    match config.and_then(|config| config.locality_config_specifier) {
        None => {}
        Some(Specifier::LocalityWeightedLbConfig(_)) => balancing.locality_weighted = true,
        Some(Specifier::ZoneAwareLbConfig(config)) => {
            let place = at.field("zone_aware_lb_config");
            zone_aware(context, &place, config, balancing)?;
        }
    }
    Ok(())
}

/// Zone-aware routing; without a local cluster zones cannot be compared, as in Envoy.
fn zone_aware(
    context: &Context<'_>,
    at: &At<'_>,
    mut config: locality_lb_config::ZoneAwareLbConfig,
    balancing: &mut Balancing,
) -> Result<(), Refused> {
    use locality_lb_config::zone_aware_lb_config::LocalityBasis;
    let enabled = config.routing_enabled.take().map_or(100.0, |one| one.value);
    if !(0.0..=100.0).contains(&enabled) {
        return Err(at.field("routing_enabled").refuse("not between 0 and 100"));
    }
    balancing.fail_on_panic = take(&mut config.fail_traffic_on_panic);
    let by_weight = config.locality_basis() == LocalityBasis::HealthyHostsWeight;
    config.locality_basis = 0;
    let min_cluster_size = config.min_cluster_size.take().map_or(6, |size| size.value);
    let forced = config.force_local_zone.take();
    nothing_left(at, &config)?;
    let Some((locality, local)) = context.state().local() else {
        return Ok(());
    };
    balancing.zone = Some(Arc::new(ZoneAware {
        locality: locality.clone(),
        local: Arc::clone(local),
        enabled,
        min_cluster_size,
        force_local_min: forced.map(|forced| number(forced.min_size).unwrap_or(1)),
        by_weight,
    }));
    Ok(())
}

fn reported(
    at: &At<'_>,
    mut config: policies::client_side_weighted_round_robin::v3::ClientSideWeightedRoundRobin,
    balancing: &mut Balancing,
) -> Result<ReportedWeights, Refused> {
    let time = |field: &str, value, default| {
        duration(&at.field(field), value).map(|value| value.unwrap_or(Duration::from_secs(default)))
    };
    let out_of_band = config.enable_oob_load_report.take();
    must_be_off(
        &at.field("enable_oob_load_report"),
        flag(out_of_band, false),
    )?;
    config.oob_reporting_period = None;
    let penalty = config.error_utilization_penalty.take();
    let penalty = penalty.map_or(1.0, |value| f64::from(value.value));
    if !penalty.is_finite() || penalty < 0.0 {
        let place = at.field("error_utilization_penalty");
        return Err(place.refuse("must not be negative"));
    }
    balancing.slow_start = slow_start(at, config.slow_start_config.take())?;
    let metrics = take(&mut config.metric_names_for_computing_utilization);
    let made = ReportedWeights {
        blackout: time("blackout_period", config.blackout_period.take(), 10)?,
        expiration: time(
            "weight_expiration_period",
            config.weight_expiration_period.take(),
            180,
        )?,
        update: time(
            "weight_update_period",
            config.weight_update_period.take(),
            1,
        )?
        .max(Duration::from_millis(100)),
        error_penalty: penalty,
        metrics: metrics.into_iter().map(Into::into).collect(),
    };
    nothing_left(at, &config)?;
    Ok(made)
}

fn named(
    at: &At<'_>,
    sources: Vec<policies::override_host::v3::override_host::OverrideHostSource>,
) -> Result<NamedEndpoint, Refused> {
    let list = at.field("override_host_sources");
    let mut headers = Vec::with_capacity(sources.len());
    for (index, source) in sources.into_iter().enumerate() {
        let at = list.item(index);
        must_be_off(&at.field("metadata"), source.metadata.is_some())?;
        headers.push(header_name(&at.field("header"), &source.header)?);
    }
    if headers.is_empty() {
        return Err(list.refuse("empty"));
    }
    Ok(NamedEndpoint {
        headers: headers.into(),
    })
}

/// The extension's settings in the form of the older field, and the policy within subsets.
fn older_subset(
    at: &At<'_>,
    mut config: policies::subset::v3::Subset,
) -> Result<(LbSubsetConfig, Option<wire::LoadBalancingPolicy>), Refused> {
    must_be_off(
        &at.field("allow_redundant_keys"),
        config.allow_redundant_keys,
    )?;
    let selectors = take(&mut config.subset_selectors);
    let older = LbSubsetConfig {
        fallback_policy: config.fallback_policy,
        default_subset: config.default_subset.take(),
        subset_selectors: selectors
            .into_iter()
            .map(|one| LbSubsetSelector {
                keys: one.keys,
                single_host_per_subset: one.single_host_per_subset,
                fallback_policy: one.fallback_policy,
                fallback_keys_subset: one.fallback_keys_subset,
            })
            .collect(),
        locality_weight_aware: config.locality_weight_aware,
        scale_locality_weight: config.scale_locality_weight,
        panic_mode_any: config.panic_mode_any,
        list_as_any: config.list_as_any,
        metadata_fallback_policy: config.metadata_fallback_policy,
    };
    Ok((older, config.subset_lb_policy))
}

/// Load of a hashed endpoint relative to the mean, in percent.
fn balance_factor(at: &At<'_>, value: Option<UInt32Value>) -> Result<Option<u32>, Refused> {
    match number(value) {
        None | Some(0) => Ok(None),
        Some(factor) if factor >= 100 => Ok(Some(factor)),
        Some(_) => Err(at
            .field("hash_balance_factor")
            .refuse("must be at least 100")),
    }
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
    balancing.hash_balance = balance_factor(&at, config.hash_balance_factor)?;
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
