//! Host names: short names, wildcards, which covers which, and which is most specific (Istio compares them as written, with case).

use std::borrow::Cow;
use std::net::IpAddr;

/// A host as objects may write it, expanded: a name without a dot is a Service of the object's namespace; `*`, names with a dot and
/// IP addresses stay.
#[must_use]
pub fn expand<'a>(host: &'a str, namespace: &str, domain: &str) -> Cow<'a, str> {
    if host.is_empty()
        || host.starts_with('*')
        || host.contains('.')
        || host.parse::<IpAddr>().is_ok()
    {
        return Cow::Borrowed(host);
    }
    Cow::Owned(service_host(host, namespace, domain))
}

/// The host of a Kubernetes Service.
#[must_use]
pub fn service_host(name: &str, namespace: &str, domain: &str) -> String {
    format!("{name}.{namespace}.svc.{domain}")
}

/// The name that means all sidecars where gateways are listed.
pub const MESH_GATEWAY: &str = "mesh";

/// A gateway as a VirtualService names it, as `namespace/name`; `mesh` stays. A dotted name is the old form `name.namespace[.…]`.
#[must_use]
pub fn expand_gateway(gateway: &str, namespace: &str) -> String {
    if gateway == MESH_GATEWAY {
        return gateway.to_owned();
    }
    match gateway.split_once('/') {
        Some((".", name)) => format!("{namespace}/{name}"),
        Some(_) => gateway.to_owned(),
        None => match gateway.split_once('.') {
            Some((name, rest)) => format!("{}/{name}", rest.split('.').next().unwrap_or(rest)),
            None => format!("{namespace}/{gateway}"),
        },
    }
}

/// Whether a host is a wildcard.
#[must_use]
pub fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether `wide` covers every name that `host` covers: `*.a.com` covers `x.a.com` and `*.x.a.com`, but not `a.com`.
#[must_use]
pub fn is_subset_of(host: &str, wide: &str) -> bool {
    match (host.strip_prefix('*'), wide.strip_prefix('*')) {
        (_, None) => host == wide,
        (None, Some(suffix)) => host.ends_with(suffix),
        (Some(own), Some(suffix)) => own.ends_with(suffix),
    }
}

/// Whether two hosts have a name in common, that is, either covers the other.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    is_subset_of(one, other) || is_subset_of(other, one)
}

/// The most specific of `candidates` that covers `host`: the same name first, then the longest wildcard. Of equals the first counts.
#[must_use]
pub fn most_specific<'a>(
    host: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let mut best: Option<&str> = None;
    for candidate in candidates
        .into_iter()
        .filter(|candidate| is_subset_of(host, candidate))
    {
        if candidate == host {
            return Some(candidate);
        }
        if best.is_none_or(|best| candidate.len() > best.len()) {
            best = Some(candidate);
        }
    }
    best
}

/// Whether a text is a namespace's name: lower-case letters, digits and `-`, at most 63 (RFC 1123).
#[must_use]
pub fn is_dns_label(text: &str) -> bool {
    is_label(text, |byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit()
    })
}

/// Whether a text is an object's name: such labels with dots between, at most 253 (RFC 1123).
#[must_use]
pub fn is_dns_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_dns_label)
}

/// Whether a text is a label as Istio's objects take it, where upper case is allowed too.
#[must_use]
pub fn is_any_case_label(text: &str) -> bool {
    is_label(text, |byte| byte.is_ascii_alphanumeric())
}

/// Whether a text is a full name: labels with dots between, perhaps a dot at the end, no IPv4 address and no lone number.
#[must_use]
pub fn is_fqdn(text: &str) -> bool {
    (1..=255).contains(&text.len()) && are_labels(text)
}

/// Whether a text is a full name or a wildcard: `*`, `*.a.com`, `*-x.a.com`, `*x`. A single label may be a number.
#[must_use]
pub fn is_wildcard_domain(text: &str) -> bool {
    let (first, rest) = text
        .split_once('.')
        .map_or((text, None), |(first, rest)| (first, Some(rest)));
    (1..=255).contains(&text.len())
        && is_wildcard_label(first)
        && rest.is_none_or(|rest| rest.is_empty() || are_labels(rest))
}

