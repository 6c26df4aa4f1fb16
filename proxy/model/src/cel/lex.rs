//! Tokens.

use super::CelError;

/// A token; operators keep their text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Name(String),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Sign(&'static str),
}

/// Longer signs first.
const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "!", "?", ":", ".", ",",
    "(", ")", "[", "]", "{", "}", "=",
];

/// Splits the source; each token with the byte where it starts.
pub(super) fn tokens(source: &str) -> Result<Vec<(usize, Token)>, CelError> {
    let mut lexer = Lexer { source, at: 0 };
    let mut found = Vec::new();
    while let Some(token) = lexer.next()? {
        found.push(token);
    }
    Ok(found)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn error(&self, reason: impl Into<String>) -> CelError {
        CelError {
            at: self.at,
            reason: reason.into(),
        }
    }

    fn next(&mut self) -> Result<Option<(usize, Token)>, CelError> {
        self.skip_blanks();
        let (start, rest) = (self.at, self.rest());
        let Some(first) = rest.chars().next() else {
            return Ok(None);
        };
        let token = if let Some((raw, bytes, length)) = string_start(rest) {
            self.at += length;
            self.string(raw, bytes)?
        } else if first.is_ascii_digit()
            || (first == '.' && rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit))
        {
            self.number()?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(rest.len());
            self.at += length;
            Token::Name(rest.get(..length).unwrap_or_default().to_owned())
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| self.error(format!("{first:?} is not expected")))?;
            self.at += sign.len();
            Token::Sign(sign)
        };
        Ok(Some((start, token)))
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let text = rest.trim_start();
            self.at += rest.len() - text.len();
            if !text.starts_with("//") {
                return;
            }
            self.at += text.find('\n').unwrap_or(text.len());
        }
    }

    fn number(&mut self) -> Result<Token, CelError> {
        let rest = self.rest();
        if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let length = hex
                .find(|c: char| !c.is_ascii_hexdigit())
                .unwrap_or(hex.len());
            let value = u64::from_str_radix(hex.get(..length).unwrap_or_default(), 16)
                .map_err(|_| self.error("no number"))?;
            self.at += 2 + length;
            return self.integer(value);
        }
        let bytes = rest.as_bytes();
        let digits = |from: usize| {
            bytes
                .get(from..)
                .unwrap_or_default()
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count()
        };
        let mut length = digits(0);
        let mut double = false;
        if bytes.get(length) == Some(&b'.') && digits(length + 1) > 0 {
            double = true;
            length += 1 + digits(length + 1);
        }
        if matches!(bytes.get(length), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
            let exponent = digits(length + 1 + sign);
            if exponent > 0 {
                double = true;
                length += 1 + sign + exponent;
            }
        }
        let text = rest.get(..length).unwrap_or_default();
        if double {
            let value = text.parse().map_err(|_| self.error("no number"))?;
            self.at += length;
            return Ok(Token::Double(value));
        }
        let value = text
            .parse()
            .map_err(|_| self.error("the number is too large"))?;
        self.at += length;
        self.integer(value)
    }

    fn integer(&mut self, value: u64) -> Result<Token, CelError> {
        if self.rest().starts_with(['u', 'U']) {
            self.at += 1;
            return Ok(Token::Uint(value));
        }
        // The smallest number is written with a minus before it, which the parser sees.
        i64::try_from(value)
            .map(Token::Int)
            .or_else(|_| match value == 1 << 63 {
                true => Ok(Token::Int(i64::MIN)),
                false => Err(self.error("the number is too large")),
            })
    }

    fn string(&mut self, raw: bool, bytes: bool) -> Result<Token, CelError> {
        let rest = self.rest();
        let quote = ["\"\"\"", "'''", "\"", "'"]
            .into_iter()
            .find(|quote| rest.starts_with(quote))
            .unwrap_or("\"");
        self.at += quote.len();
        let mut out = Vec::new();
        loop {
            let rest = self.rest();
            if rest.starts_with(quote) {
                self.at += quote.len();
                break;
            }
            let Some(character) = rest.chars().next() else {
                return Err(self.error("a string is not closed"));
            };
            if character == '\n' && quote.len() == 1 {
                return Err(self.error("a string is not closed"));
            }
            self.at += character.len_utf8();
            if character == '\\' && !raw {
                self.escape(bytes, &mut out)?;
            } else {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        if bytes {
            return Ok(Token::Bytes(out));
        }
        String::from_utf8(out)
            .map(Token::Text)
            .map_err(|_| self.error("a string is not UTF-8"))
    }

    fn escape(&mut self, bytes: bool, out: &mut Vec<u8>) -> Result<(), CelError> {
        let sign = self.rest().chars().next().unwrap_or(' ');
        self.at += sign.len_utf8();
        let plain = match sign {
            'n' => b'\n',
            't' => b'\t',
            'r' => b'\r',
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'v' => 11,
            '\\' | '"' | '\'' | '`' | '?' => u8::try_from(sign).unwrap_or(b'?'),
            'x' | 'X' => return self.code(2, 16, bytes, out),
            'u' => return self.code(4, 16, false, out),
            'U' => return self.code(8, 16, false, out),
            '0'..='3' => {
                self.at -= 1;
                return self.code(3, 8, bytes, out);
            }
            _ => return Err(self.error("no such escape")),
        };
        out.push(plain);
        Ok(())
    }

    fn code(
        &mut self,
        digits: usize,
        radix: u32,
        byte: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), CelError> {
        let text = self.rest().get(..digits);
        let code = text.and_then(|text| u32::from_str_radix(text, radix).ok());
        let code = code.ok_or_else(|| self.error("no such escape"))?;
        self.at += digits;
        if byte {
            out.push(u8::try_from(code).map_err(|_| self.error("no such escape"))?);
            return Ok(());
        }
        let character = char::from_u32(code).ok_or_else(|| self.error("no such escape"))?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }
}

/// Whether a string begins here: raw, of bytes, and the length of its prefix.
fn string_start(rest: &str) -> Option<(bool, bool, usize)> {
    let (mut raw, mut bytes) = (false, false);
    for (length, character) in rest.chars().enumerate().take(3) {
        match character {
            '"' | '\'' => return Some((raw, bytes, length)),
            'r' | 'R' if !raw => raw = true,
            'b' | 'B' if !bytes => bytes = true,
            _ => return None,
        }
    }
    None
}
