//! Header changes, compiled to names and texts.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// A text with format operators, compiled when the configuration arrives. Only the access log's formatter knows its
/// inside; the model carries it from one to the other.
#[derive(Clone)]
pub struct Template(Arc<dyn Any + Send + Sync>);

/// Writes the text of a [`Template`] for the request at hand.
pub trait Expand {
    /// The text; operators without a value give nothing. `headers` are those being changed, as they are now.
    fn expand(&self, template: &Template, headers: &HeaderMap) -> Vec<u8>;
}

/// Expands nothing: for texts that are known to be literal.
#[derive(Clone, Copy, Debug)]
pub struct NoTemplates;

/// The value of a header rule.
#[derive(Clone, Debug)]
pub enum HeaderText {
    /// Always this.
    Literal(HeaderValue),
    /// Made for each request.
    Template(Template),
}

/// What happens when the header is there already. Envoy's `HeaderAppendAction`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    /// Another line beside it.
    AppendOrAdd,
    /// Nothing.
    AddIfAbsent,
    /// It is replaced.
    OverwriteOrAdd,
    /// It is replaced; when absent, nothing is added.
    OverwriteIfExists,
}

/// One header that is added or set.
#[derive(Clone, Debug)]
pub struct HeaderRule {
    /// Name.
    pub name: HeaderName,
    /// Value.
    pub text: HeaderText,
    /// What happens to a header that is there.
    pub action: AppendAction,
    /// An empty value is written too.
    pub keep_empty: bool,
}

/// Headers to remove and to add. Removals come first; all values are made from the headers as they are then, after
/// which headers are replaced and, last, added.
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    remove: Vec<HeaderName>,
    rules: Vec<HeaderRule>,
    /// No rule needs to know what other rules do.
    plain: bool,
    templates: bool,
}

impl Template {
    /// Wraps a compiled text.
    pub fn new(inside: impl Any + Send + Sync) -> Self {
        Self(Arc::new(inside))
    }

    /// The compiled text, for whoever knows its type.
    pub fn inside<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Template")
    }
}

impl Expand for NoTemplates {
    fn expand(&self, _: &Template, _: &HeaderMap) -> Vec<u8> {
        Vec::new()
    }
}

impl HeaderText {
    /// The value; `None` when it cannot stand in a header.
    pub fn value(&self, headers: &HeaderMap, expand: &dyn Expand) -> Option<HeaderValue> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Template(template) => {
                HeaderValue::from_bytes(&expand.expand(template, headers)).ok()
            }
        }
    }
}

impl HeaderMutations {
    /// No changes.
    pub const NONE: Self = Self {
        remove: Vec::new(),
        rules: Vec::new(),
        plain: true,
        templates: false,
    };

    /// Compiles removals and rules.
    pub fn new(remove: Vec<HeaderName>, mut rules: Vec<HeaderRule>) -> Self {
        rules.retain(|rule| {
            let empty = matches!(&rule.text, HeaderText::Literal(value) if value.is_empty());
            !empty || rule.keep_empty
        });
        let plain = rules.iter().all(|rule| {
            matches!(rule.text, HeaderText::Literal(_))
                && matches!(
                    rule.action,
                    AppendAction::AppendOrAdd | AppendAction::OverwriteOrAdd
                )
        });
        let templates = rules
            .iter()
            .any(|rule| matches!(rule.text, HeaderText::Template(_)));
        Self {
            remove,
            rules,
            plain,
            templates,
        }
    }

    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.rules.is_empty()
    }

    /// Headers taken away.
    pub fn removed(&self) -> &[HeaderName] {
        &self.remove
    }

    /// Whether some value is made for each request.
    pub fn has_templates(&self) -> bool {
        self.templates
    }

    /// Whether a header is added whose name begins so.
    pub fn adds(&self, prefix: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.name.as_str().starts_with(prefix))
    }

    /// Changes `headers` in place.
    pub fn apply(&self, headers: &mut HeaderMap, expand: &dyn Expand) {
        for name in &self.remove {
            headers.remove(name);
        }
        if self.rules.is_empty() {
            return;
        }
        if self.plain {
            return self.apply_plain(headers);
        }
        let mut due = Vec::with_capacity(self.rules.len());
        for rule in &self.rules {
            let present = headers.contains_key(&rule.name);
            let wanted = match rule.action {
                AppendAction::AppendOrAdd | AppendAction::OverwriteOrAdd => true,
                AppendAction::AddIfAbsent => !present,
                AppendAction::OverwriteIfExists => present,
            };
            if wanted
                && let Some(value) = rule.text.value(headers, expand)
                && (!value.is_empty() || rule.keep_empty)
            {
                due.push((rule, value));
            }
        }
        let (replaced, added): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|(rule, _)| rule.replaces());
        for (rule, value) in replaced {
            headers.insert(&rule.name, value);
        }
        for (rule, value) in added {
            headers.append(&rule.name, value);
        }
    }

    fn apply_plain(&self, headers: &mut HeaderMap) {
        for replaces in [true, false] {
            for rule in self.rules.iter().filter(|it| it.replaces() == replaces) {
                let HeaderText::Literal(value) = &rule.text else {
                    continue;
                };
                if replaces {
                    headers.insert(&rule.name, value.clone());
                } else {
                    headers.append(&rule.name, value.clone());
                }
            }
        }
    }
}

