//! Virtual host of a request's host.

use std::borrow::Cow;
use std::sync::Arc;

use lateen_proxy_model::{RouteTable, VirtualHost};

/// Hosts up to this many bytes are put in lower case without allocation.
const STACK: usize = 256;

/// The virtual host that serves `authority`: exact name, then the longest `*.x`, then the longest `x.*`, then `*`.
///
/// ASCII case does not count; the port counts unless the table ignores it.
pub fn find_host<'a>(table: &'a RouteTable, authority: &str) -> Option<&'a Arc<VirtualHost>> {
    let host = if table.ignore_port {
        strip_port(authority)
    } else {
        authority
    };
    let mut buffer = [0; STACK];
    let host = lower_case(host, &mut buffer);
    let index = index_of(table, &host)?;
    table.hosts.get(index)
}

/// `host` of `host:port`; brackets of an IPv6 address stay.
pub fn strip_port(authority: &str) -> &str {
    let Some((host, port)) = authority.rsplit_once(':') else {
        return authority;
    };
    let bare_v6 = host.contains(':') && !host.ends_with(']');
    if bare_v6 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        authority
    } else {
        host
    }
}

fn lower_case<'a>(host: &'a str, buffer: &'a mut [u8; STACK]) -> Cow<'a, str> {
    if !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(host);
    }
    let Some(target) = buffer.get_mut(..host.len()) else {
        return Cow::Owned(host.to_ascii_lowercase());
    };
    target.copy_from_slice(host.as_bytes());
    target.make_ascii_lowercase();
    match std::str::from_utf8(target) {
        Ok(lower) => Cow::Borrowed(lower),
        Err(_) => Cow::Owned(host.to_ascii_lowercase()),
    }
}

fn index_of(table: &RouteTable, host: &str) -> Option<usize> {
    if let Some(index) = table.exact.get(host) {
        return Some(*index);
    }
    table
        .suffix
        .ending(host)
        .or_else(|| table.prefix.starting(host))
        .or(table.any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ignore_port: bool) -> RouteTable {
        let names = [
            "a.example.com",
            "*.example.com",
            "*.b.example.com",
            "www.*",
            "*",
        ];
        let mut table = RouteTable {
            ignore_port,
            ..RouteTable::default()
        };
        for (index, name) in names.iter().enumerate() {
            table.hosts.push(Arc::new(VirtualHost {
                name: (*name).into(),
                ..VirtualHost::default()
            }));
            match *name {
                "*" => table.any = Some(index),
                name if name.starts_with('*') => {
                    table.suffix.insert(&name[1..], index);
                }
                name if name.ends_with('*') => {
                    table.prefix.insert(&name[..name.len() - 1], index);
                }
                name => {
                    table.exact.insert(name.into(), index);
                }
            }
        }
        table
    }

    #[test]
    fn exact_beats_suffix_beats_prefix_beats_any() {
        let table = table(true);
        let found = |host: &str| find_host(&table, host).map(|host| host.name.to_string());
        for (host, wanted) in [
            ("a.example.com", "a.example.com"),
            ("A.Example.COM:8080", "a.example.com"),
            ("x.example.com", "*.example.com"),
            ("x.b.example.com", "*.b.example.com"),
            (".example.com", "*"),
            ("www.other.org", "www.*"),
            ("other.org", "*"),
            ("", "*"),
            ("[::1]:80", "*"),
        ] {
            assert_eq!(found(host).as_deref(), Some(wanted), "{host}");
        }
        let long = format!("{}.EXAMPLE.com", "x".repeat(400));
        assert_eq!(found(&long).as_deref(), Some("*.example.com"));
    }

    #[test]
    fn the_port_counts_unless_ignored() {
        let table = table(false);
        let host = find_host(&table, "a.example.com:80").map(|host| host.name.to_string());
        assert_eq!(host.as_deref(), Some("*"));
        for (authority, host) in [
            ("a:1", "a"),
            ("[::1]:1", "[::1]"),
            ("::1", "::1"),
            ("a:b", "a:b"),
            ("a", "a"),
        ] {
            assert_eq!(strip_port(authority), host);
        }
    }
}
