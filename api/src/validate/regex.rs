//! The syntax of expressions: RE2's, as the admission webhook reads it.
//!
//! The program that an expression stands for is of no interest here, so this is a single pass that only keeps the groups that are open
//! and how often their content is repeated.

use std::collections::HashSet;

use super::regex_classes::{is_posix_class, is_unicode_class};

/// The largest number of repetitions, nested ones multiplied.
const REPEAT_LIMIT: u32 = 1000;

/// Why a text is no expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RegexError {
    /// A `(` is not closed.
    #[error("a `)` is missing")]
    MissingParenthesis,
    /// A `)` closes nothing.
    #[error("a `)` has no `(` before it")]
    UnexpectedParenthesis,
    /// A `[` is not closed.
    #[error("a `]` is missing")]
    MissingBracket,
    /// The text ends with a backslash.
    #[error("the `\\` at the end escapes nothing")]
    TrailingBackslash,
    /// A backslash with something that means nothing.
    #[error("`{0}` is no escape sequence")]
    Escape(String),
    /// A range or a class of characters that does not exist.
    #[error("`{0}` is no class or range of characters")]
    CharacterRange(String),
    /// `*`, `+`, `?` or a count with nothing before it.
    #[error("`{0}` has nothing to repeat")]
    NothingToRepeat(char),
    /// A repetition of a repetition.
    #[error("`{0}` repeats a repetition: put a group around it")]
    RepeatedTwice(char),
    /// A count that is too large or whose bounds are the wrong way round.
    #[error("something is repeated more than 1000 times, or from more to fewer times")]
    RepeatCount,
    /// A group's name that is empty, has odd characters or is given twice.
    #[error("`{0}` cannot name a group, or does so twice")]
    GroupName(String),
    /// What stands behind `(?` means nothing.
    #[error("`{0}` begins no group: lookaround and other extensions are not supported")]
    GroupKind(String),
}

/// Checks that a text is an expression.
///
/// # Errors
/// Of the first place that is none.
pub(super) fn check(expression: &str) -> Result<(), RegexError> {
    let mut parser = Parser {
        rest: expression,
        current: Level::default(),
        outer: Vec::new(),
        names: HashSet::new(),
    };
    let mut repeated = false;
    while let Some(next) = parser.take() {
        repeated = parser.step(next, repeated)?;
    }
    if parser.outer.is_empty() {
        Ok(())
    } else {
        Err(RegexError::MissingParenthesis)
    }
}

/// What is known of a group that is open.
#[derive(Default)]
struct Level {
    /// How often the last part repeats its content; none where there is nothing to repeat.
    last: Option<u32>,
    /// The most that any part before it does.
    most: u32,
}

impl Level {
    fn part(&mut self, repeats: u32) {
        self.most = self.most.max(self.last.unwrap_or(1));
        self.last = Some(repeats);
    }

    fn alternative(&mut self) {
        self.most = self.most.max(self.last.unwrap_or(1));
        self.last = None;
    }

    fn repeats(&self) -> u32 {
        self.most.max(self.last.unwrap_or(1))
    }
}

struct Parser<'a> {
    rest: &'a str,
    current: Level,
    outer: Vec<Level>,
    names: HashSet<&'a str>,
}

