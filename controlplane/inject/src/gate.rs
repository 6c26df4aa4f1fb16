//! Whether a pod is injected at all (contract/inject.md §1B).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use crate::names;
use crate::pod::PodObject;
use crate::settings::{Gate, Policy};

/// Why a pod stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// It uses the host's network, where redirect rules would catch the host's traffic.
    HostNetwork,
    /// Its own label or annotation, a selector or the policy says no, or it is in a system namespace.
    Disabled,
}

impl SkipReason {
    /// The end of the sentence `Skipping injection because <Kind> "<name>" …`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostNetwork => "has host networking enabled",
            Self::Disabled => "has sidecar injection disabled",
        }
    }
}

/// `None` when the pod is to be injected.
pub(crate) fn skip_reason(pod: &PodObject, gate: &Gate) -> Option<SkipReason> {
    if pod.host_network() {
        return Some(SkipReason::HostNetwork);
    }
    if names::SYSTEM_NAMESPACES.contains(&pod.namespace()) {
        return Some(SkipReason::Disabled);
    }
    let wanted = wish(pod).or_else(|| by_selectors(pod, gate));
    let inject = match gate.policy {
        Policy::Enabled => wanted.unwrap_or(true),
        Policy::Disabled => wanted.unwrap_or(false),
        Policy::Never => false,
    };
    (!inject).then_some(SkipReason::Disabled)
}

/// What the pod itself asks for; the label counts before the annotation, even an empty one.
fn wish(pod: &PodObject) -> Option<bool> {
    match pod
        .label(names::INJECT)
        .or_else(|| pod.annotation(names::INJECT))?
    {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn by_selectors(pod: &PodObject, gate: &Gate) -> Option<bool> {
    let any = |selectors: &[LabelSelector]| selectors.iter().any(|selector| matches(selector, pod));
    if any(&gate.never_inject) {
        return Some(false);
    }
    any(&gate.always_inject).then_some(true)
}

/// An empty selector matches nothing here.
fn matches(selector: &LabelSelector, pod: &PodObject) -> bool {
    let labels = selector.match_labels.iter().flatten();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    if selector
        .match_labels
        .as_ref()
        .is_none_or(std::collections::BTreeMap::is_empty)
        && expressions.is_empty()
    {
        return false;
    }
    labels
        .into_iter()
        .all(|(key, value)| pod.label(key) == Some(value))
        && expressions.iter().all(|rule| holds(rule, pod))
}

fn holds(rule: &LabelSelectorRequirement, pod: &PodObject) -> bool {
    let value = pod.label(&rule.key);
    let listed = || value.is_some_and(|value| rule.values.iter().flatten().any(|one| one == value));
    match rule.operator.as_str() {
        "In" => listed(),
        "NotIn" => !listed(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(value: Value) -> PodObject {
        match value {
            Value::Object(map) => PodObject(map),
            _ => PodObject::default(),
        }
    }

    #[test]
    fn the_pods_own_word_counts_only_when_it_is_true_or_false() {
        let labelled = |text: &str| {
            pod(
                json!({"metadata": {"labels": {names::INJECT: text}, "annotations": {names::INJECT: "false"}}}),
            )
        };
        let enabled = Gate::default();
        let disabled = Gate {
            policy: Policy::Disabled,
            ..Gate::default()
        };
        let never = Gate {
            policy: Policy::Never,
            ..Gate::default()
        };
        for (text, with_enabled, with_disabled) in [
            ("true", true, true),
            ("false", false, false),
            ("", true, false),
            ("yes", true, false),
            ("TRUE", true, false),
        ] {
            assert_eq!(
                skip_reason(&labelled(text), &enabled).is_none(),
                with_enabled,
                "{text}"
            );
            assert_eq!(
                skip_reason(&labelled(text), &disabled).is_none(),
                with_disabled,
                "{text}"
            );
            assert!(skip_reason(&labelled(text), &never).is_some(), "{text}");
        }
        let annotated = pod(json!({"metadata": {"annotations": {names::INJECT: "false"}}}));
        assert_eq!(
            skip_reason(&annotated, &enabled),
            Some(SkipReason::Disabled)
        );
    }

    #[test]
    fn host_network_and_system_namespaces_come_first() {
        let host = pod(
            json!({"metadata": {"labels": {names::INJECT: "true"}}, "spec": {"hostNetwork": true}}),
        );
        assert_eq!(
            skip_reason(&host, &Gate::default()),
            Some(SkipReason::HostNetwork)
        );
        let system = pod(
            json!({"metadata": {"namespace": "kube-system", "labels": {names::INJECT: "true"}}}),
        );
        assert_eq!(
            skip_reason(&system, &Gate::default()),
            Some(SkipReason::Disabled)
        );
    }

    #[test]
    fn never_comes_before_always_and_empty_selectors_match_nothing() {
        let selector =
            |text: Value| -> LabelSelector { serde_json::from_value(text).unwrap_or_default() };
        let app = pod(json!({"metadata": {"labels": {"app": "a"}}}));
        let by_label = selector(json!({"matchLabels": {"app": "a"}}));
        let by_rule = selector(
            json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["b"]}]}),
        );
        let gate = |never: &[&LabelSelector], always: &[&LabelSelector], policy| Gate {
            policy,
            never_inject: never.iter().copied().cloned().collect(),
            always_inject: always.iter().copied().cloned().collect(),
        };
        let empty = LabelSelector::default();
        assert!(skip_reason(&app, &gate(&[&by_label], &[&by_rule], Policy::Enabled)).is_some());
        assert!(skip_reason(&app, &gate(&[&empty], &[], Policy::Enabled)).is_none());
        assert!(skip_reason(&app, &gate(&[], &[&by_rule], Policy::Disabled)).is_none());
        assert!(skip_reason(&app, &gate(&[], &[&empty], Policy::Disabled)).is_some());
    }
}
