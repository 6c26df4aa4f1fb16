//! Changes to the standard metrics (`istio.stats`), compiled.

use crate::cel::{Attributes, Expression};

/// Value of a tag whose expression gives none.
const UNKNOWN: &str = "unknown";

/// Changes in the order of the configuration; later ones come over earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricOverrides {
    /// The changes.
    pub rules: Vec<MetricRule>,
}

/// One change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricRule {
    /// The metric, without `istio_`; `None` is all.
    pub metric: Option<Box<str>>,
    /// It is not counted.
    pub drop: bool,
    /// Tags added or replaced.
    pub tags: Vec<(Box<str>, Expression)>,
    /// Tags left out.
    pub remove: Vec<Box<str>>,
    /// The change is made where this holds.
    pub condition: Option<Expression>,
}

impl MetricOverrides {
    /// What the expressions give for one record, in an order that [`MetricOverrides::apply`] knows. Equal values make
    /// equal labels.
    pub fn values(&self, attributes: &dyn Attributes) -> Vec<String> {
        let mut values = Vec::new();
        for rule in &self.rules {
            if let Some(condition) = &rule.condition {
                let holds = condition.holds(attributes);
                values.push(holds.to_string());
            }
            for (_, expression) in &rule.tags {
                let value = expression.text(attributes);
                values.push(value.unwrap_or_else(|| UNKNOWN.to_owned()));
            }
        }
        values
    }

    /// Changes the labels of a metric; false when it is not counted.
    pub fn apply(
        &self,
        metric: &str,
        values: &[String],
        labels: &mut Vec<(Box<str>, String)>,
    ) -> bool {
        let mut values = values.iter();
        for rule in &self.rules {
            let holds = match rule.condition {
                Some(_) => values.next().is_some_and(|value| value == "true"),
                None => true,
            };
            let own = values.by_ref().take(rule.tags.len());
            let ours = rule.metric.as_deref().is_none_or(|name| name == metric);
            if !(holds && ours) {
                own.for_each(drop);
                continue;
            }
            if rule.drop {
                return false;
            }
            for ((name, _), value) in rule.tags.iter().zip(own) {
                match labels.iter_mut().find(|(known, _)| known == name) {
                    Some(label) => label.1.clone_from(value),
                    None => labels.push((name.clone(), value.clone())),
                }
            }
            labels.retain(|(name, _)| !rule.remove.contains(name));
        }
        true
    }
}