impl HeaderRule {
    fn replaces(&self) -> bool {
        matches!(
            self.action,
            AppendAction::OverwriteOrAdd | AppendAction::OverwriteIfExists
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count;

    impl Expand for Count {
        fn expand(&self, template: &Template, headers: &HeaderMap) -> Vec<u8> {
            let name = template.inside::<&str>().expect("a name");
            let count = headers.get_all(*name).iter().count();
            count.to_string().into_bytes()
        }
    }

    fn rule(name: &'static str, text: HeaderText, action: AppendAction) -> HeaderRule {
        HeaderRule {
            name: HeaderName::from_static(name),
            text,
            action,
            keep_empty: false,
        }
    }

    fn literal(text: &'static str) -> HeaderText {
        HeaderText::Literal(HeaderValue::from_static(text))
    }

    fn lines(headers: &HeaderMap, name: &str) -> Vec<String> {
        let all = headers.get_all(name).iter();
        all.map(|it| it.to_str().expect("ASCII").to_owned())
            .collect()
    }

    #[test]
    fn values_see_the_headers_before_the_rules() {
        let changes = HeaderMutations::new(
            vec![HeaderName::from_static("gone")],
            vec![
                rule("a", literal("2"), AppendAction::AppendOrAdd),
                rule(
                    "count",
                    HeaderText::Template(Template::new("a")),
                    AppendAction::OverwriteOrAdd,
                ),
                rule("a", literal("no"), AppendAction::AddIfAbsent),
                rule("b", literal("no"), AppendAction::OverwriteIfExists),
                rule("c", literal("1"), AppendAction::AddIfAbsent),
                rule("c", literal("2"), AppendAction::AddIfAbsent),
                rule("empty", literal(""), AppendAction::AppendOrAdd),
            ],
        );
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("1"));
        headers.insert("gone", HeaderValue::from_static("1"));
        changes.apply(&mut headers, &Count);
        assert_eq!(lines(&headers, "a"), ["1", "2"]);
        assert_eq!(lines(&headers, "count"), ["1"]);
        assert_eq!(lines(&headers, "c"), ["1", "2"]);
        assert!(
            ["b", "empty", "gone"]
                .iter()
                .all(|it| !headers.contains_key(*it))
        );
    }

    #[test]
    fn headers_are_replaced_before_others_are_added() {
        let changes = HeaderMutations::new(
            Vec::new(),
            vec![
                rule("a", literal("2"), AppendAction::AppendOrAdd),
                rule("a", literal("1"), AppendAction::OverwriteOrAdd),
            ],
        );
        let mut headers = HeaderMap::new();
        headers.insert("a", HeaderValue::from_static("0"));
        changes.apply(&mut headers, &NoTemplates);
        assert_eq!(lines(&headers, "a"), ["1", "2"]);
    }
}
