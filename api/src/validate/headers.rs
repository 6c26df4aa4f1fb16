//! Rules on the names and values of HTTP headers.

/// Fields of requests and responses that are written like headers.
const PSEUDO_HEADERS: [&str; 5] = [":method", ":scheme", ":authority", ":path", ":status"];

/// What stands before a claim of a token where headers are matched.
const CLAIM_PREFIX: &str = "@request.auth.claims";

/// Whether a text is a header's name (an RFC 9110 token, to which the comma is counted as well).
pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+,-.^_`|~".contains(&byte))
}

/// Whether a text names a claim of a token: `@request.auth.claims.x` or `@request.auth.claims[x]`, in any case.
pub(super) fn is_claim(name: &str) -> bool {
    let Some((prefix, claim)) = name.split_at_checked(CLAIM_PREFIX.len()) else {
        return false;
    };
    let named = match claim.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').unwrap_or(""),
        None => claim.strip_prefix('.').unwrap_or(""),
    };
    prefix.eq_ignore_ascii_case(CLAIM_PREFIX) && !named.is_empty()
}

/// Whether headers can be matched by a name: a header's, a pseudo-header's or a claim's.
pub(super) fn is_matched(name: &str) -> bool {
    is_header_name(name) || PSEUDO_HEADERS.contains(&name) || is_claim(name)
}

/// Whether the name is that of a header that holds a request's authority.
pub(super) fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// Why a request header cannot be set or added to; of those with a colon only the authority can.
pub(super) fn unsettable(name: &str) -> Option<&'static str> {
    if is_authority(name) {
        return None;
    }
    unchangeable(name)
}

/// Why a header cannot be removed, or a response header not be changed.
pub(super) fn unchangeable(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("a header needs a name")
    } else if name.eq_ignore_ascii_case("host") {
        Some("the Host header cannot be changed here")
    } else if name.starts_with(':') {
        Some("headers that begin with a colon cannot be changed here")
    } else {
        None
    }
}

/// Why a text cannot be a header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ValueError {
    /// It has a control character.
    #[error("it cannot have control characters")]
    Control,
    /// A variable does not end.
    #[error("a `%` begins a variable that does not end: write `%%` for the character itself")]
    Unterminated,
    /// What stands in a variable's parentheses makes no sense.
    #[error("a variable's arguments are not of the form (text) or ([\"text\", …])")]
    Arguments,
}

/// Where in a value with variables, such as `%REQ(x-id)%`, a character stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Name,
    BeforeArguments,
    BeforeString,
    Inside,
    AfterString,
    AfterList,
    AfterArguments,
}

/// Checks that a text can be a header's value: no control characters but tabs, and each `%` doubled or the beginning or end of a
/// variable. The names of variables are not looked at.
///
/// # Errors
/// Of the first place that is wrong.
pub(super) fn check_value(value: &str) -> Result<(), ValueError> {
    if value
        .bytes()
        .any(|byte| byte.is_ascii_control() && byte != b'\t')
    {
        return Err(ValueError::Control);
    }
    let mut place = Place::Text;
    let mut bytes = value.bytes().peekable();
    while let Some(byte) = bytes.next() {
        if place == Place::Text {
            let percent = byte == b'%';
            if percent && bytes.next_if_eq(&b'%').is_none() {
                place = Place::Name;
            }
        } else if place == Place::Inside && byte == b'\\' {
            // The character behind a backslash means nothing.
            bytes.next().ok_or(ValueError::Unterminated)?;
        } else {
            place = advance(place, byte)?;
        }
    }
    if place == Place::Text {
        Ok(())
    } else {
        Err(ValueError::Unterminated)
    }
}

/// The place behind a character of a variable.
fn advance(place: Place, byte: u8) -> Result<Place, ValueError> {
    Ok(match (place, byte) {
        (Place::Name | Place::AfterArguments, b'%') => Place::Text,
        (Place::Name, b'(') => Place::BeforeArguments,
        (Place::Name, _) => Place::Name,
        (Place::BeforeArguments, b'[') | (Place::AfterString, b',') => Place::BeforeString,
        (Place::BeforeString, b'"') => Place::Inside,
        (Place::Inside, b'"') => Place::AfterString,
        (Place::Inside | Place::AfterList, b')') => Place::AfterArguments,
        (Place::AfterString, b']') => Place::AfterList,
        (Place::Inside, _) => Place::Inside,
        (place, b' ') => place,
        (Place::BeforeArguments, _) => Place::Inside,
        _ => return Err(ValueError::Arguments),
    })
}
