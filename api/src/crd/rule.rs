//! What a table says of a place in a schema.

use crate::yaml::Node;

/// A line of a table: places by their path from where the table begins. Steps are joined by dots; `[]` stands for a list's items, `{}`
/// for a mapping's values, and the empty path for the beginning itself.
pub(super) enum Row {
    /// Rules of one place.
    On(&'static str, &'static [Rule]),
    /// A table of its own that begins at a place.
    In(&'static str, &'static [Row]),
}

/// A rule on the values of one place.
pub(super) enum Rule {
    /// These fields have to be there.
    Required(&'static [&'static str]),
    /// Text of at least so many characters.
    MinLength(usize),
    /// Text of at most so many characters.
    MaxLength(usize),
    /// A list of at least so many items.
    MinItems(usize),
    /// A list of at most so many items.
    MaxItems(usize),
    /// A mapping of at least so many entries.
    MinEntries(usize),
    /// A mapping of at most so many entries.
    MaxEntries(usize),
    /// A number no less than this.
    AtLeast(i64),
    /// A number no greater than this.
    AtMost(i64),
    /// Text of a form.
    Pattern(Pattern),
    /// A list whose items differ in this field, which is required.
    Keyed(&'static str),
    /// A second name under which the server knows a field: the new name, then the field's.
    Alias(&'static str, &'static str),
    /// A rule that the server evaluates.
    Cel(Cel),
}

/// A form of text.
pub(super) struct Pattern {
    /// The form as an RE2 expression.
    pub(super) regex: &'static str,
    /// What the form is, as the end of "must be …".
    pub(super) what: &'static str,
    /// Whether a text has the form.
    pub(super) matches: fn(&str) -> bool,
}

/// A rule in the Common Expression Language.
pub(super) struct Cel {
    /// The expression, true where all is well.
    pub(super) rule: &'static str,
    /// What is said where it is not.
    pub(super) message: &'static str,
    /// The same as `rule` for a value of the place's type. A value of another type holds: it is refused for its type.
    pub(super) holds: fn(&Node) -> bool,
}