impl<'a> Parser<'a> {
    /// Reads what `next` begins; says whether that was a repetition. `repeated` is the same of what came before.
    fn step(&mut self, next: char, repeated: bool) -> Result<bool, RegexError> {
        match next {
            '(' => self.open_group()?,
            ')' => {
                let outer = self.outer.pop().ok_or(RegexError::UnexpectedParenthesis)?;
                let inner = std::mem::replace(&mut self.current, outer);
                self.current.part(inner.repeats());
            }
            '|' => self.current.alternative(),
            '[' => self.class()?,
            '*' | '+' | '?' => return self.repeat(next, repeated, None),
            '{' => match bounds(self.rest) {
                Some((bounds, rest)) => {
                    self.rest = rest;
                    return self.repeat(next, repeated, Some(bounds));
                }
                // Anything but a count is a brace.
                None => self.current.part(1),
            },
            '\\' => self.escape()?,
            _ => self.current.part(1),
        }
        Ok(false)
    }

    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn repeat(
        &mut self,
        operator: char,
        repeated: bool,
        bounds: Option<Bounds>,
    ) -> Result<bool, RegexError> {
        if let Some((least, most)) = bounds
            && (least > REPEAT_LIMIT
                || most.is_some_and(|most| most > REPEAT_LIMIT || most < least))
        {
            return Err(RegexError::RepeatCount);
        }
        self.eat("?");
        if repeated {
            return Err(RegexError::RepeatedTwice(operator));
        }
        let inner = self
            .current
            .last
            .ok_or(RegexError::NothingToRepeat(operator))?;
        if let Some((least, most)) = bounds {
            let times = most.unwrap_or(least);
            let product = inner.max(1).saturating_mul(times.max(1));
            if times >= 2 && product > REPEAT_LIMIT {
                return Err(RegexError::RepeatCount);
            }
            // What is repeated no times at all counts for nothing.
            self.current.last = Some(if most == Some(0) { 1 } else { product });
        }
        Ok(true)
    }

    fn open_group(&mut self) -> Result<(), RegexError> {
        if self.eat("?") {
            if self.eat("P<") || self.eat("<") {
                self.group_name()?;
            } else if !self.flags()? {
                return Ok(());
            }
        }
        self.outer.push(std::mem::take(&mut self.current));
        Ok(())
    }