/// Whether a text is a label before which a `*` or `*-` may stand, or a `*` alone.
fn is_wildcard_label(text: &str) -> bool {
    let label = text
        .strip_prefix('*')
        .map_or(text, |rest| rest.strip_prefix('-').unwrap_or(rest));
    text == "*" || (text.len() <= 63 && is_any_case_label(label))
}

/// Whether a text is labels with dots between, perhaps with a dot at the end; else the last is no number.
fn are_labels(text: &str) -> bool {
    let last = text.rsplit('.').next().unwrap_or(text);
    let number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    let name = text.strip_suffix('.').unwrap_or(text);
    !number && name.split('.').all(is_any_case_label)
}

fn is_label(text: &str, letter: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&byte| letter(byte) || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_belong_to_the_object_s_namespace() {
        for (host, expanded) in [
            ("reviews", "reviews.bookinfo.svc.cluster.local"),
            ("reviews.other", "reviews.other"),
            (
                "reviews.other.svc.cluster.local",
                "reviews.other.svc.cluster.local",
            ),
            ("*", "*"),
            ("*.com", "*.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(expand(host, "bookinfo", "cluster.local"), expanded);
        }
    }

    #[test]
    fn gateway_names_get_a_namespace() {
        for (name, expanded) in [
            ("mesh", "mesh"),
            ("bookinfo-gateway", "default/bookinfo-gateway"),
            ("istio-system/edge", "istio-system/edge"),
            ("./edge", "default/edge"),
            ("edge.istio-system.svc.cluster.local", "istio-system/edge"),
            ("edge.istio-system", "istio-system/edge"),
        ] {
            assert_eq!(expand_gateway(name, "default"), expanded);
        }
    }

    #[test]
    fn wildcards_cover_what_ends_alike() {
        for (host, wide, covered) in [
            ("x.a.com", "*.a.com", true),
            ("a.com", "*.a.com", false),
            ("yx.com", "*x.com", true),
            ("*.x.a.com", "*.a.com", true),
            ("*.a.com", "*.x.a.com", false),
            ("*.a.com", "x.a.com", false),
            ("anything", "*", true),
            ("*", "*", true),
            ("*", "*.com", false),
            ("A.com", "a.com", false),
        ] {
            assert_eq!(is_subset_of(host, wide), covered, "{host} in {wide}");
        }
        assert!(
            overlap("*.a.com", "x.a.com")
                && overlap("x.a.com", "*.a.com")
                && !overlap("*.a.com", "*.b.com")
        );
    }

    #[test]
    fn the_same_name_beats_the_longest_wildcard() {
        let hosts = ["*", "*.com", "*.a.com", "x.a.com"];
        assert_eq!(most_specific("x.a.com", hosts), Some("x.a.com"));
        assert_eq!(most_specific("y.a.com", hosts), Some("*.a.com"));
        assert_eq!(most_specific("b.org", hosts), Some("*"));
        assert_eq!(most_specific("b.org", ["*.com"]), None);
    }

    #[test]
    fn domains_are_told_from_addresses() {
        for (text, fqdn, wildcard) in [
            ("reviews", true, true),
            ("a.com.", true, true),
            ("10.0.0.1", false, false),
            ("7", false, true),
            ("*", false, true),
            ("*.a.com", false, true),
            ("*-x.a.com", false, true),
            ("*x", false, true),
            ("a.*.com", false, false),
            ("a_b.com", false, false),
            ("", false, false),
            ("*.10.0.0.1", false, false),
            ("-a.com", false, false),
            ("*.", false, true),
            ("*--x.com", false, false),
            ("*-", false, false),
            (".", false, false),
            ("a..com", false, false),
            ("a.7", false, false),
            ("A-1.Example.COM", true, true),
            ("reviews.", true, true),
        ] {
            assert_eq!(is_fqdn(text), fqdn, "{text}");
            assert_eq!(is_wildcard_domain(text), wildcard, "{text}");
        }
    }
}
