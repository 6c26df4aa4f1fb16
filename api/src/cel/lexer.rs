//! From an expression's text to its tokens.

use super::CelReason;
use super::literal;

/// A word, number, text or sign, with the byte at which it begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) at: usize,
    /// The token as it is written.
    pub(super) text: &'a str,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind<'a> {
    /// A name, also a reserved one.
    Name(&'a str),
    /// `in`.
    In,
    /// A number without a sign.
    Number,
    /// A text, bytes, `true`, `false` or `null`.
    Constant,
    /// A sign of one or two characters.
    Sign(&'static str),
    /// A name in backticks.
    QuotedName,
}

/// What is wrong and at which byte.
pub(super) type LexError = (usize, CelReason);

/// Two-character signs come first.
const SIGNS: [&str; 23] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "(", ")", "[", "]", "{", "}", ".", ",", "-", "!",
    "?", ":", "+", "*", "/",
];

/// The tokens of an expression.
pub(super) fn tokens(expression: &str) -> Result<Vec<Token<'_>>, LexError> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(rest) = expression.get(at..) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        if matches!(first, ' ' | '\t' | '\r' | '\n' | '\u{c}') {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            let (kind, length) =
                token(rest, first).map_err(|(offset, reason)| (at + offset, reason))?;
            let text = rest.get(..length).unwrap_or(rest);
            found.push(Token { kind, at, text });
            at += length;
        }
    }
    Ok(found)
}

/// The token at the beginning of `rest`, and its length in bytes.
fn token(rest: &str, first: char) -> Result<(TokenKind<'_>, usize), LexError> {
    if let Some(length) = literal::text(rest)? {
        return Ok((TokenKind::Constant, length));
    }
    if let Some(length) = literal::number(rest) {
        return Ok((TokenKind::Number, length));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        let word = rest.get(..length).unwrap_or(rest);
        let kind = match word {
            "in" => TokenKind::In,
            "true" | "false" | "null" => TokenKind::Constant,
            name => TokenKind::Name(name),
        };
        return Ok((kind, length));
    }
    if let Some(quoted) = rest.strip_prefix('`') {
        let other = |c: char| !c.is_ascii_alphanumeric() && !"_.-/ ".contains(c);
        let name = quoted.trim_start_matches(|c| !other(c));
        let length = quoted.len() - name.len();
        return if length > 0 && name.starts_with('`') {
            Ok((TokenKind::QuotedName, length + 2))
        } else {
            Err((0, CelReason::Character('`')))
        };
    }
    if first == '%' {
        return Ok((TokenKind::Sign("%"), 1));
    }
    SIGNS
        .iter()
        .find(|sign| rest.starts_with(**sign))
        .map(|sign| (TokenKind::Sign(sign), sign.len()))
        .ok_or((0, CelReason::Character(first)))
}
