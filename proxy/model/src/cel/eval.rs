//! Evaluation, within a budget of steps.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::NoValue;
use super::attribute::Attributes;
use super::parse::{Macro, Node, Operator};
use super::value::Value;

/// Most steps of one evaluation: a macro over a list takes some for each item.
const MAX_STEPS: u32 = 20_000;

pub(super) fn value<'a>(
    root: &'a Node,
    attributes: &'a dyn Attributes,
) -> Result<Value<'a>, NoValue> {
    let mut run = Run {
        attributes,
        steps: 0,
    };
    run.node(root, None)
}

struct Run<'a> {
    attributes: &'a dyn Attributes,
    steps: u32,
}

/// A macro's variable, and those around it.
struct Scope<'s, 'a> {
    value: Value<'a>,
    outer: Option<&'s Scope<'s, 'a>>,
}

type Outcome<'a> = Result<Value<'a>, NoValue>;

impl<'a> Run<'a> {
    fn node(&mut self, node: &'a Node, scope: Option<&Scope<'_, 'a>>) -> Outcome<'a> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(NoValue);
        }
        Ok(match node {
            Node::Null => Value::Null,
            Node::Bool(value) => Value::Bool(*value),
            Node::Int(value) => Value::Int(*value),
            Node::Uint(value) => Value::Uint(*value),
            Node::Double(value) => Value::Double(*value),
            Node::Text(text) => Value::text(text),
            Node::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Node::List(items) => Value::List(self.all(items, scope)?),
            Node::Map(entries) => {
                let mut made = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    made.push((self.node(key, scope)?, self.node(value, scope)?));
                }
                Value::Map(made)
            }
            Node::Attribute(which) => self.attributes.attribute(*which).ok_or(NoValue)?,
            Node::Variable(distance) => variable(scope, *distance).ok_or(NoValue)?,
            Node::Member(object, key) => {
                let object = self.node(object, scope)?;
                let key = self.node(key, scope)?;
                object.at(&key).ok_or(NoValue)?
            }
            Node::Has(object, key) => self.has(object, key, scope)?,
            Node::Not(node) => Value::Bool(!self.truth(node, scope)?),
            Node::Minus(node) => match self.node(node, scope)? {
                Value::Int(value) => Value::Int(value.checked_neg().ok_or(NoValue)?),
                Value::Double(value) => Value::Double(-value),
                Value::Duration(value) => Value::Duration(-value),
                _ => return Err(NoValue),
            },
            Node::Binary(operator, both) => {
                let left = self.node(&both.0, scope)?;
                let right = self.node(&both.1, scope)?;
                binary(*operator, left, right)?
            }
            Node::And(both) => self.absorbing(both, scope, false)?,
            Node::Or(both) => self.absorbing(both, scope, true)?,
            Node::Choose(all) => match self.truth(&all.0, scope)? {
                true => self.node(&all.1, scope)?,
                false => self.node(&all.2, scope)?,
            },
            Node::Call(function, arguments) => {
                let arguments = self.all(arguments, scope)?;
                function.call(arguments)?
            }
            Node::Matches(on, regex) => match self.node(on, scope)? {
                Value::Text(text) => Value::Bool(regex.is_match(&text)),
                _ => return Err(NoValue),
            },
            Node::Fold(kind, all) => self.fold(*kind, all, scope)?,
        })
    }

    fn all(
        &mut self,
        nodes: &'a [Node],
        scope: Option<&Scope<'_, 'a>>,
    ) -> Result<Vec<Value<'a>>, NoValue> {
        nodes.iter().map(|node| self.node(node, scope)).collect()
    }

    fn truth(&mut self, node: &'a Node, scope: Option<&Scope<'_, 'a>>) -> Result<bool, NoValue> {
        match self.node(node, scope)? {
            Value::Bool(value) => Ok(value),
            _ => Err(NoValue),
        }
    }

    fn has(
        &mut self,
        object: &'a Node,
        key: &'a Node,
        scope: Option<&Scope<'_, 'a>>,
    ) -> Outcome<'a> {
        let object = match self.node(object, scope) {
            Ok(object) => object,
            // What hangs on something absent is absent.
            Err(NoValue) => return Ok(Value::Bool(false)),
        };
        let key = self.node(key, scope)?;
        let there = matches!(key, Value::Null) || object.at(&key).is_some();
        Ok(Value::Bool(there))
    }

    /// `&&` ends at false and `||` at true, on either side and whatever the other side is.
    fn absorbing(
        &mut self,
        both: &'a (Node, Node),
        scope: Option<&Scope<'_, 'a>>,
        end: bool,
    ) -> Outcome<'a> {
        let left = self.truth(&both.0, scope);
        if left == Ok(end) {
            return Ok(Value::Bool(end));
        }
        let right = self.truth(&both.1, scope);
        if right == Ok(end) {
            return Ok(Value::Bool(end));
        }
        left.and(right).map(Value::Bool)
    }

    fn fold(
        &mut self,
        kind: Macro,
        all: &'a (Node, Node, Option<Node>),
        scope: Option<&Scope<'_, 'a>>,
    ) -> Outcome<'a> {
        let items = match self.node(&all.0, scope)? {
            Value::List(items) => items,
            Value::Map(entries) => entries.into_iter().map(|(key, _)| key).collect(),
            _ => return Err(NoValue),
        };
        let (mut made, mut hits, mut failed) = (Vec::new(), 0_usize, false);
        let count = items.len();
        for value in items {
            let inner = Scope {
                value,
                outer: scope,
            };
            let found = self.node(&all.1, Some(&inner));
            match (kind, found) {
                (Macro::Map, found) => match &all.2 {
                    None => made.push(found?),
                    Some(then) => {
                        if matches!(found?, Value::Bool(true)) {
                            made.push(self.node(then, Some(&inner))?);
                        }
                    }
                },
                (Macro::Filter, Ok(Value::Bool(kept))) => {
                    if kept {
                        made.push(inner.value);
                    }
                }
                (Macro::All, Ok(Value::Bool(false))) => return Ok(Value::Bool(false)),
                (Macro::Exists, Ok(Value::Bool(true))) => return Ok(Value::Bool(true)),
                (_, Ok(Value::Bool(hit))) => hits += usize::from(hit),
                (Macro::Filter | Macro::ExistsOne, _) => return Err(NoValue),
                _ => failed = true,
            }
        }
        if failed {
            return Err(NoValue);
        }
        Ok(match kind {
            Macro::Map | Macro::Filter => Value::List(made),
            Macro::All => Value::Bool(hits == count),
            Macro::Exists => Value::Bool(false),
            Macro::ExistsOne => Value::Bool(hits == 1),
        })
    }
}

