//! Kubernetes label selectors, as mesh settings hold them.

use std::collections::BTreeMap;

use crate::proto::message;

message! {
    /// Objects by their labels; all conditions must hold.
    LabelSelector {
        /// Labels that an object must have.
        match_labels: BTreeMap<String, String>,
        /// Further conditions.
        match_expressions: Vec<LabelSelectorRequirement>,
    }
}

message! {
    /// A condition on one label.
    LabelSelectorRequirement {
        /// The label.
        key: String,
        /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
        operator: String,
        /// The values for `In` and `NotIn`.
        values: Vec<String>,
    }
}

impl LabelSelector {
    /// Whether an object with these labels is selected. An unknown operator selects nothing.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
            && self
                .match_expressions
                .iter()
                .all(|condition| condition.holds(labels))
    }
}

impl LabelSelectorRequirement {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match self.operator.as_str() {
            "In" => value.is_some_and(|value| self.values.contains(value)),
            "NotIn" => value.is_none_or(|value| !self.values.contains(value)),
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            _ => false,
        }
    }
}
