//! The schema of a kind with its rules: what is printed for the API server, and what values are held against.

use super::definition::Definition;
use super::rule::{Row, Rule};
use crate::proto::{Schema, Shape, json_name};

/// A place in an object: what stands there, and by which rules.
#[derive(Clone)]
pub(super) struct Place {
    /// What it is for.
    pub(super) description: String,
    /// Whether null is a value of its own.
    pub(super) nullable: bool,
    /// What stands there.
    pub(super) form: Form,
    /// Further rules.
    pub(super) rules: Vec<&'static Rule>,
}

/// What stands at a place.
#[derive(Clone)]
pub(super) enum Form {
    /// Text.
    Text,
    /// True or false.
    Bool,
    /// A whole number.
    Whole { min: i64, max: i64 },
    /// A whole number, as a number or as text.
    Wide { signed: bool },
    /// A number.
    Double,
    /// One of these names.
    Enum(Vec<&'static str>),
    /// A list.
    List(Box<Place>),
    /// A mapping from any keys.
    Map(Box<Place>),
    /// An object with these fields, of which those of a group exclude each other.
    Object {
        fields: Vec<(String, Place)>,
        groups: Vec<Vec<String>>,
    },
    /// Any object.
    Free,
}

/// The `spec` of a kind.
pub(super) struct Tree {
    pub(super) spec: Place,
    /// Paths of rules for which the types have no place, and rules that do not fit where they are laid.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) misfits: Vec<String>,
}

impl Tree {
    pub(super) fn of(definition: &Definition) -> Self {
        let mut tree = Self {
            spec: Place::of((definition.schema)(), ""),
            misfits: Vec::new(),
        };
        lay(&mut tree.spec, definition.rules, &mut tree.misfits);
        tree
    }
}

impl Place {
    fn of(schema: Schema, field_docs: &str) -> Self {
        let docs = if field_docs.is_empty() {
            schema.docs
        } else {
            field_docs
        };
        let mut description = joined(docs);
        if let Shape::Enum(values) = &schema.shape {
            for (name, docs) in *values {
                description.push_str(&format!("\n- {name}: {}", joined(docs)));
            }
        }
        Self {
            description,
            nullable: schema.nullable,
            form: Form::of(schema.shape),
            rules: Vec::new(),
        }
    }

    /// The field of an object.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        match &self.form {
            Form::Object { fields, .. } => fields
                .binary_search_by(|(field, _)| field.as_str().cmp(name))
                .ok()
                .and_then(|at| fields.get(at))
                .map(|(_, place)| place),
            _ => None,
        }
    }

    fn at(&mut self, path: &str) -> Option<&mut Self> {
        let mut place = self;
        let steps = path.split('.').filter(|step| !step.is_empty());
        for step in steps {
            let name_len = step.find(['[', '{']).unwrap_or(step.len());
            let (name, mut into) = step.split_at(name_len);
            if !name.is_empty() {
                place = place.field_mut(name)?;
            }
            while !into.is_empty() {
                place = match (&mut place.form, into.get(..2)?) {
                    (Form::List(inner), "[]") | (Form::Map(inner), "{}") => inner,
                    _ => return None,
                };
                into = into.get(2..)?;
            }
        }
        Some(place)
    }

    fn field_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Form::Object { fields, .. } = &mut self.form else {
            return None;
        };
        let mut fields = fields.iter_mut();
        fields
            .find(|(field, _)| field == name)
            .map(|(_, place)| place)
    }

    fn add(&mut self, rule: &'static Rule) -> bool {
        if let Rule::Alias(alias, name) = rule {
            return self.add_alias(alias, name);
        }
        self.rules.push(rule);
        match (rule, &self.form) {
            (Rule::Required(names), Form::Object { .. }) => {
                names.iter().all(|name| self.field(name).is_some())
            }
            (Rule::Keyed(name), Form::List(item)) => item.requires(name),
            (
                Rule::MinLength(_) | Rule::MaxLength(_) | Rule::Pattern(_),
                Form::Text | Form::Enum(_),
            )
            | (Rule::MinItems(_) | Rule::MaxItems(_), Form::List(_))
            | (Rule::MinEntries(_) | Rule::MaxEntries(_), Form::Map(_))
            | (Rule::AtLeast(_) | Rule::AtMost(_), Form::Whole { .. } | Form::Double)
            | (Rule::Cel(_), _) => true,
            _ => false,
        }
    }

    fn requires(&self, name: &str) -> bool {
        self.rules
            .iter()
            .any(|rule| matches!(rule, Rule::Required(names) if names.contains(&name)))
    }

    fn add_alias(&mut self, alias: &str, name: &str) -> bool {
        let Some(place) = self.field(name).cloned() else {
            return false;
        };
        let Form::Object { fields, .. } = &mut self.form else {
            return false;
        };
        fields.push((alias.to_owned(), place));
        fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        true
    }
}

impl Form {
    fn of(shape: Shape) -> Self {
        match shape {
            Shape::Text | Shape::Duration | Shape::Bytes => Self::Text,
            Shape::Bool => Self::Bool,
            Shape::Whole { min, max } => Self::Whole { min, max },
            Shape::Wide { signed } => Self::Wide { signed },
            Shape::Double => Self::Double,
            Shape::Enum(values) => Self::Enum(values.iter().map(|(name, _)| *name).collect()),
            Shape::List(item) => Self::List(Box::new(Place::of(*item, ""))),
            Shape::Map(value) => Self::Map(Box::new(Place::of(*value, ""))),
            Shape::Struct => Self::Free,
            Shape::Message { fields, one_of } => {
                let mut fields: Vec<_> = fields
                    .into_iter()
                    .map(|field| (json_name(field.name), Place::of(field.schema, field.docs)))
                    .collect();
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                let groups = one_of
                    .into_iter()
                    .filter(|group| group.len() > 1)
                    .map(|group| group.into_iter().map(json_name).collect())
                    .collect();
                Self::Object { fields, groups }
            }
        }
    }
}

/// Lays a table over a schema.
fn lay(place: &mut Place, rows: &'static [Row], misfits: &mut Vec<String>) {
    for row in rows {
        match row {
            Row::On(path, rules) => match place.at(path) {
                Some(found) => {
                    for rule in *rules {
                        if !found.add(rule) {
                            misfits.push((*path).to_owned());
                        }
                    }
                }
                None => misfits.push((*path).to_owned()),
            },
            Row::In(path, inner) => match place.at(path) {
                Some(found) => lay(found, inner, misfits),
                None => misfits.push((*path).to_owned()),
            },
        }
    }
}

/// Documentation as one line; the marks of code stay.
fn joined(docs: &str) -> String {
    let lines: Vec<&str> = docs.lines().map(str::trim).collect();
    lines.join(" ").trim().to_owned()
}
