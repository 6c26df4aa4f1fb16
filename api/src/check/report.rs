//! Gathers the problems of one object.

use std::fmt::Display;

use super::options::RegexCheck;
use crate::object::{Object, Problem, Severity};

/// The problems of one object.
pub(super) struct Report<'a> {
    object: &'a Object,
    regex: Option<RegexCheck<'a>>,
    problems: Vec<Problem>,
}

impl<'a> Report<'a> {
    pub(super) fn new(object: &'a Object, regex: Option<RegexCheck<'a>>) -> Self {
        Self {
            object,
            regex,
            problems: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        self.problems
    }

    /// The namespace of the object.
    pub(super) fn namespace(&self) -> &str {
        &self.object.key.namespace
    }

    /// An error in a field.
    pub(super) fn error(&mut self, field: &str, message: impl Display) {
        self.problems.push(
            self.object
                .problem(Severity::Error, field, message.to_string()),
        );
    }

    /// An error in a field unless a condition holds.
    pub(super) fn require(&mut self, holds: bool, field: &str, message: impl Display) {
        if !holds {
            self.error(field, message);
        }
    }

    /// A warning about a field.
    pub(super) fn warning(&mut self, field: &str, message: impl Display) {
        self.problems.push(
            self.object
                .problem(Severity::Warning, field, message.to_string()),
        );
    }

    /// An error in a field that is no expression that can be used.
    pub(super) fn regex(&mut self, field: &str, expression: &str) {
        if expression.is_empty() {
            return self.error(field, "an expression cannot be empty");
        }
        if expression.len() > 1024 {
            return self.error(field, "an expression can have 1024 bytes at most");
        }
        if let Some(Err(reason)) = self.regex.map(|check| check(expression)) {
            self.error(
                field,
                format_args!("`{expression}` is not an expression that can be used: {reason}"),
            );
        }
    }
}
