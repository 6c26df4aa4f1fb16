//! Rules without effect, since another rule decides all requests that they match.

use lateen_api::object::Kind;
use lateen_api::security::{AuthorizationAction, AuthorizationRule};

use super::traits::implies;
use super::{Policies, Policy};
use crate::analyzers::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code::AUTHORIZATION_RULE_SHADOWED;
use crate::message::Messages;

pub(in super::super) const ANALYZER: Analyzer = Analyzer {
    name: "lateen.AuthorizationShadowAnalyzer",
    description: "Finds rules of AuthorizationPolicies that other rules leave without effect",
    inputs: &[Input::Kind(Kind::AuthorizationPolicy), Input::MeshConfig],
    run: |cluster, _, messages| run(cluster, messages),
};

/// The most rules that one rule is compared with.
const LIMIT: usize = 512;

fn run(cluster: &Cluster, messages: &mut Messages) {
    let policies = Policies::new(cluster);
    for (number, policy) in policies.all.iter().enumerate() {
        let mut others: Vec<Other<'_, '_>> = policies
            .covering(policy)
            .filter(|(_, other)| decides(other, policy))
            .flat_map(|(number, other)| {
                let rules = other.spec.rules.iter().enumerate();
                rules.map(move |(index, rule)| ((number, index), other, rule))
            })
            .take(LIMIT)
            .collect();
        others.sort_by_key(|(place, ..)| *place);
        for (index, rule) in policy.spec.rules.iter().enumerate() {
            let found = others
                .iter()
                .find(|other| shadows(other, policy, rule, (number, index)));
            if let Some(other) = found {
                report(policy, index, other, messages);
            }
        }
    }
}

/// A rule with the number of its policy and its own, which give the order.
type Other<'p, 'a> = ((usize, usize), &'p Policy<'a>, &'a AuthorizationRule);

/// Whether a policy decides before or together with another one: DENY before ALLOW, and what has the same action.
fn decides(other: &Policy<'_>, policy: &Policy<'_>) -> bool {
    let (one, two) = (other.spec.action, policy.spec.action);
    if one == AuthorizationAction::Deny && two == AuthorizationAction::Allow {
        return true;
    }
    one == two && other.spec.action_detail == policy.spec.action_detail
}

fn shadows(
    (place, other, wide): &Other<'_, '_>,
    policy: &Policy<'_>,
    rule: &AuthorizationRule,
    own: (usize, usize),
) -> bool {
    if *place == own || !implies(rule, wide) {
        return false;
    }
    // Of rules that say the same for the same workloads the first one stays.
    let same =
        other.spec.action == policy.spec.action && policy.covers(other) && implies(wide, rule);
    !same || *place < own
}

fn report(policy: &Policy<'_>, index: usize, other: &Other<'_, '_>, messages: &mut Messages) {
    let ((_, place), other, wide) = other;
    let everything = if wide.from.is_empty() && wide.to.is_empty() && wide.when.is_empty() {
        ", which matches everything"
    } else {
        ""
    };
    let by = format!(
        "rule {place} of the {} policy {}{everything}",
        other.spec.action,
        other.name()
    );
    let text = if other.spec.action == policy.spec.action {
        format!(
            "rule {index} has no effect, since all that it matches is matched by {by}; remove one of them"
        )
    } else {
        format!(
            "rule {index} allows nothing, since all that it matches is denied by {by}; DENY comes before ALLOW, so narrow the denial"
        )
    };
    let field = format!("spec.rules[{index}]");
    messages.field(AUTHORIZATION_RULE_SHADOWED, policy.object, &field, text);
}
