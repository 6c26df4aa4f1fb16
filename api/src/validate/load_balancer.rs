//! Rules on how an endpoint is chosen.

use std::collections::HashSet;
use std::fmt::Arguments;

use super::locality::{locality, zone_aware};
use super::report::Report;
use super::values;
use crate::networking::{
    ConsistentHash, HashAlgorithm, HashKey, HttpCookie, LoadBalancerPolicy, LoadBalancerSettings,
    Warmup,
};

/// Maglev tables are smaller than this.
const MAGLEV_LIMIT: u64 = 5_000_011;

/// How an endpoint is chosen; `outlier` says whether failing endpoints are left out, without which nothing fails over.
pub(super) fn load_balancer(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    balancer: &LoadBalancerSettings,
    outlier: bool,
) {
    if let Some(LoadBalancerPolicy::ConsistentHash(hash)) = &balancer.lb_policy {
        consistent_hash(report, format_args!("{field}.consistentHash"), hash);
    }
    let by_locality = balancer.locality_lb_setting.as_ref();
    let by_zone = balancer.zone_aware_lb_setting.as_ref();
    report.require(
        by_locality.is_none() || by_zone.is_none(),
        field,
        "localityLbSetting and zoneAwareLbSetting exclude each other: keep one of them",
    );
    if let Some(setting) = by_locality {
        let at = format_args!("{field}.localityLbSetting");
        locality(report, at, setting);
        let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
        let broken = !setting.failover.is_empty() && !setting.distribute.is_empty();
        if fails_over && !broken && !outlier {
            no_failover(report, at);
        }
    }
    if let Some(setting) = by_zone {
        let at = format_args!("{field}.zoneAwareLbSetting");
        zone_aware(report, at, setting);
        let fails_over = !setting.failover.is_empty() || !setting.failover_priority.is_empty();
        if fails_over && !outlier {
            no_failover(report, at);
        }
    }
    if let Some(settings) = &balancer.warmup {
        warmup(report, format_args!("{field}.warmup"), settings);
    }
}

fn no_failover(report: &mut Report<'_>, field: Arguments<'_>) {
    report.warning(
        field,
        "nothing fails over without outlierDetection: set it in the same policy",
    );
}

fn warmup(report: &mut Report<'_>, field: Arguments<'_>, warmup: &Warmup) {
    let at = format_args!("{field}.duration");
    report.require(warmup.duration.is_some(), at, "a duration is needed");
    values::duration(report, at, warmup.duration);
    if let Some(percent) = warmup.minimum_percent.filter(|percent| *percent > 100.0) {
        report.error(
            format_args!("{field}.minimumPercent"),
            format_args!("{percent} is more than 100 percent"),
        );
    }
    if let Some(aggression) = warmup.aggression.filter(|aggression| *aggression <= 0.0) {
        report.error(
            format_args!("{field}.aggression"),
            format_args!("{aggression} is not above 0"),
        );
    }
}

fn consistent_hash(report: &mut Report<'_>, field: Arguments<'_>, hash: &ConsistentHash) {
    if let Some(HashKey::HttpCookie(cookie)) = &hash.hash_key {
        http_cookie(report, format_args!("{field}.httpCookie"), cookie);
    }
    if hash.minimum_ring_size != 0 {
        let at = format_args!("{field}.minimumRingSize");
        report.warning(at, "is deprecated: use ringHash.minimumRingSize");
        report.require(
            hash.hash_algorithm.is_none(),
            at,
            "excludes ringHash and maglev: take it out",
        );
    }
    if let Some(HashAlgorithm::Maglev(maglev)) = &hash.hash_algorithm {
        let size = maglev.table_size;
        report.require(
            size < MAGLEV_LIMIT && is_prime(size),
            format_args!("{field}.maglev.tableSize"),
            format_args!("{size} is not a prime below {MAGLEV_LIMIT}"),
        );
    }
}

fn http_cookie(report: &mut Report<'_>, field: Arguments<'_>, cookie: &HttpCookie) {
    report.require(
        !cookie.name.is_empty(),
        format_args!("{field}.name"),
        "a cookie needs a name",
    );
    let mut names = HashSet::new();
    for (i, attribute) in cookie.attributes.iter().enumerate() {
        let (at, name) = (
            format_args!("{field}.attributes[{i}].name"),
            attribute.name.as_str(),
        );
        if name.is_empty() {
            report.error(at, "an attribute needs a name");
        } else if !names.insert(name) {
            report.error(at, format_args!("the attribute `{name}` is given twice"));
        }
    }
}

/// Whether a number is a prime as Envoy sees it, who takes 1 for one.
fn is_prime(number: u64) -> bool {
    number > 0
        && (2..)
            .take_while(|divisor: &u64| divisor.saturating_mul(*divisor) <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}
