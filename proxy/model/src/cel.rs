//! Expressions of the Common Expression Language over the attributes of a request or connection: compiled when
//! configuration arrives, evaluated within a fixed budget, mostly without allocating.
//!
//! The language is that of the CEL specification without messages, enumerations and time zones. Attribute names are
//! Envoy's. Where an attribute is absent the expression has no value, and a condition does not hold; `&&`, `||` and
//! `has()` take absence in as the specification says.

mod attribute;
mod eval;
mod functions;
mod lex;
mod parse;
mod value;

use http::HeaderName;
use thiserror::Error;

pub use attribute::{Attribute, Attributes};
pub use value::{Object, Value};

use parse::Node;

/// Longest expression, in bytes.
const MAX_SOURCE: usize = 16 * 1024;

/// A compiled expression.
#[derive(Clone, Debug)]
pub struct Expression {
    source: Box<str>,
    root: Node,
    request_headers: Vec<HeaderName>,
    all_request_headers: bool,
}

/// Why an expression was refused.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("CEL expression, at byte {at}: {reason}")]
pub struct CelError {
    /// Where in the text.
    pub at: usize,
    /// What is wrong.
    pub reason: String,
}

/// An expression gave no value: an attribute was absent, types did not fit, or the budget was used up.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the expression has no value")]
pub struct NoValue;

impl Expression {
    /// Compiles.
    ///
    /// # Errors
    /// Syntax, unknown attributes and functions, and expressions that are too long or nested too deep.
    pub fn compile(source: &str) -> Result<Self, CelError> {
        if source.len() > MAX_SOURCE {
            return Err(CelError {
                at: 0,
                reason: format!("longer than {MAX_SOURCE} bytes"),
            });
        }
        let root = parse::parse(source)?;
        let mut made = Self {
            source: source.into(),
            request_headers: Vec::new(),
            all_request_headers: false,
            root,
        };
        let (names, all) = parse::request_headers(&made.root);
        made.request_headers = names;
        made.all_request_headers = all;
        Ok(made)
    }

    /// The value for these attributes.
    ///
    /// # Errors
    /// [`NoValue`].
    pub fn value<'a>(&'a self, attributes: &'a dyn Attributes) -> Result<Value<'a>, NoValue> {
        eval::value(&self.root, attributes)
    }

    /// Whether the value is `true`; no value and values of other types are not.
    pub fn holds(&self, attributes: &dyn Attributes) -> bool {
        matches!(eval::value(&self.root, attributes), Ok(Value::Bool(true)))
    }

    /// The value as text; `None` where there is none.
    pub fn text(&self, attributes: &dyn Attributes) -> Option<String> {
        let value = eval::value(&self.root, attributes).ok()?;
        value.to_text()
    }

    /// The expression as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Request headers that the expression names; `None` when it may ask for any.
    pub fn request_headers(&self) -> Option<&[HeaderName]> {
        (!self.all_request_headers).then_some(&*self.request_headers)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

#[cfg(test)]
mod tests;