fn variable<'a>(scope: Option<&Scope<'_, 'a>>, distance: usize) -> Option<Value<'a>> {
    let mut scope = scope?;
    for _ in 0..distance {
        scope = scope.outer?;
    }
    Some(scope.value.clone())
}

fn binary<'a>(operator: Operator, left: Value<'a>, right: Value<'a>) -> Outcome<'a> {
    let order = |wanted: &[Ordering]| {
        let order = left.order(&right).ok_or(NoValue)?;
        Ok(Value::Bool(wanted.contains(&order)))
    };
    match operator {
        Operator::Equal => left.same(&right).map(Value::Bool).ok_or(NoValue),
        Operator::Differs => left
            .same(&right)
            .map(|same| Value::Bool(!same))
            .ok_or(NoValue),
        Operator::Less => order(&[Ordering::Less]),
        Operator::LessOrEqual => order(&[Ordering::Less, Ordering::Equal]),
        Operator::More => order(&[Ordering::Greater]),
        Operator::MoreOrEqual => order(&[Ordering::Greater, Ordering::Equal]),
        Operator::In => contained(&left, &right),
        _ => arithmetic(operator, left, right),
    }
}

fn contained<'a>(left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
    match right {
        Value::List(items) => Ok(Value::Bool(
            items.iter().any(|item| item.same(left) == Some(true)),
        )),
        Value::Map(_) | Value::Object(_) => Ok(Value::Bool(right.at(left).is_some())),
        _ => Err(NoValue),
    }
}

fn arithmetic<'a>(operator: Operator, left: Value<'a>, right: Value<'a>) -> Outcome<'a> {
    use Operator::{Add, Divide, Multiply, Remainder, Subtract};
    let made = match (operator, left, right) {
        (Add, Value::Int(a), Value::Int(b)) => a.checked_add(b).map(Value::Int),
        (Subtract, Value::Int(a), Value::Int(b)) => a.checked_sub(b).map(Value::Int),
        (Multiply, Value::Int(a), Value::Int(b)) => a.checked_mul(b).map(Value::Int),
        (Divide, Value::Int(a), Value::Int(b)) => a.checked_div(b).map(Value::Int),
        (Remainder, Value::Int(a), Value::Int(b)) => a.checked_rem(b).map(Value::Int),
        (Add, Value::Uint(a), Value::Uint(b)) => a.checked_add(b).map(Value::Uint),
        (Subtract, Value::Uint(a), Value::Uint(b)) => a.checked_sub(b).map(Value::Uint),
        (Multiply, Value::Uint(a), Value::Uint(b)) => a.checked_mul(b).map(Value::Uint),
        (Divide, Value::Uint(a), Value::Uint(b)) => a.checked_div(b).map(Value::Uint),
        (Remainder, Value::Uint(a), Value::Uint(b)) => a.checked_rem(b).map(Value::Uint),
        (Add, Value::Double(a), Value::Double(b)) => Some(Value::Double(a + b)),
        (Subtract, Value::Double(a), Value::Double(b)) => Some(Value::Double(a - b)),
        (Multiply, Value::Double(a), Value::Double(b)) => Some(Value::Double(a * b)),
        (Divide, Value::Double(a), Value::Double(b)) => Some(Value::Double(a / b)),
        (Add, Value::Text(a), Value::Text(b)) => Some(Value::Text(Cow::Owned(a.into_owned() + &b))),
        (Add, Value::Bytes(a), Value::Bytes(b)) => {
            let mut joined = a.into_owned();
            joined.extend_from_slice(&b);
            Some(Value::Bytes(Cow::Owned(joined)))
        }
        (Add, Value::List(mut a), Value::List(b)) => {
            a.extend(b);
            Some(Value::List(a))
        }
        (Add, Value::Duration(a), Value::Duration(b)) => a.checked_add(b).map(Value::Duration),
        (Subtract, Value::Duration(a), Value::Duration(b)) => a.checked_sub(b).map(Value::Duration),
        (Subtract, Value::Timestamp(a), Value::Timestamp(b)) => {
            a.checked_sub(b).map(Value::Duration)
        }
        (Add, Value::Timestamp(a), Value::Duration(b))
        | (Add, Value::Duration(b), Value::Timestamp(a)) => a.checked_add(b).map(Value::Timestamp),
        (Subtract, Value::Timestamp(a), Value::Duration(b)) => {
            a.checked_sub(b).map(Value::Timestamp)
        }
        _ => None,
    };
    made.ok_or(NoValue)
}
