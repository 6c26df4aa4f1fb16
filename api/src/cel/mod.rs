//! Whether a text is an expression of the Common Expression Language (CEL), by its grammar alone.
//!
//! No name or type is resolved and nothing is computed. The rules are those of cel-spec's grammar with the standard macros and
//! without its optional parts, as Istio reads the filters of access logs.

mod lexer;
mod literal;
mod parser;

#[cfg(test)]
mod tests;

/// The longest expression, in characters.
pub const MAX_LENGTH: usize = 100_000;

/// How deep expressions may be nested, and how many operators or accesses may follow each other on one level.
pub const MAX_DEPTH: u16 = 250;

/// Why a text is no CEL expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}, at character {at}")]
pub struct CelError {
    /// The character, counted from 1, at which reading stopped.
    pub at: usize,
    /// What is wrong there.
    pub reason: CelReason,
}

/// What is wrong with a CEL expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CelReason {
    /// The text is longer than [`MAX_LENGTH`].
    #[error("the expression has more than {MAX_LENGTH} characters")]
    TooLong,
    /// The expression is nested deeper than [`MAX_DEPTH`].
    #[error("the expression is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The text ends too early.
    #[error("the expression ends where {0} is needed")]
    End(&'static str),
    /// Something else was needed.
    #[error("`{found}` stands where {needed} is needed")]
    Unexpected {
        /// What stands there.
        found: String,
        /// What could stand there.
        needed: &'static str,
    },
    /// A character that begins nothing.
    #[error("`{0}` has no meaning in CEL")]
    Character(char),
    /// A text without its closing quotes.
    #[error("a text has no closing quotes on its line")]
    OpenText,
    /// A backslash with something behind it that it cannot escape.
    #[error("a text has an escape that CEL does not know or that names no character")]
    Escape,
    /// A number that does not fit 64 bits.
    #[error("the number `{0}` does not fit 64 bits")]
    Number(String),
    /// A word that CEL keeps for later use.
    #[error("the word `{0}` is reserved and cannot be a name")]
    Reserved(String),
    /// A macro whose first argument is of the wrong form.
    #[error("the first argument of `{name}` has to be {needed}")]
    Macro {
        /// The macro.
        name: String,
        /// The form that it takes.
        needed: &'static str,
    },
    /// A part of the grammar that is off.
    #[error("{0} cannot be used here")]
    Optional(&'static str),
}

/// Checks the syntax of an expression; takes time in proportion to its length.
///
/// # Errors
/// When the text is no expression, with the place of the first fault.
pub fn check_syntax(expression: &str) -> Result<(), CelError> {
    if let Some((end, _)) = expression.char_indices().nth(MAX_LENGTH) {
        return Err(located(expression, end, CelReason::TooLong));
    }
    let tokens =
        lexer::tokens(expression).map_err(|(at, reason)| located(expression, at, reason))?;
    parser::check(&tokens).map_err(|fault| {
        let (at, reason) = *fault;
        let at = at.unwrap_or(expression.len());
        located(expression, at, reason)
    })
}

/// The error at a byte of the expression.
fn located(expression: &str, byte: usize, reason: CelReason) -> CelError {
    let before = expression.get(..byte).unwrap_or(expression);
    CelError {
        at: before.chars().count() + 1,
        reason,
    }
}
