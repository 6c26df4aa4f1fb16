//! URLs as the API server's CEL functions `isURL` and `url` read them: an absolute URI or an absolute path.

/// The scheme of a URL as it is written, empty for a path; `None` for what is no URL.
pub(super) fn scheme(text: &str) -> Option<&str> {
    if text.is_empty() || text.bytes().any(|byte| byte.is_ascii_control()) {
        return None;
    }
    if text == "*" {
        return Some("");
    }
    let (scheme, rest) = split_scheme(text)?;
    let hierarchy = rest.split('?').next().unwrap_or_default();
    if !hierarchy.starts_with('/') {
        // What follows a scheme directly may be anything.
        return (!scheme.is_empty()).then_some(scheme);
    }
    let path = match hierarchy.strip_prefix("//").filter(|_| !scheme.is_empty()) {
        Some(after) => {
            let (authority, path) = after.split_at(after.find('/').unwrap_or(after.len()));
            if !is_authority(authority) {
                return None;
            }
            path
        }
        None => hierarchy,
    };
    has_sound_escapes(path).then_some(scheme)
}

/// The scheme before the first colon, if what stands there can be one; `None` where a colon stands first.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    for (at, letter) in text.char_indices() {
        match letter {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return None,
            ':' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => break,
        }
    }
    Some(("", text))
}

fn is_authority(authority: &str) -> bool {
    let Some((user, host)) = authority.rsplit_once('@') else {
        return is_host(authority);
    };
    let is_user = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    is_host(host) && user.bytes().all(is_user) && has_sound_escapes(user)
}

fn is_host(host: &str) -> bool {
    let name = if host.starts_with('[') {
        let Some((address, port)) = host.rsplit_once(']') else {
            return false;
        };
        if !port.is_empty() && !port.strip_prefix(':').is_some_and(is_port) {
            return false;
        }
        // A zone is written behind an escaped percent sign.
        address.split("%25").next().unwrap_or_default()
    } else {
        match host.rsplit_once(':') {
            Some((_, port)) if !is_port(port) => return false,
            Some((name, _)) => name,
            None => host,
        }
    };
    let is_letter = |byte: u8| {
        byte >= 0x80 || byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"%".contains(&byte)
    };
    name.bytes().all(is_letter) && has_host_escapes(name)
}

fn is_port(port: &str) -> bool {
    port.bytes().all(|byte| byte.is_ascii_digit())
}

fn has_sound_escapes(text: &str) -> bool {
    escapes(text).all(|escape| escape.is_some())
}

/// In a host only bytes beyond ASCII are escaped, and the percent sign itself.
fn has_host_escapes(text: &str) -> bool {
    escapes(text).all(|escape| escape.is_some_and(|byte| byte >= 0x80 || byte == b'%'))
}

/// The bytes that escapes stand for; `None` for a percent sign without two digits behind it.
fn escapes(text: &str) -> impl Iterator<Item = Option<u8>> + '_ {
    text.split('%').skip(1).map(|after| {
        let digits = after.get(..2).filter(|digits| !digits.starts_with('+'))?;
        u8::from_str_radix(digits, 16).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_the_server_reads_them() {
        for (text, expected) in [
            ("https://a.com/x?y=%zz", Some("https")),
            ("HTTP://a.com", Some("HTTP")),
            ("oci://ghcr.io/a/b:1", Some("oci")),
            ("file:///opt/x.wasm", Some("file")),
            ("/path", Some("")),
            ("//path", Some("")),
            ("*", Some("")),
            ("host:5000/x", Some("host")),
            ("mailto:a@b", Some("mailto")),
            ("http://[::1]:80/", Some("http")),
            ("http://[fe80::1%25en0]/", Some("http")),
            ("http://user:pass@h/", Some("http")),
            ("http://%E4%BD%A0/", Some("http")),
            ("", None),
            ("ghcr.io/a/b:1", None),
            ("10.0.0.1:5000/x", None),
            (":80", None),
            ("http://a b/", None),
            ("http://a.com:x/", None),
            ("http://[::1/", None),
            ("http://a/%zz", None),
            ("http://%41/", None),
            ("http://a\u{7f}/", None),
            ("http://us er@h/", None),
        ] {
            assert_eq!(scheme(text), expected, "{text}");
        }
    }
}
