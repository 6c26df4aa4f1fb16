//! Role-based access control, as Envoy's engine decides.

use std::borrow::Cow;
use std::sync::Arc;

use lateen_proxy_model::{Rbac, RbacAction, RbacFilter, RequestView};
use serde_json::{Map, Value};

/// What rules say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RbacVerdict {
    /// The request passes.
    pub allowed: bool,
    /// The policy that matched.
    pub policy: Option<Arc<str>>,
    /// Its place among the policies.
    pub place: Option<usize>,
    /// For rules that only note: whether a policy matched.
    pub noted: Option<bool>,
}

/// What the rules and shadow rules of a filter say of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RbacOutcome {
    /// The shadow rules.
    pub shadow: Option<RbacVerdict>,
    /// The enforced rules.
    pub enforced: Option<RbacVerdict>,
}

/// Asks shadow rules and rules.
pub fn rbac(filter: &RbacFilter, request: &RequestView<'_>) -> RbacOutcome {
    RbacOutcome {
        shadow: filter.shadow.as_ref().map(|rules| judge(rules, request)),
        enforced: filter.rules.as_ref().map(|rules| judge(rules, request)),
    }
}

fn judge(rules: &Rbac, request: &RequestView<'_>) -> RbacVerdict {
    let policy = rules.policy(request);
    let matched = policy.is_some();
    RbacVerdict {
        allowed: rules.action.allows(matched),
        place: policy.map(|(place, _)| place),
        policy: policy.map(|(_, policy)| Arc::clone(&policy.name)),
        noted: (rules.action == RbacAction::Log).then_some(matched),
    }
}

impl RbacVerdict {
    /// Response code details of a refusal, and why a connection was ended.
    pub fn details(&self) -> Cow<'static, str> {
        match &self.policy {
            None => Cow::Borrowed("rbac_access_denied_matched_policy[none]"),
            Some(policy) => {
                let policy = policy.replace(char::is_whitespace, "_");
                format!("rbac_access_denied_matched_policy[{policy}]").into()
            }
        }
    }
}

impl RbacOutcome {
    /// What is left for later filters and logs, under the name of the kind of filter.
    pub fn notes<'f>(
        &self,
        filter: &'f RbacFilter,
    ) -> impl Iterator<Item = &'f Arc<Map<String, Value>>> {
        let notes = &filter.notes;
        let shadow = self.shadow.as_ref().map(|it| notes.shadow.of(it.place));
        let enforced = self.enforced.as_ref().map(|it| notes.enforced.of(it.place));
        shadow.into_iter().chain(enforced)
    }

    /// Whether rules that only note matched, for access logs.
    pub fn noted(&self) -> Option<bool> {
        let noted = |verdict: &Option<RbacVerdict>| verdict.as_ref().and_then(|it| it.noted);
        noted(&self.enforced).or_else(|| noted(&self.shadow))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use lateen_proxy_model::{Condition, RbacPolicy, StringMatcher};

    use super::*;

    fn rules(action: RbacAction, path: &str) -> Rbac {
        let path = StringMatcher::Exact {
            value: path.into(),
            ignore_case: false,
        };
        Rbac {
            action,
            policies: vec![RbacPolicy {
                name: "a policy".into(),
                permission: Condition::UrlPath(path),
                principal: Condition::Any,
                expression: None,
            }],
        }
    }

    #[test]
    fn actions_say_what_a_match_means() {
        let headers = HeaderMap::new();
        let view = RequestView::of_head("GET", "a", "/x", &headers);
        for (action, path, allowed) in [
            (RbacAction::Allow, "/x", true),
            (RbacAction::Allow, "/y", false),
            (RbacAction::Deny, "/x", false),
            (RbacAction::Deny, "/y", true),
            (RbacAction::Log, "/y", true),
        ] {
            let filter = RbacFilter::new(Some(rules(action, path)), None, ("", ""));
            let verdict = rbac(&filter, &view).enforced.expect("rules");
            assert_eq!(verdict.allowed, allowed, "{action:?} {path}");
        }
    }

    #[test]
    fn shadow_rules_leave_metadata() {
        let headers = HeaderMap::new();
        let view = RequestView::of_head("GET", "a", "/x", &headers);
        let shadow = Some(rules(RbacAction::Deny, "/x"));
        let filter = RbacFilter::new(None, shadow, ("", "dry_"));
        let outcome = rbac(&filter, &view);
        let verdict = outcome.shadow.as_ref().expect("shadow rules");
        assert_eq!(
            verdict.details(),
            "rbac_access_denied_matched_policy[a_policy]"
        );
        let left = outcome.notes(&filter).next().expect("a note");
        assert_eq!(left["dry_shadow_effective_policy_id"], "a policy");
        assert_eq!(left["dry_shadow_engine_result"], "denied");
    }
}