    fn group_name(&mut self) -> Result<(), RegexError> {
        let (name, rest) = self
            .rest
            .split_once('>')
            .ok_or_else(|| RegexError::GroupName(self.rest.to_owned()))?;
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) || !self.names.insert(name) {
            return Err(RegexError::GroupName(name.to_owned()));
        }
        self.rest = rest;
        Ok(())
    }

    /// Reads flags behind `(?`; says whether they open a group rather than hold for the rest of this one.
    fn flags(&mut self) -> Result<bool, RegexError> {
        let start = self.rest;
        let (mut negative, mut after_sign) = (false, true);
        while let Some(next) = self.take() {
            match next {
                'i' | 'm' | 's' | 'U' => after_sign = true,
                '-' if !negative => {
                    negative = true;
                    after_sign = false;
                }
                ':' | ')' if after_sign => return Ok(next == ':'),
                _ => break,
            }
        }
        Err(RegexError::GroupKind(format!(
            "(?{}",
            taken(start, self.rest)
        )))
    }

    /// What a backslash begins, outside of a class.
    fn escape(&mut self) -> Result<(), RegexError> {
        if self.eat("Q") {
            let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
            if !literal.is_empty() {
                self.current.part(1);
            }
            self.rest = rest;
            return Ok(());
        }
        let assertion = ["A", "b", "B", "z"];
        if !assertion.iter().any(|letter| self.eat(letter)) && !self.escaped_class()? {
            self.escaped_char()?;
        }
        self.current.part(1);
        Ok(())
    }

    /// A class such as `\d` or `\pN` behind a backslash; says whether there was one.
    fn escaped_class(&mut self) -> Result<bool, RegexError> {
        let start = self.rest;
        let mut chars = start.chars();
        match chars.next() {
            Some('d' | 'D' | 's' | 'S' | 'w' | 'W') => self.rest = chars.as_str(),
            Some('p' | 'P') => {
                let name = match chars.next() {
                    Some('{') => {
                        let (name, rest) = chars
                            .as_str()
                            .split_once('}')
                            .ok_or_else(|| RegexError::CharacterRange(format!("\\{start}")))?;
                        self.rest = rest;
                        name
                    }
                    _ => {
                        self.rest = chars.as_str();
                        start.get(1..start.len() - self.rest.len()).unwrap_or("")
                    }
                };
                if !is_unicode_class(name.strip_prefix('^').unwrap_or(name)) {
                    let class = format!("\\{}", taken(start, self.rest));
                    return Err(RegexError::CharacterRange(class));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The character that a backslash and what follows stand for.
    fn escaped_char(&mut self) -> Result<u32, RegexError> {
        let start = self.rest;
        let Some(next) = self.take() else {
            return Err(RegexError::TrailingBackslash);
        };
        let octal = |text: &str| text.starts_with(|c| ('0'..='7').contains(&c));
        let value = match next {
            'a' => Some(7),
            'f' => Some(12),
            'n' => Some(10),
            'r' => Some(13),
            't' => Some(9),
            'v' => Some(11),
            'x' => self.hexadecimal(),
            // A digit alone would refer back to a group.
            '0' => Some(self.octal(next)),
            '1'..='7' if octal(self.rest) => Some(self.octal(next)),
            _ if next.is_ascii() && !next.is_ascii_alphanumeric() => Some(u32::from(next)),
            _ => None,
        };
        value.ok_or_else(|| RegexError::Escape(format!("\\{}", taken(start, self.rest))))
    }

    fn octal(&mut self, first: char) -> u32 {
        let mut value = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.rest.chars().next().and_then(|next| next.to_digit(8)) else {
                break;
            };
            value = value * 8 + digit;
            self.take();
        }
        value
    }

    fn hexadecimal(&mut self) -> Option<u32> {
        let digits = if self.eat("{") {
            let (digits, rest) = self.rest.split_once('}')?;
            self.rest = rest;
            digits
        } else {
            let (digits, rest) = self.rest.split_at_checked(2)?;
            self.rest = rest;
            digits
        };
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        // Leading zeros are without limit.
        let value = digits.trim_start_matches('0');
        let value = if value.is_empty() { "0" } else { value };
        let value = u32::from_str_radix(value, 16).ok()?;
        (plain && value <= u32::from(char::MAX)).then_some(value)
    }

    /// A class in brackets, behind the first one.
    fn class(&mut self) -> Result<(), RegexError> {
        self.eat("^");
        let mut first = true;
        while first || !self.eat("]") {
            first = false;
            self.class_part()?;
        }
        self.current.part(1);
        Ok(())
    }

    fn class_part(&mut self) -> Result<(), RegexError> {
        let start = self.rest;
        if let Some((name, rest)) = start
            .strip_prefix("[:")
            .and_then(|named| named.split_once(":]"))
        {
            self.rest = rest;
            if is_posix_class(name.strip_prefix('^').unwrap_or(name)) {
                return Ok(());
            }
            return Err(RegexError::CharacterRange(taken(start, rest)));
        }
        if let Some(escaped) = start.strip_prefix('\\') {
            self.rest = escaped;
            if self.escaped_class()? {
                return Ok(());
            }
            self.rest = start;
        }
        let low = self.class_char()?;
        let mut after = self.rest.chars();
        if after.next() == Some('-') && after.next().is_some_and(|next| next != ']') {
            self.take();
            if self.class_char()? < low {
                return Err(RegexError::CharacterRange(taken(start, self.rest)));
            }
        }
        Ok(())
    }

    fn class_char(&mut self) -> Result<u32, RegexError> {
        match self.take() {
            None => Err(RegexError::MissingBracket),
            Some('\\') => self.escaped_char(),
            Some(plain) => Ok(u32::from(plain)),
        }
    }
}

/// The least and the most times, the latter none where there is no end.
type Bounds = (u32, Option<u32>);

/// A count behind its `{`, and what follows.
fn bounds(text: &str) -> Option<(Bounds, &str)> {
    let (least, rest) = count(text)?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some(((least, Some(least)), rest));
    }
    let rest = rest.strip_prefix(',')?;
    if let Some(rest) = rest.strip_prefix('}') {
        return Some(((least, None), rest));
    }
    let (most, rest) = count(rest)?;
    Some(((least, Some(most)), rest.strip_prefix('}')?))
}

/// A number without leading zeros; one that is too large for all counts is the largest there is.
fn count(text: &str) -> Option<(u32, &str)> {
    let length = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(length)?;
    if digits.is_empty() || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().unwrap_or(u32::MAX), rest))
}

