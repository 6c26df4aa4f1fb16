//! Gathers the faults of one object.

use std::fmt::{self, Display};
use std::sync::LazyLock;

use k8s_openapi::api::core::v1::ConfigMap;

use super::{Fault, Verdict};
use crate::object::{Kind, Metadata, Object, ObjectKey, Spec};

/// The faults of one object.
pub(super) struct Report<'a> {
    object: &'a Object,
    faults: Vec<Fault>,
}

impl<'a> Report<'a> {
    pub(super) fn new(object: &'a Object) -> Self {
        Self {
            object,
            faults: Vec::new(),
        }
    }

    /// A report on settings that are no object, without metadata and namespace.
    pub(super) fn without_object() -> Report<'static> {
        static SETTINGS: LazyLock<Object> = LazyLock::new(|| Object {
            key: ObjectKey::new(Kind::ConfigMap, "", ""),
            meta: Metadata::default(),
            spec: Spec::from(ConfigMap::default()),
            status: None,
            source: None,
        });
        Report::new(&SETTINGS)
    }

    pub(super) fn finish(self) -> Vec<Fault> {
        self.faults
    }

    /// The object itself, for its metadata.
    pub(super) const fn object(&self) -> &'a Object {
        self.object
    }

    /// The namespace of the object.
    pub(super) fn namespace(&self) -> &'a str {
        &self.object.key.namespace
    }

    /// A fault with a verdict of its own. The field's path and the message are written out only here, so that `format_args!` costs
    /// nothing where nothing is wrong.
    pub(super) fn fault(&mut self, verdict: Verdict, field: impl Display, message: impl Display) {
        self.faults.push(Fault {
            field: field.to_string(),
            message: message.to_string(),
            verdict,
        });
    }

    /// An error in a field.
    pub(super) fn error(&mut self, field: impl Display, message: impl Display) {
        self.fault(Verdict::Refused, field, message);
    }

    /// An error in a field unless a condition holds.
    pub(super) fn require(&mut self, holds: bool, field: impl Display, message: impl Display) {
        if !holds {
            self.error(field, message);
        }
    }

    /// A warning about a field.
    pub(super) fn warning(&mut self, field: impl Display, message: impl Display) {
        self.fault(Verdict::Warned, field, message);
    }

    /// Runs checks and says whether they found no error; warnings do not count.
    pub(super) fn passes(&mut self, check: impl FnOnce(&mut Self)) -> bool {
        let before = self.faults.len();
        check(self);
        !self.faults.iter().skip(before).any(Fault::is_refusal)
    }

    /// Runs checks whose warnings get lost, of which only the errors count.
    pub(super) fn errors_only(&mut self, check: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.faults);
        check(self);
        let found = std::mem::replace(&mut self.faults, before);
        self.faults
            .extend(found.into_iter().filter(Fault::is_refusal));
    }

    /// An error in a field that is no expression: RE2's syntax, 1 to 1024 bytes.
    pub(super) fn regex(&mut self, field: impl Display, expression: &str) {
        if expression.is_empty() {
            return self.error(field, "an expression cannot be empty");
        }
        if expression.len() > 1024 {
            return self.error(field, "an expression can have 1024 bytes at most");
        }
        if let Err(error) = super::regex::check(expression) {
            self.error(
                field,
                format_args!("`{expression}` is not an expression (RE2 syntax): {error}"),
            );
        }
    }
}

/// A key as part of a field's path.
pub(super) struct Key<'a>(pub(super) &'a str);

impl Display for Key<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&crate::yaml::key_step(self.0))
    }
}
