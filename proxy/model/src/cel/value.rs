//! What expressions give.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::net::SocketAddr;

/// A value; texts and objects are borrowed where they can be.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
    /// A time span, in nanoseconds.
    Duration(i128),
    /// A point in time, in nanoseconds since 1970.
    Timestamp(i128),
    /// A list.
    List(Vec<Value<'a>>),
    /// A map made by the expression.
    Map(Vec<(Value<'a>, Value<'a>)>),
    /// Something of the host's that is looked into by name: headers, metadata.
    Object(&'a dyn Object),
}

/// Something with named members.
pub trait Object {
    /// The member of this name.
    fn member(&self, name: &str) -> Option<Value<'_>>;

    /// How many members there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for dyn Object + '_ {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'a> Value<'a> {
    /// Borrowed text.
    pub fn text(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// Text of bytes, which need not be UTF-8.
    pub fn lossy(bytes: &'a [u8]) -> Self {
        Self::Text(String::from_utf8_lossy(bytes))
    }

    /// An address with its port.
    pub fn address(address: SocketAddr) -> Self {
        Self::Text(Cow::Owned(address.to_string()))
    }

    /// As a label or log shows it; maps and objects have no such form.
    pub fn to_text(&self) -> Option<String> {
        Some(match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Uint(value) => value.to_string(),
            Self::Double(value) => value.to_string(),
            Self::Text(text) => text.clone().into_owned(),
            Self::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Self::Duration(nanos) => duration_text(*nanos),
            Self::Timestamp(nanos) => super::functions::timestamp_text(*nanos),
            Self::List(items) => {
                let items: Option<Vec<_>> = items.iter().map(Self::to_text).collect();
                format!("[{}]", items?.join(", "))
            }
            Self::Map(_) | Self::Object(_) => return None,
        })
    }

    /// Whether both are equal; `None` where they cannot be compared.
    pub(super) fn same(&self, other: &Self) -> Option<bool> {
        Some(match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            (Self::List(a), Self::List(b)) => {
                if a.len() != b.len() {
                    return Some(false);
                }
                for (a, b) in a.iter().zip(b) {
                    if !a.same(b)? {
                        return Some(false);
                    }
                }
                true
            }
            (Self::Map(a), Self::Map(b)) => {
                if a.len() != b.len() {
                    return Some(false);
                }
                for (key, value) in a {
                    let Some((_, other)) = b.iter().find(|(own, _)| own.same(key) == Some(true))
                    else {
                        return Some(false);
                    };
                    if !value.same(other)? {
                        return Some(false);
                    }
                }
                true
            }
            (Self::Object(_), _) | (_, Self::Object(_)) => return None,
            _ => match self.order(other) {
                Some(order) => order == Ordering::Equal,
                // Values of different types are not equal.
                None => false,
            },
        })
    }

    /// The order of two values of one kind; numbers of all types compare.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Bytes(a), Self::Bytes(b)) => Some(a.cmp(b)),
            (Self::Duration(a), Self::Duration(b)) | (Self::Timestamp(a), Self::Timestamp(b)) => {
                Some(a.cmp(b))
            }
            (a, b) => match (a.integer(), b.integer()) {
                (Some(a), Some(b)) => Some(a.cmp(&b)),
                _ => a.double()?.partial_cmp(&b.double()?),
            },
        }
    }

    fn integer(&self) -> Option<i128> {
        match self {
            Self::Int(value) => Some((*value).into()),
            Self::Uint(value) => Some((*value).into()),
            _ => None,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "comparing with a double is as exact as a double"
    )]
    fn double(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Uint(value) => Some(*value as f64),
            Self::Double(value) => Some(*value),
            _ => None,
        }
    }

    /// The member or item under a key.
    pub(super) fn at(&self, key: &Value<'_>) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Object(object), Value::Text(name)) => {
                let object: &'a dyn Object = *object;
                object.member(name)
            }
            (Self::Map(entries), key) => entries
                .iter()
                .find(|(own, _)| own.same(key) == Some(true))
                .map(|(_, value)| value.clone()),
            (Self::List(items), key) => {
                let at = usize::try_from(key.integer()?).ok()?;
                items.get(at).cloned()
            }
            _ => None,
        }
    }
}

/// `1.5s`, as proto JSON writes durations.
fn duration_text(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let (seconds, rest) = (
        nanos.unsigned_abs() / 1_000_000_000,
        nanos.unsigned_abs() % 1_000_000_000,
    );
    if rest == 0 {
        return format!("{sign}{seconds}s");
    }
    let digits = format!("{rest:09}");
    format!("{sign}{seconds}.{}s", digits.trim_end_matches('0'))
}

impl<'a> Value<'a> {
    /// A value of JSON; objects are looked into where they are.
    pub fn json(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(number) => Self::Double(number.as_f64().unwrap_or_default()),
            serde_json::Value::String(text) => Self::text(text),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::json).collect()),
            serde_json::Value::Object(members) => Self::Object(members),
        }
    }
}

impl Object for serde_json::Map<String, serde_json::Value> {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        self.get(name).map(Value::json)
    }

    fn len(&self) -> usize {
        self.len()
    }
}

impl Object for crate::DynamicMetadata {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        self.find(name).map(|values| Value::Object(values))
    }

    fn len(&self) -> usize {
        self.iter().count()
    }
}
