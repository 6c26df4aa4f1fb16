//! Sources, operations and conditions of rules as lists of traits, so that they can be compared one by one.

use lateen_api::security::{
    AuthorizationCondition, AuthorizationOperation, AuthorizationRule, AuthorizationSource,
};

use super::patterns::Compare;

/// One trait: its value has to match any of some and none of others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trait<'a> {
    /// The field of the values.
    pub(super) name: &'static str,
    pub(super) values: &'a [String],
    pub(super) not: &'a [String],
    pub(super) compare: Compare,
    /// Whether only HTTP requests have it.
    pub(super) is_http: bool,
}

/// Lists longer than this together are not compared value by value.
const LIMIT: usize = 100_000;

impl<'a> Trait<'a> {
    const fn new(
        name: &'static str,
        values: &'a [String],
        not: &'a [String],
        compare: Compare,
    ) -> Self {
        Self {
            name,
            values,
            not,
            compare,
            is_http: false,
        }
    }

    const fn http(self) -> Self {
        Self {
            is_http: true,
            ..self
        }
    }

    /// Whether anything is asked.
    pub(super) const fn is_set(&self) -> bool {
        !self.values.is_empty() || !self.not.is_empty()
    }

    /// Whether every value that would match is ruled out again.
    pub(super) fn contradicts_itself(&self) -> bool {
        !self.values.is_empty()
            && self.values.len().saturating_mul(self.not.len()) <= LIMIT
            && self
                .values
                .iter()
                .all(|value| self.not.iter().any(|not| self.compare.covers(not, value)))
    }

    /// Whether all that matches this trait matches another one, too.
    pub(super) fn implies(&self, wide: &Self) -> bool {
        if self
            .values
            .len()
            .saturating_mul(wide.values.len() + wide.not.len())
            > LIMIT
        {
            return false;
        }
        let compare = self.compare;
        let covered = |value: &String| wide.values.iter().any(|one| compare.covers(one, value));
        let values =
            wide.values.is_empty() || (!self.values.is_empty() && self.values.iter().all(covered));
        let apart = |not: &String| {
            !self.values.is_empty() && !self.values.iter().any(|value| compare.overlaps(value, not))
        };
        let ruled_out = |not: &String| self.not.iter().any(|one| compare.covers(one, not));
        values && wide.not.iter().all(|not| ruled_out(not) || apart(not))
    }

    /// Whether something may match both this trait and another one.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        if self
            .values
            .len()
            .saturating_mul(other.values.len() + other.not.len())
            > LIMIT
        {
            return true;
        }
        let compare = self.compare;
        let excluded = |one: &Self, two: &Self| {
            !one.values.is_empty()
                && one
                    .values
                    .iter()
                    .all(|value| two.not.iter().any(|not| compare.covers(not, value)))
        };
        let apart = !self.values.is_empty()
            && !other.values.is_empty()
            && !self
                .values
                .iter()
                .any(|value| other.values.iter().any(|one| compare.overlaps(value, one)));
        !apart && !excluded(self, other) && !excluded(other, self)
    }
}

pub(super) fn of_source(source: &AuthorizationSource) -> [Trait<'_>; 7] {
    let s = source;
    [
        Trait::new(
            "principals",
            &s.principals,
            &s.not_principals,
            Compare::Text,
        ),
        Trait::new(
            "requestPrincipals",
            &s.request_principals,
            &s.not_request_principals,
            Compare::Text,
        )
        .http(),
        Trait::new(
            "namespaces",
            &s.namespaces,
            &s.not_namespaces,
            Compare::Text,
        ),
        Trait::new(
            "serviceAccounts",
            &s.service_accounts,
            &s.not_service_accounts,
            Compare::Text,
        ),
        Trait::new(
            "trustDomains",
            &s.trust_domains,
            &s.not_trust_domains,
            Compare::Text,
        ),
        Trait::new("ipBlocks", &s.ip_blocks, &s.not_ip_blocks, Compare::Address),
        Trait::new(
            "remoteIpBlocks",
            &s.remote_ip_blocks,
            &s.not_remote_ip_blocks,
            Compare::Address,
        ),
    ]
}

pub(super) fn of_operation(operation: &AuthorizationOperation) -> [Trait<'_>; 4] {
    let o = operation;
    [
        Trait::new("hosts", &o.hosts, &o.not_hosts, Compare::AnyCase).http(),
        Trait::new("ports", &o.ports, &o.not_ports, Compare::Text),
        Trait::new("methods", &o.methods, &o.not_methods, Compare::Text).http(),
        Trait::new("paths", &o.paths, &o.not_paths, Compare::Path).http(),
    ]
}

/// A condition as a trait; it bears the name of the trait of sources or operations that it is about.
pub(super) fn of_condition(condition: &AuthorizationCondition) -> Trait<'_> {
    let (name, compare) = match condition.key.as_str() {
        "source.ip" => ("ipBlocks", Compare::Address),
        "remote.ip" => ("remoteIpBlocks", Compare::Address),
        "source.namespace" => ("namespaces", Compare::Text),
        "source.principal" => ("principals", Compare::Text),
        "source.trustDomain" => ("trustDomains", Compare::Text),
        "request.auth.principal" => ("requestPrincipals", Compare::Text),
        "destination.port" => ("ports", Compare::Text),
        "destination.ip" => ("", Compare::Address),
        _ => ("", Compare::Text),
    };
    let own = Trait::new(name, &condition.values, &condition.not_values, compare);
    if condition.key.starts_with("request.") {
        own.http()
    } else {
        own
    }
}

/// The sources of a rule; none means anywhere.
pub(super) fn sources(rule: &AuthorizationRule) -> Vec<[Trait<'_>; 7]> {
    let sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    sources.map(of_source).collect()
}

/// The operations of a rule; none means anything.
pub(super) fn operations(rule: &AuthorizationRule) -> Vec<[Trait<'_>; 4]> {
    let operations = rule.to.iter().filter_map(|to| to.operation.as_ref());
    operations.map(of_operation).collect()
}

/// Whether all requests that match a rule match another one, too.
pub(super) fn implies(narrow: &AuthorizationRule, wide: &AuthorizationRule) -> bool {
    // The condition of some key implies that of the same key.
    let when = wide.when.iter().all(|condition| {
        let wide = of_condition(condition);
        let same = narrow
            .when
            .iter()
            .filter(|other| other.key == condition.key);
        same.map(of_condition).any(|narrow| narrow.implies(&wide))
    });
    when && each_implies(&sources(narrow), &sources(wide))
        && each_implies(&operations(narrow), &operations(wide))
}

fn each_implies<const N: usize>(narrow: &[[Trait<'_>; N]], wide: &[[Trait<'_>; N]]) -> bool {
    let all_in = |one: &[Trait<'_>; N]| {
        wide.iter()
            .any(|wide| one.iter().zip(wide).all(|(one, wide)| one.implies(wide)))
    };
    wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(all_in))
}

/// Whether a request may match one of some entries and one of others.
pub(super) fn may_meet<const N: usize>(
    one: &[[Trait<'_>; N]],
    two: &[[Trait<'_>; N]],
    counts: impl Fn(&Trait<'_>) -> bool,
) -> bool {
    let meet = |one: &[Trait<'_>; N], two: &[Trait<'_>; N]| {
        one.iter()
            .zip(two)
            .filter(|(one, _)| counts(one))
            .all(|(one, two)| one.may_meet(two))
    };
    one.is_empty() || two.is_empty() || one.iter().any(|one| two.iter().any(|two| meet(one, two)))
}
