//! Conditions on dynamic metadata.

use serde_json::{Map, Value};

use crate::facts::DynamicMetadata;
use crate::matcher::StringMatcher;

/// A condition on one value of dynamic metadata. Envoy's `MetadataMatcher`.
#[derive(Clone, Debug)]
pub struct MetadataMatcher {
    /// Namespace, mostly a filter's name.
    pub namespace: Box<str>,
    /// Keys that lead to the value; at least one.
    pub path: Vec<Box<str>>,
    /// The condition.
    pub value: ValueMatcher,
    /// The condition must not hold.
    pub invert: bool,
}

/// A condition on a value. Envoy's `ValueMatcher`.
#[derive(Clone, Debug)]
pub enum ValueMatcher {
    /// The value is null.
    Null,
    /// The value is this number.
    Number(f64),
    /// The value is a number in `start..end`.
    Range {
        /// First number that matches.
        start: f64,
        /// First number above that does not.
        end: f64,
    },
    /// The value is a text of this kind.
    Text(StringMatcher),
    /// The value is this truth value.
    Bool(bool),
    /// There is a value, or, with `false`, there is none.
    Present(bool),
    /// The value is a list and one of its items satisfies this.
    OneOf(Box<ValueMatcher>),
    /// One of these holds.
    Any(Vec<ValueMatcher>),
}

impl MetadataMatcher {
    /// Whether the metadata satisfies the condition.
    pub fn matches(&self, metadata: &DynamicMetadata) -> bool {
        let path = self.path.iter().map(|key| &**key);
        self.value.matches(metadata.value(&self.namespace, path)) != self.invert
    }

    /// Whether an object that stands for the namespace satisfies the condition.
    pub fn matches_object(&self, object: &Map<String, Value>) -> bool {
        let mut path = self.path.iter();
        let mut value = path.next().and_then(|key| object.get(&**key));
        for key in path {
            value = value.and_then(|value| value.get(&**key));
        }
        self.value.matches(value) != self.invert
    }
}

impl ValueMatcher {
    /// Whether a value satisfies the condition.
    #[allow(clippy::float_cmp, reason = "an exact number is asked for")]
    pub fn matches(&self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Self::Present(wanted), value) => value.is_some() == *wanted,
            (Self::Any(all), value) => all.iter().any(|one| one.matches(value)),
            (_, None) => false,
            (Self::Null, Some(value)) => value.is_null(),
            (Self::Number(number), Some(value)) => value.as_f64() == Some(*number),
            (Self::Range { start, end }, Some(value)) => value
                .as_f64()
                .is_some_and(|number| (*start..*end).contains(&number)),
            (Self::Text(matcher), Some(value)) => {
                value.as_str().is_some_and(|text| matcher.matches(text))
            }
            (Self::Bool(wanted), Some(value)) => value.as_bool() == Some(*wanted),
            (Self::OneOf(matcher), Some(value)) => value
                .as_array()
                .is_some_and(|list| list.iter().any(|item| matcher.matches(Some(item)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn exact(text: &str) -> ValueMatcher {
        ValueMatcher::Text(StringMatcher::Exact {
            value: text.into(),
            ignore_case: false,
        })
    }

    #[test]
    fn values_match_by_their_kind() {
        for (matcher, value, wanted) in [
            (exact("a"), json!("a"), true),
            (exact("a"), json!(["a"]), false),
            (
                ValueMatcher::OneOf(Box::new(exact("a"))),
                json!(["b", "a"]),
                true,
            ),
            (ValueMatcher::OneOf(Box::new(exact("a"))), json!("a"), false),
            (
                ValueMatcher::Range {
                    start: 1.0,
                    end: 2.0,
                },
                json!(2),
                false,
            ),
            (ValueMatcher::Number(2.0), json!(2), true),
            (ValueMatcher::Bool(false), json!(false), true),
            (ValueMatcher::Null, json!(null), true),
            (
                ValueMatcher::Any(vec![exact("a"), ValueMatcher::Null]),
                json!("b"),
                false,
            ),
        ] {
            assert_eq!(matcher.matches(Some(&value)), wanted, "{matcher:?} {value}");
        }
        assert!(ValueMatcher::Present(false).matches(None));
        assert!(!exact("").matches(None));
    }
}
