//! What an API server would refuse, found without one.

use std::fmt::Write as _;
use std::sync::OnceLock;

use super::definition::DEFINITIONS;
use super::rule::Rule;
use super::tree::{Form, Place, Tree};
use super::values::{as_number, as_text, field, given, has, is_whole, repeated};
use crate::object::Kind;
use crate::yaml::{Content, Node, Resolved, key_step};

/// A reason why an API server refuses an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The path of the field.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

static TREES: [OnceLock<Tree>; DEFINITIONS.len()] = [const { OnceLock::new() }; DEFINITIONS.len()];

/// What the schema and the CEL rules of a kind's definition refuse in an object of that kind, in the order of the text; empty for kinds
/// that are not Istio's. Unknown fields are not refused: the server drops them, and with them what is given in the other spelling.
#[must_use]
pub fn refusals(kind: Kind, object: &Node) -> Vec<Refusal> {
    let mut check = Check {
        refusals: Vec::new(),
    };
    let Some(at) = DEFINITIONS
        .iter()
        .position(|definition| definition.kind == kind)
    else {
        return check.refusals;
    };
    let (Some(definition), Some(tree)) = (DEFINITIONS.get(at), TREES.get(at)) else {
        return check.refusals;
    };
    let path = Path {
        parent: None,
        step: Step::Key("spec"),
    };
    match field(object, "spec") {
        Some(spec) => check.value(&tree.get_or_init(|| Tree::of(definition)).spec, spec, &path),
        None if definition.spec_required => check.refuse(&path, "is required".to_owned()),
        None => {}
    }
    check.refusals
}

/// Where a value stands; written out only when something is refused.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl Path<'_> {
    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.step {
            Step::Key(key) if self.parent.is_none() => out.push_str(key),
            Step::Key(key) => out.push_str(&key_step(key)),
            Step::Index(index) => {
                let _ = write!(out, "[{index}]");
            }
        }
    }
}

struct Check {
    refusals: Vec<Refusal>,
}

impl Check {
    fn refuse(&mut self, path: &Path<'_>, message: String) {
        let mut field = String::new();
        path.write(&mut field);
        self.refusals.push(Refusal { field, message });
    }

    fn value(&mut self, place: &Place, node: &Node, path: &Path<'_>) {
        if place.nullable && node.is_null() {
            return;
        }
        if let Some(expected) = mismatch(&place.form, node) {
            self.refuse(path, format!("must be {expected}, not {}", node.what()));
            return;
        }
        self.form(&place.form, node, path);
        for rule in &place.rules {
            self.rule(rule, node, path);
        }
        self.inside(place, node, path);
    }

    /// What the type asks of a value of its kind.
    fn form(&mut self, form: &Form, node: &Node, path: &Path<'_>) {
        match form {
            Form::Enum(names) => {
                let text = as_text(node).unwrap_or_default();
                if !names.contains(&text) {
                    self.refuse(path, format!("`{text}` is none of {}", names.join(", ")));
                }
            }
            #[allow(clippy::cast_precision_loss)]
            Form::Whole { min, max } => {
                let (least, greatest) = (*min as f64, *max as f64);
                if as_number(node).is_some_and(|number| number < least || number > greatest) {
                    self.refuse(path, format!("must be within {min}..{max}"));
                }
            }
            Form::Wide { signed } => {
                if !is_wide(node, *signed) {
                    self.refuse(path, "must be a whole number".to_owned());
                }
            }
            Form::Object { groups, .. } => {
                for group in groups {
                    let at_most_one = {
                        let mut there = group.iter().filter(|name| has(node, name));
                        there.next().is_none() || there.next().is_none()
                    };
                    if !at_most_one {
                        self.refuse(
                            path,
                            format!("only one of {} may be given", group.join(", ")),
                        );
                    }
                }
            }
            Form::Text | Form::Bool | Form::Double | Form::List(_) | Form::Map(_) | Form::Free => {}
        }
    }

    fn rule(&mut self, rule: &Rule, node: &Node, path: &Path<'_>) {
        let message = match rule {
            Rule::Required(names) => return self.required(names, node, path),
            Rule::Keyed(name) => return self.keyed(name, node, path),
            Rule::MinLength(least) => length(node)
                .filter(|length| length < least)
                .map(|_| too_few("character", *least)),
            Rule::MaxLength(most) => length(node)
                .filter(|length| length > most)
                .map(|length| too_many("character", length, *most)),
            Rule::MinItems(least) => (node.items().len() < *least).then(|| too_few("item", *least)),
            Rule::MaxItems(most) => {
                (node.items().len() > *most).then(|| too_many("item", node.items().len(), *most))
            }
            Rule::MinEntries(least) => (entries(node) < *least).then(|| too_few("entry", *least)),
            Rule::MaxEntries(most) => {
                (entries(node) > *most).then(|| too_many("entry", entries(node), *most))
            }
            #[allow(clippy::cast_precision_loss)]
            Rule::AtLeast(least) => as_number(node)
                .filter(|number| *number < *least as f64)
                .map(|number| format!("{number} is less than {least}")),
            #[allow(clippy::cast_precision_loss)]
            Rule::AtMost(most) => as_number(node)
                .filter(|number| *number > *most as f64)
                .map(|number| format!("{number} is more than {most}")),
            Rule::Pattern(pattern) => as_text(node)
                .filter(|text| !(pattern.matches)(text))
                .map(|_| format!("must be {}", pattern.what)),
            Rule::Alias(..) => None,
            Rule::Cel(cel) => (!(cel.holds)(node)).then(|| cel.message.to_owned()),
        };
        if let Some(message) = message {
            self.refuse(path, message);
        }
    }

