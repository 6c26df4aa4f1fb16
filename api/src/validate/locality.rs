//! Rules on preference among endpoints by where they are.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Arguments, Display};

use super::report::{Key, Report};
use crate::labels::label;
use crate::networking::{
    LocalityDistribute, LocalityFailover, LocalityLoadBalancerSetting, ZoneAwareLoadBalancerSetting,
};

/// Labels that stand for a place, which failover between regions sees to by itself.
const PLACES: [&str; 3] = [label::REGION, label::ZONE, label::SUBZONE];

/// Preference by locality. That failover takes outlier detection is left to the caller.
pub(super) fn locality(
    report: &mut Report<'_>,
    field: impl Display,
    setting: &LocalityLoadBalancerSetting,
) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        return report.error(
            field,
            "distribute and failover exclude each other: keep one of them",
        );
    }
    if !setting.failover.is_empty() {
        priority_without_places(report, format_args!("{field}"), &setting.failover_priority);
    }
    distribute(
        report,
        format_args!("{field}.distribute"),
        &setting.distribute,
    );
    failover(report, format_args!("{field}.failover"), &setting.failover);
}

/// Preference for the own zone. That failover takes outlier detection is left to the caller.
pub(super) fn zone_aware(
    report: &mut Report<'_>,
    field: impl Display,
    setting: &ZoneAwareLoadBalancerSetting,
) {
    priority_without_places(report, format_args!("{field}"), &setting.failover_priority);
    failover(report, format_args!("{field}.failover"), &setting.failover);
}

fn priority_without_places(report: &mut Report<'_>, field: Arguments<'_>, priority: &[String]) {
    for (i, label) in priority.iter().enumerate() {
        report.require(
            !PLACES.contains(&label.as_str()),
            format_args!("{field}.failoverPriority[{i}]"),
            format_args!("`{label}` is already seen to by failover or zones: take it out"),
        );
    }
}

fn failover(report: &mut Report<'_>, field: Arguments<'_>, failover: &[LocalityFailover]) {
    for (i, LocalityFailover { from, to }) in failover.iter().enumerate() {
        let at = format_args!("{field}[{i}]");
        report.require(
            from != to,
            at,
            format_args!("`{from}` cannot take over from itself: name another region"),
        );
        for (name, region) in [("from", from), ("to", to)] {
            report.require(
                !region.contains(['/', '*']),
                format_args!("{at}.{name}"),
                format_args!("`{region}` is not a region: no zone and no `*` here"),
            );
        }
    }
}

fn distribute(report: &mut Report<'_>, field: Arguments<'_>, distribute: &[LocalityDistribute]) {
    let mut sources = Localities::default();
    for (i, entry) in distribute.iter().enumerate() {
        shares(report, format_args!("{field}[{i}].to"), entry);
        if let Err(fault) = sources.add(&entry.from) {
            report.error(format_args!("{field}[{i}].from"), fault);
        }
    }
}

/// The shares of one client locality. Their localities have no order of their own and are taken in that of their names.
fn shares(report: &mut Report<'_>, field: Arguments<'_>, entry: &LocalityDistribute) {
    let mut localities = Localities::default();
    let mut total: u64 = 0;
    for (place, share) in &entry.to {
        total = total.saturating_add(u64::from(*share));
        let at = format_args!("{field}{}", Key(place));
        report.require(
            (1..=100).contains(share),
            at,
            format_args!("{share} is not a share: 1 to 100 are"),
        );
        if let Err(fault) = localities.add(place) {
            report.error(at, fault);
        }
    }
    report.require(
        total == 100,
        field,
        format_args!("the shares are {total} together: make them 100"),
    );
}

/// Localities that do not overlap: regions, their zones, and the zones' subzones. A `*` is kept as a name of its own, which covers
/// what comes after it on its level but not what came before.
#[derive(Default)]
struct Localities<'a>(HashMap<&'a str, HashMap<&'a str, HashSet<&'a str>>>);

/// Why a locality cannot be added.
enum LocalityFault<'a> {
    Star(&'a str),
    Empty(&'a str),
    Covered(&'a str),
}

impl Display for LocalityFault<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Star(text) => write!(out, "`{text}`: one `*` can stand at the end, nowhere else"),
            Self::Empty(text) => write!(
                out,
                "`{text}` has an empty part: write region, region/zone or region/zone/subzone"
            ),
            Self::Covered(text) => write!(
                out,
                "`{text}` overlaps with a locality before it: take one of them out"
            ),
        }
    }
}

impl<'a> Localities<'a> {
    fn add(&mut self, text: &'a str) -> Result<(), LocalityFault<'a>> {
        let covered = || LocalityFault::Covered(text);
        if text.find('*').is_some_and(|at| at + 1 != text.len()) {
            return Err(LocalityFault::Star(text));
        }
        if self.0.contains_key("*") {
            return Err(covered());
        }
        let mut parts = text.splitn(3, '/');
        let region = parts.next().unwrap_or_default();
        let (zone, subzone) = (parts.next(), parts.next());
        if [Some(region), zone, subzone].contains(&Some("")) {
            return Err(LocalityFault::Empty(text));
        }
        let Some(zone) = zone else {
            if self.0.contains_key(region) {
                return Err(covered());
            }
            self.0.entry(region).or_default().entry("*").or_default();
            return Ok(());
        };
        let zones = self.0.entry(region).or_default();
        if zones.contains_key("*") {
            return Err(covered());
        }
        if subzone.is_none() && zones.contains_key(zone) {
            return Err(covered());
        }
        let subzones = zones.entry(zone).or_default();
        if subzones.contains("*") || !subzones.insert(subzone.unwrap_or("*")) {
            return Err(covered());
        }
        Ok(())
    }
}
