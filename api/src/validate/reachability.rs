//! Routes of a VirtualService that no traffic reaches, and matches that earlier ones leave nothing to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use super::Verdict;
use super::prefix_overlap::{PrefixMatch, check_prefixes};
use super::report::Report;
use super::request_conditions::{Conditions, Text};
use crate::networking::{HttpMatchRequest, L4MatchAttributes, TlsMatchAttributes, VirtualService};

pub(super) fn check(report: &mut Report<'_>, spec: &VirtualService) {
    let rules = spec.http.iter().map(|route| Rule {
        name: &route.name,
        matches: &route.r#match,
    });
    let mut prefixes = Vec::new();
    walk(report, "http", rules, |place, condition| {
        prefixes.extend(PrefixMatch::new(place, condition));
    });
    check_prefixes(report, &prefixes);
    let rules = spec.tls.iter().map(|route| Rule {
        name: "",
        matches: &route.r#match,
    });
    walk(report, "tls", rules, |_, _| {});
    let rules = spec.tcp.iter().map(|route| Rule {
        name: "",
        matches: &route.r#match,
    });
    walk(report, "tcp", rules, |_, _| {});
}

/// A rule of any list.
struct Rule<'a, M> {
    name: &'a str,
    matches: &'a [M],
}

/// The place of a match.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// The rule's index and name.
    pub(super) rule: (usize, &'a str),
    /// The match's index and name.
    pub(super) matched: (usize, &'a str),
}

/// The name of a rule or a match in quotes, or its index.
pub(super) fn label((index, name): (usize, &str)) -> String {
    if name.is_empty() {
        format!("#{index}")
    } else {
        format!("{name:?}")
    }
}

/// A match of any list.
trait Match {
    /// All that tells the match's traffic from other traffic.
    type Traffic<'a>: Eq + Hash
    where
        Self: 'a;

    fn traffic(&self) -> Self::Traffic<'_>;

    fn name(&self) -> &str {
        ""
    }
}

/// Goes through the rules of the list `field` in order and hands on the matches that have an effect.
fn walk<'a, M: Match + 'a>(
    report: &mut Report<'_>,
    field: &str,
    rules: impl ExactSizeIterator<Item = Rule<'a, M>> + Clone,
    mut effective: impl FnMut(Place<'a>, &'a M),
) {
    if rules.len() == 1 && rules.clone().all(|rule| rule.matches.len() < 2) {
        return;
    }
    let mut seen: HashMap<M::Traffic<'a>, (usize, &'a str)> = HashMap::new();
    let mut all_taken = false;
    for (index, rule) in rules.enumerate() {
        let at = (index, rule.name);
        if rule.matches.is_empty() {
            if all_taken {
                let reason = "only the last rule can have no matches";
                unreachable(report, field, at, reason);
            }
            all_taken = true;
            continue;
        }
        let mut repeated = 0;
        for (number, condition) in rule.matches.iter().enumerate() {
            if all_taken {
                unreachable(report, field, at, "route without matches defined before");
                continue;
            }
            let place = Place {
                rule: at,
                matched: (number, condition.name()),
            };
            match seen.entry(condition.traffic()) {
                Entry::Occupied(earlier) => {
                    repeated += 1;
                    let texts = [label(at), label(place.matched), label(*earlier.get())];
                    ineffective(report, field, place, texts);
                }
                Entry::Vacant(free) => {
                    free.insert(at);
                    effective(place, condition);
                }
            }
        }
        if repeated == rule.matches.len() {
            unreachable(report, field, at, "all matches used by prior rules");
        }
    }
}

fn unreachable(report: &mut Report<'_>, field: &str, at: (usize, &str), reason: &str) {
    let rule = label(at);
    let message = format!("no traffic reaches rule {rule}: {reason}");
    let verdict = Verdict::UnreachableRule {
        rule,
        reason: reason.to_owned(),
    };
    report.fault(verdict, format_args!("spec.{field}[{}]", at.0), message);
}

/// Says that a match has no effect; the texts name its rule, itself, and what takes its traffic.
pub(super) fn ineffective(
    report: &mut Report<'_>,
    field: &str,
    place: Place<'_>,
    [rule, matched, duplicate]: [String; 3],
) {
    let message =
        format!("match {matched} of rule {rule} has no effect: {duplicate} takes its traffic");
    let verdict = Verdict::IneffectiveMatch {
        rule,
        matched,
        duplicate,
    };
    let (rule, matched) = (place.rule.0, place.matched.0);
    let at = format_args!("spec.{field}[{rule}].match[{matched}]");
    report.fault(verdict, at, message);
}

type Map = std::collections::BTreeMap<String, String>;

impl Match for L4MatchAttributes {
    type Traffic<'a> = (&'a [String], u32, &'a str, &'a Map, &'a [String], &'a str);

    fn traffic(&self) -> Self::Traffic<'_> {
        let Self {
            destination_subnets,
            port,
            source_subnet,
            source_labels,
            gateways,
            source_namespace,
        } = self;
        (
            destination_subnets,
            *port,
            source_subnet,
            source_labels,
            gateways,
            source_namespace,
        )
    }
}

impl Match for TlsMatchAttributes {
    type Traffic<'a> = (
        &'a [String],
        &'a [String],
        u32,
        &'a Map,
        &'a [String],
        &'a str,
    );

    fn traffic(&self) -> Self::Traffic<'_> {
        let Self {
            sni_hosts,
            destination_subnets,
            port,
            source_labels,
            gateways,
            source_namespace,
        } = self;
        (
            sni_hosts,
            destination_subnets,
            *port,
            source_labels,
            gateways,
            source_namespace,
        )
    }
}

impl Match for HttpMatchRequest {
    type Traffic<'a> = (
        [Text<'a>; 4],
        [Conditions<'a>; 3],
        (u32, bool),
        (&'a Map, &'a str, &'a [String]),
        &'a str,
    );

    fn traffic(&self) -> Self::Traffic<'_> {
        let Self {
            name: _,
            uri,
            scheme,
            method,
            authority,
            headers,
            without_headers,
            query_params,
            port,
            source_labels,
            source_namespace,
            gateways,
            ignore_uri_case,
            stat_prefix,
        } = self;
        (
            [uri, scheme, method, authority].map(|text| Text(text.as_ref())),
            [headers, without_headers, query_params].map(Conditions),
            (*port, *ignore_uri_case),
            (source_labels, source_namespace, gateways),
            stat_prefix,
        )
    }

    fn name(&self) -> &str {
        &self.name
    }
}