    fn required(&mut self, names: &[&str], node: &Node, path: &Path<'_>) {
        if given(node, names) == names.len() {
            return;
        }
        for name in names.iter().filter(|name| !has(node, name)) {
            let path = Path {
                parent: Some(path),
                step: Step::Key(name),
            };
            self.refuse(&path, "is required".to_owned());
        }
    }

    fn keyed(&mut self, name: &str, node: &Node, path: &Path<'_>) {
        if let Some(index) = repeated(node.items(), name) {
            let path = Path {
                parent: Some(path),
                step: Step::Index(index),
            };
            let message = format!("an item with the same {name} stands before this one");
            self.refuse(&path, message);
        }
    }

    fn inside(&mut self, place: &Place, node: &Node, path: &Path<'_>) {
        match &place.form {
            Form::List(item_place) => {
                for (index, item) in node.items().iter().enumerate() {
                    let path = Path {
                        parent: Some(path),
                        step: Step::Index(index),
                    };
                    self.value(item_place, item, &path);
                }
            }
            Form::Map(value_place) => {
                for entry in node.entries().iter().filter(|entry| !entry.value.is_null()) {
                    let path = Path {
                        parent: Some(path),
                        step: Step::Key(&entry.key),
                    };
                    self.value(value_place, &entry.value, &path);
                }
            }
            Form::Object { .. } => {
                for entry in node.entries() {
                    let Some(field_place) = place.field(&entry.key) else {
                        continue;
                    };
                    // The server drops a null where it is no value of its own.
                    if entry.value.is_null() {
                        continue;
                    }
                    let path = Path {
                        parent: Some(path),
                        step: Step::Key(&entry.key),
                    };
                    self.value(field_place, &entry.value, &path);
                }
            }
            _ => {}
        }
    }
}

/// What should stand here, if something of another kind does.
fn mismatch(form: &Form, node: &Node) -> Option<&'static str> {
    let resolved = node.resolved();
    let (fits, expected) = match form {
        Form::Text | Form::Enum(_) => (matches!(resolved, Some(Resolved::Text(_))), "text"),
        Form::Bool => (is_boolean(node), "true or false"),
        Form::Whole { .. } => (is_whole(node), "a whole number"),
        Form::Wide { .. } => (
            is_signed_64(node) || matches!(resolved, Some(Resolved::Text(_))),
            "a whole number of 64 bits",
        ),
        Form::Double => (as_number(node).is_some(), "a number"),
        Form::List(_) => (matches!(node.content, Content::List(_)), "a list"),
        Form::Map(_) | Form::Object { .. } | Form::Free => {
            (matches!(node.content, Content::Map(_)), "a mapping")
        }
    };
    (!fits).then_some(expected)
}

/// True or false, also in the words of YAML 1.1 that clients turn into them.
fn is_boolean(node: &Node) -> bool {
    match &node.content {
        Content::Scalar(scalar) if !scalar.is_text => {
            let old = [
                "yes", "Yes", "YES", "on", "On", "ON", "no", "No", "NO", "off", "Off", "OFF",
            ];
            matches!(node.resolved(), Some(Resolved::Bool(_)))
                || old.contains(&scalar.text.as_str())
        }
        _ => false,
    }
}

/// As a number the server takes what a signed number holds; beyond that it is text.
fn is_signed_64(node: &Node) -> bool {
    match node.resolved() {
        Some(Resolved::Int(_)) => true,
        Some(Resolved::Float(number)) => is_whole(node) && number.abs() < 9.2e18,
        _ => false,
    }
}

fn is_wide(node: &Node, signed: bool) -> bool {
    match as_text(node) {
        Some(text) => {
            let digits = text.strip_prefix('-').filter(|_| signed).unwrap_or(text);
            let most = if signed { 19 } else { 20 };
            (1..=most).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        }
        None => signed || as_number(node).is_some_and(|number| number >= 0.0),
    }
}

fn length(node: &Node) -> Option<usize> {
    as_text(node).map(|text| text.chars().count())
}

fn entries(node: &Node) -> usize {
    node.entries()
        .iter()
        .filter(|entry| !entry.value.is_null())
        .count()
}

fn counted(what: &str, number: usize) -> String {
    match (what, number) {
        (_, 1) => format!("1 {what}"),
        ("entry", _) => format!("{number} entries"),
        _ => format!("{number} {what}s"),
    }
}

fn too_few(what: &str, least: usize) -> String {
    format!("needs at least {}", counted(what, least))
}

fn too_many(what: &str, number: usize, most: usize) -> String {
    format!("has {}, at most {most} are allowed", counted(what, number))
}