/// What lies between two places of a text.
fn taken(start: &str, rest: &str) -> String {
    let length = start.len().saturating_sub(rest.len());
    start.get(..length).unwrap_or(start).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_takes_is_an_expression() {
        for expression in [
            "a|b",
            "(|a)*",
            "^*",
            "a{,2}",
            "a{01}",
            "a{2",
            "{",
            "x{1000}",
            "(?:x{10}){100}",
            "a{0}{",
            "(x{0}){2}",
            r"\Qa.b(\E*",
            r"\Q(",
            r"a*\Q\E*",
            r"\A\bx\B\z",
            r"\pN\PL",
            r"\p{Greek}",
            r"\p{^Old_Italic}",
            r"\p{Letter}",
            "[a&&b]",
            "[+--]|[~~]",
            "[]a]",
            "[^]a]",
            "[[:word:]-]",
            "[[a]",
            "[[:^alpha:]]",
            r"[\d-z]",
            "[--a]",
            "[a-]",
            r"[\pN]",
            r"\x41\x{10FFFF}\012\0",
            "(?P<n>a)(?<m>b)",
            "(?i)a(?s-U:.)",
            "(?)",
            "a(?i)*",
            r"\_\-\/",
            "x*?y+?z??",
            "é+",
        ] {
            assert_eq!(check(expression), Ok(()), "{expression}");
        }
    }

    #[test]
    fn what_re2_does_not_take_is_none_with_the_reason() {
        for (expression, reason) in [
            ("(a", "a `)` is missing"),
            ("a)", "has no `(`"),
            ("[a", "a `]` is missing"),
            ("[]", "a `]` is missing"),
            ("a\\", "escapes nothing"),
            (r"\1", "no escape"),
            (r"\8", "no escape"),
            (r"\C", "no escape"),
            (r"\Z", "no escape"),
            (r"\u{61}", "no escape"),
            (r"\é", "no escape"),
            (r"\x4", "no escape"),
            (r"\x{110000}", "no escape"),
            (r"[\b]", "no escape"),
            (r"[a-\d]", "no escape"),
            (r"\p{Foo}", "no class or range"),
            (r"\p{Greek", "no class or range"),
            (r"\p", "no class or range"),
            ("[b-a]", "no class or range"),
            ("[[:foo:]]", "no class or range"),
            ("*", "nothing to repeat"),
            ("a|*", "nothing to repeat"),
            ("(+)", "nothing to repeat"),
            ("(?i)*", "nothing to repeat"),
            ("{2}", "nothing to repeat"),
            ("a**", "repeats a repetition"),
            ("a???", "repeats a repetition"),
            ("a{2}{3}", "repeats a repetition"),
            ("a{1001}", "more than 1000"),
            ("a{99999999999}", "more than 1000"),
            ("a{3,2}", "more than 1000"),
            ("(?:x{10}){101}", "more than 1000"),
            ("(?:(?:x{10}){10}y|z){11}", "more than 1000"),
            ("(?P<>a)", "name a group"),
            ("(?P<a b>a)", "name a group"),
            ("(?P<n>a)(?P<n>b)", "name a group"),
            ("(?P<n", "name a group"),
            ("(?=a)", "begins no group"),
            ("(?x)a", "begins no group"),
            ("(?-)", "begins no group"),
            ("(?P=n)", "begins no group"),
            ("(?i", "begins no group"),
        ] {
            let error = check(expression).expect_err(expression).to_string();
            assert!(error.contains(reason), "{expression}: {error}");
        }
    }
}
