//! Why a text is not YAML that can be read.

use super::tree::Mark;

/// A text that is no YAML, or more of it than is allowed, with the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {kind}")]
pub struct SyntaxError {
    /// Where it shows.
    pub at: Mark,
    /// What it is.
    pub kind: SyntaxErrorKind,
}

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxErrorKind {
    /// The text breaks a rule of YAML.
    #[error("not YAML: {0}")]
    Malformed(String),
    /// A mapping has a key twice.
    #[error("the key `{key}` is given twice, first in line {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of its first use.
        first: u32,
    },
    /// A key is a list or a mapping.
    #[error("a key must be plain text, not a list or a mapping")]
    ComplexKey,
    /// The value of a merge key `<<` is no mapping.
    #[error("the value of `<<` must be a mapping or a list of mappings")]
    Merge,
    /// An alias names an anchor that does not exist, or one that it is part of.
    #[error("an alias refers to an anchor that is not complete here")]
    Alias,
    /// The text is larger than allowed.
    #[error("the text has {size} bytes, more than the {limit} that are allowed")]
    TooLarge {
        /// The size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text is nested deeper than allowed.
    #[error("nested deeper than the {0} levels that are allowed")]
    TooDeep(usize),
    /// The text has more values than allowed, with aliases written out.
    #[error("more than the {0} values that are allowed, with aliases written out")]
    TooMany(usize),
}
