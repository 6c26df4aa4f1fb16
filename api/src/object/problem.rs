//! What is wrong with an object or a file, for people.

use std::fmt;

/// What is wrong with an object or a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file; empty if there is none.
    pub file: String,
    /// The line, from 1; 0 if it is not known.
    pub line: u32,
    /// The column, from 1; 0 if it is not known.
    pub column: u32,
    /// The object, as `Kind namespace/name`.
    pub object: Option<String>,
    /// The field's path in the object.
    pub field: Option<String>,
    /// What is wrong, and what to do where that is not plain.
    pub message: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The object works, though perhaps not as meant.
    Warning,
    /// The object is not used.
    Error,
}

impl Problem {
    /// An error with a whole file.
    pub fn file_error(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            object: None,
            field: None,
            message: message.into(),
            severity: Severity::Error,
        }
    }

    /// Whether it is an error.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Problem {
    /// `file:line:column: Kind namespace/name: field: message`, without the parts that are not known.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            out.write_str(&self.file)?;
            if self.line > 0 {
                write!(out, ":{}:{}", self.line, self.column)?;
            }
            out.write_str(": ")?;
        }
        for part in [&self.object, &self.field].into_iter().flatten() {
            write!(out, "{part}: ")?;
        }
        out.write_str(&self.message)
    }
}
