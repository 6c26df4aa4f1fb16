//! Statistics of many like objects, kept small: a number and which of the few names it has. Full names, families and
//! labels are written when somebody looks.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::log_linear::LogLinear;
use super::{Kind, Scope};

/// All objects, by what their names begin with.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) by_prefix: BTreeMap<Box<str>, Object>,
    /// Names that statistics have, each once.
    names: HashMap<Box<str>, Arc<StatName>>,
}

/// One object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) labels: Box<[Label]>,
    pub(super) stats: Vec<Kept>,
}

/// A part of an object's name that becomes a label.
#[derive(Clone, Debug)]
pub(super) struct Label {
    pub(super) tag: Tag,
    /// Where it stands in the name.
    pub(super) place: Range<u32>,
}

/// A label's name, without what all begin with.
pub(super) type Tag = &'static str;

/// A name behind that of the object.
#[derive(Debug)]
pub(super) struct StatName {
    pub(super) name: Box<str>,
    pub(super) cut: Option<Cut>,
}

/// A part of a statistic's name that becomes a label, and what of it is left out of the family.
#[derive(Clone, Debug)]
pub(super) struct Cut {
    pub(super) tag: Tag,
    pub(super) value: Range<u32>,
    pub(super) without: Range<u32>,
}

/// One statistic.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) name: Arc<StatName>,
    pub(super) value: Value,
}

/// Its value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Number(Kind, Arc<AtomicU64>),
    Times(Arc<LogLinear>),
}

fn place(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Scope<'_> {
    /// What names of its statistics begin with.
    pub(super) fn prefix(&self) -> String {
        match self.within {
            None => format!("{}.{}", self.group, self.value),
            Some(inner) => format!(
                "{}.{}.{}.{}",
                self.group, self.value, inner.group, inner.value
            ),
        }
    }

    pub(super) fn labels(&self) -> Vec<Label> {
        let start = self.group.len() + 1;
        let end = start + self.value.len();
        let mut labels = vec![Label {
            tag: self.tag,
            place: place(start)..place(end),
        }];
        if let Some(inner) = self.within {
            let start = end + 1 + inner.group.len() + 1;
            labels.push(Label {
                tag: inner.tag,
                place: place(start)..place(start + inner.value.len()),
            });
        }
        labels
    }
}

impl Cut {
    /// The class in `<prefix>2xx`.
    pub(super) fn class(prefix: &str) -> Self {
        let at = place(prefix.len())..place(prefix.len() + 1);
        Self {
            tag: "response_code_class",
            value: at.clone(),
            without: at,
        }
    }

    /// The code in `<prefix>200`, and the line before it.
    pub(super) fn code(prefix: &str, name: &str) -> Self {
        let (start, end) = (place(prefix.len()), place(name.len()));
        Self {
            tag: "response_code",
            value: start..end,
            without: start.saturating_sub(1)..end,
        }
    }
}

impl Objects {
    /// The value of an object's statistic, made when unknown.
    pub(super) fn value(
        &mut self,
        (scope, prefix): (Scope<'_>, String),
        name: &str,
        cut: impl FnOnce() -> Option<Cut>,
        made: impl FnOnce() -> Value,
    ) -> Value {
        let object = self
            .by_prefix
            .entry(prefix.into())
            .or_insert_with(|| Object {
                labels: scope.labels().into(),
                stats: Vec::new(),
            });
        let known = object.stats.iter().find(|kept| *kept.name.name == *name);
        if let Some(kept) = known {
            return kept.value.clone();
        }
        let name = match self.names.get(name) {
            Some(known) => Arc::clone(known),
            None => {
                let one = Arc::new(StatName {
                    name: name.into(),
                    cut: cut(),
                });
                self.names.insert(name.into(), Arc::clone(&one));
                one
            }
        };
        let value = made();
        object.stats.push(Kept {
            name,
            value: value.clone(),
        });
        value
    }

    /// Forgets objects of a group by the value of their first label.
    pub(super) fn forget(&mut self, group: &str, stays: impl Fn(&str) -> bool) {
        self.by_prefix.retain(|prefix, object| {
            let of_group = prefix
                .strip_prefix(group)
                .is_some_and(|rest| rest.starts_with('.'));
            let first = object.labels.first();
            let value = first.and_then(|label| part(prefix, &label.place));
            !of_group || value.is_none_or(&stays)
        });
    }
}

/// A part of a text.
pub(super) fn part<'a>(text: &'a str, place: &Range<u32>) -> Option<&'a str> {
    text.get(place.start as usize..place.end as usize)
}
