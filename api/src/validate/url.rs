//! URLs, as far as they can be read and no further: what Go's `net/url` takes passes.

/// The scheme of a URL, in lower case and empty where there is none, or why the text is no URL.
pub(super) fn scheme_of(text: &str) -> Result<String, &'static str> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("it has control characters");
    }
    let (before, fragment) = text.split_once('#').unwrap_or((text, ""));
    escapes(fragment)?;
    let (scheme, rest) = split_scheme(before)?;
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if !rest.starts_with('/') {
        if scheme.is_empty()
            && rest
                .split('/')
                .next()
                .is_some_and(|part| part.contains(':'))
        {
            return Err("its first part has a colon");
        }
        // With a scheme and no slash the rest is opaque and may be anything.
        if !scheme.is_empty() {
            return Ok(scheme.to_ascii_lowercase());
        }
    }
    let has_authority = !scheme.is_empty() || !rest.starts_with("///");
    match rest.strip_prefix("//").filter(|_| has_authority) {
        Some(after) => {
            let (server, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            authority(server)?;
            escapes(path)?;
        }
        None => escapes(rest)?,
    }
    Ok(scheme.to_ascii_lowercase())
}

/// The port of a URL as it is written, if there is one.
pub(super) fn port_of(text: &str) -> Option<&str> {
    let (_, after) = text.split_once("//")?;
    let server = after.split(['/', '?', '#']).next()?;
    let host = server.rsplit_once('@').map_or(server, |(_, host)| host);
    let port = match host.rsplit_once(']') {
        Some((_, port)) => port.strip_prefix(':')?,
        None => host.rsplit_once(':')?.1,
    };
    (!port.is_empty()).then_some(port)
}

fn split_scheme(text: &str) -> Result<(&str, &str), &'static str> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)));
    let (scheme, after) = text.split_at(end.unwrap_or(text.len()));
    let Some(rest) = after.strip_prefix(':') else {
        return Ok(("", text));
    };
    match scheme.chars().next() {
        None => Err("it begins with a colon"),
        Some(first) if first.is_ascii_alphabetic() => Ok((scheme, rest)),
        Some(_) => Ok(("", text)),
    }
}

/// Whether each `%` begins an escape.
fn escapes(text: &str) -> Result<(), &'static str> {
    let fits = text
        .split('%')
        .skip(1)
        .all(|after| escaped_byte(after).is_some());
    if fits {
        Ok(())
    } else {
        Err("a `%` in it is not followed by two hexadecimal digits")
    }
}

fn escaped_byte(after: &str) -> Option<u8> {
    let digits = after
        .get(..2)
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
    u8::from_str_radix(digits, 16).ok()
}

/// `[user@]host[:port]`.
fn authority(text: &str) -> Result<(), &'static str> {
    let host = match text.rsplit_once('@') {
        Some((user, host)) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
            if !user.chars().all(plain) {
                return Err("its user has characters that need escapes");
            }
            escapes(user)?;
            host
        }
        None => text,
    };
    if let Some(inside) = host.strip_prefix('[') {
        let (address, port) = inside
            .rsplit_once(']')
            .ok_or("its address has no closing `]`")?;
        optional_port(port)?;
        let (address, zone) = address.split_once("%25").unwrap_or((address, ""));
        host_name(address)?;
        return escapes(zone);
    }
    let name = match host.rfind(':') {
        Some(colon) => {
            let (name, port) = host.split_at(colon);
            optional_port(port)?;
            name
        }
        None => host,
    };
    host_name(name)
}

fn optional_port(text: &str) -> Result<(), &'static str> {
    let digits = text.strip_prefix(':').unwrap_or(text);
    let fits = text.is_empty()
        || (digits.len() < text.len() && digits.bytes().all(|b| b.is_ascii_digit()));
    if fits {
        Ok(())
    } else {
        Err("its port is not a number")
    }
}

fn host_name(text: &str) -> Result<(), &'static str> {
    let plain = |c: char| {
        !c.is_ascii() || c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:[]<>\"%".contains(c)
    };
    if !text.chars().all(plain) {
        return Err("its host has characters that no host has");
    }
    // Only bytes beyond ASCII may be escaped in a host.
    let fits = text
        .split('%')
        .skip(1)
        .all(|after| escaped_byte(after).is_some_and(|byte| byte >= 0x80));
    if fits {
        Ok(())
    } else {
        Err("a `%` in its host has no place there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_found_as_go_does() {
        for (text, scheme) in [
            ("https://a.com/x", Ok("https")),
            ("HTTP://a.com:80", Ok("http")),
            ("a.com/x", Ok("")),
            ("/a", Ok("")),
            ("", Ok("")),
            ("host:5000/x", Ok("host")),
            ("http://[::1%25eth0]:80/", Ok("http")),
            ("http://u:p@a.com", Ok("http")),
            ("https://", Ok("https")),
            ("http://a.com/%41?x=%zz#%42", Ok("http")),
            ("http://a.com:/", Ok("http")),
            ("http://%c3%a9.com", Ok("http")),
            ("10.0.0.1:5000/x", Err(())),
            (":a", Err(())),
            ("http://a.com:b/", Err(())),
            ("http://a com/", Err(())),
            ("http://[::1/", Err(())),
            ("http://[::1]b/", Err(())),
            ("http://a.com/%zz", Err(())),
            ("http://a.com/#%zz", Err(())),
            ("http://%41.com/", Err(())),
            ("http://a\u{7f}.com/", Err(())),
            ("http://u\u{e9}@a.com/", Err(())),
        ] {
            let found = scheme_of(text).map_err(|_| ());
            assert_eq!(found, scheme.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn ports_are_found() {
        for (text, port) in [
            ("https://a.com:8443/x", Some("8443")),
            ("https://a.com/x:1", None),
            ("https://[::1]:2", Some("2")),
            ("https://[::1]", None),
            ("https://u:p@a.com", None),
            ("https://a.com:", None),
            ("a", None),
        ] {
            assert_eq!(port_of(text), port, "{text}");
        }
    }
}
