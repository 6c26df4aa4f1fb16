//! Matches of path prefixes that are part of earlier, shorter prefixes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::reachability::{Place, ineffective, label};
use super::report::Report;
use crate::networking::{HttpMatchRequest, StringMatch, StringMatchKind};

/// How many pairs of prefixes are compared at most, which bounds the time that a hostile object takes.
const PAIR_LIMIT: usize = 20_000_000;

/// How many warnings one object gets at most.
const WARNING_LIMIT: usize = 20_000;

/// A match of a path prefix.
pub(super) struct PrefixMatch<'a> {
    place: Place<'a>,
    prefix: &'a str,
    conditions: &'a HttpMatchRequest,
}

impl<'a> PrefixMatch<'a> {
    /// A match whose path is matched by a prefix; `None` for all others.
    pub(super) fn new(place: Place<'a>, conditions: &'a HttpMatchRequest) -> Option<Self> {
        let prefix = match conditions.uri.as_ref()?.kind.as_ref()? {
            StringMatchKind::Prefix(prefix) if !prefix.is_empty() => prefix,
            _ => return None,
        };
        Some(Self {
            place,
            prefix,
            conditions,
        })
    }

    /// Whether this match takes all traffic of one of its group with a longer prefix, as far as the conditions tell.
    fn takes_all_of(&self, later: &Self) -> bool {
        let (own, other) = (self.conditions, later.conditions);
        covers(method(own), method(other))
            && covers(
                value(own.authority.as_ref()),
                value(other.authority.as_ref()),
            )
            && covers_each(&own.headers, &other.headers)
            && covers_each(&own.query_params, &other.query_params)
            && covers_each(&own.without_headers, &other.without_headers)
    }
}

/// Warns of each match whose prefix is part of an earlier one's. `matches` are in the order of the rules.
pub(super) fn check_prefixes(report: &mut Report<'_>, matches: &[PrefixMatch<'_>]) {
    if matches.len() < 2 {
        return;
    }
    for (earlier, later) in overlaps(matches) {
        let (Some(earlier), Some(later)) = (matches.get(earlier), matches.get(later)) else {
            continue;
        };
        let of_prefix = |one: &PrefixMatch<'_>| {
            format!("{} of prefix {}", label(one.place.matched), one.prefix)
        };
        let duplicate = format!("{} on {}", of_prefix(earlier), label(earlier.place.rule));
        let texts = [label(later.place.rule), of_prefix(later), duplicate];
        ineffective(report, "http", later.place, texts);
    }
}

/// The pairs of an earlier match and a later one that it leaves nothing to, in order.
fn overlaps(matches: &[PrefixMatch<'_>]) -> Vec<(usize, usize)> {
    let mut sorted: Vec<(usize, &PrefixMatch<'_>)> = matches.iter().enumerate().collect();
    sorted.sort_by(|(_, one), (_, other)| group(one, other).then(one.prefix.cmp(other.prefix)));
    let mut found = Vec::new();
    // In sorted order all that begins with a prefix follows it at once, so that those around a prefix form a stack.
    let mut around: Vec<(usize, &PrefixMatch<'_>)> = Vec::new();
    let mut pairs = 0;
    for (index, one) in sorted {
        let within = |outer: &PrefixMatch<'_>| {
            one.prefix.starts_with(outer.prefix) && group(one, outer).is_eq()
        };
        while around.last().is_some_and(|(_, outer)| !within(outer)) {
            around.pop();
        }
        pairs += around.len();
        if pairs > PAIR_LIMIT || found.len() > WARNING_LIMIT {
            break;
        }
        let shorter = around
            .iter()
            .take_while(|(_, outer)| outer.prefix.len() < one.prefix.len());
        found.extend(
            shorter
                .filter(|(earlier, outer)| *earlier < index && outer.takes_all_of(one))
                .map(|(earlier, _)| (*earlier, index)),
        );
        around.push((index, one));
    }
    found.sort_unstable();
    found.truncate(WARNING_LIMIT);
    found
}

/// The order of matches by what must be the same: the port and the names of headers and parameters.
fn group(one: &PrefixMatch<'_>, other: &PrefixMatch<'_>) -> Ordering {
    let (one, other) = (one.conditions, other.conditions);
    let names = |one: &BTreeMap<String, StringMatch>, other: &BTreeMap<String, StringMatch>| {
        one.keys().cmp(other.keys())
    };
    one.port
        .cmp(&other.port)
        .then_with(|| names(&one.headers, &other.headers))
        .then_with(|| names(&one.query_params, &other.query_params))
        .then_with(|| names(&one.without_headers, &other.without_headers))
}

/// A condition on a text as it is compared: its kind and text; none for an expression and where there is no condition.
type Compared<'a> = Option<(bool, &'a str)>;

fn value(text: Option<&StringMatch>) -> Compared<'_> {
    let (exact, text) = match text?.kind.as_ref()? {
        StringMatchKind::Exact(text) => (true, text),
        StringMatchKind::Prefix(text) => (false, text),
        StringMatchKind::Regex(_) => return None,
    };
    (!text.is_empty()).then_some((exact, text))
}

/// The method of a match, which is GET where none is given.
fn method(conditions: &HttpMatchRequest) -> Compared<'_> {
    value(conditions.method.as_ref()).or(Some((true, "GET")))
}

/// Whether an earlier condition is counted as one that a later one is part of: its text begins with the later's.
fn covers(earlier: Compared<'_>, later: Compared<'_>) -> bool {
    match (earlier, later) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some((exact, earlier)), Some((later_exact, later))) => {
            exact == later_exact && earlier.starts_with(later)
        }
    }
}

/// The same of conditions with equal names.
fn covers_each(
    earlier: &BTreeMap<String, StringMatch>,
    later: &BTreeMap<String, StringMatch>,
) -> bool {
    let pairs = earlier.values().zip(later.values());
    pairs
        .into_iter()
        .all(|(earlier, later)| covers(value(Some(earlier)), value(Some(later))))
}
