//! Values of AuthorizationPolicies: which covers which, and which have a text in common.

use std::net::IpAddr;

use ipnet::IpNet;

/// How values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    /// As they are, with `x*`, `*x` and `*`.
    Text,
    /// So, without regard to case.
    AnyCase,
    /// As addresses or ranges.
    Address,
    /// As paths, which may be templates with `{*}` and `{**}`.
    Path,
}

enum Pattern<'a> {
    Any,
    Exact(&'a str),
    Prefix(&'a str),
    Suffix(&'a str),
}

impl<'a> Pattern<'a> {
    fn of(value: &'a str) -> Self {
        if value == "*" {
            Self::Any
        } else if let Some(prefix) = value.strip_suffix('*') {
            Self::Prefix(prefix)
        } else if let Some(suffix) = value.strip_prefix('*') {
            Self::Suffix(suffix)
        } else {
            Self::Exact(value)
        }
    }
}

impl Compare {
    /// Whether all that one value matches another one matches too. Where that cannot be told it does not.
    pub(super) fn covers(self, wide: &str, narrow: &str) -> bool {
        match self {
            Self::Text => covers(wide, narrow),
            Self::AnyCase => covers(&wide.to_lowercase(), &narrow.to_lowercase()),
            Self::Address => match (range(wide), range(narrow)) {
                (Some(wide), Some(narrow)) => wide.contains(&narrow),
                _ => false,
            },
            Self::Path if is_template(wide) => wide == narrow,
            Self::Path => match narrow.split_once('{') {
                Some((start, _)) if wide != "*" => wide
                    .strip_suffix('*')
                    .is_some_and(|prefix| start.starts_with(prefix)),
                _ => covers(wide, narrow),
            },
        }
    }

    /// Whether two values match a text in common. Where that cannot be told they do.
    pub(super) fn overlaps(self, one: &str, two: &str) -> bool {
        match self {
            Self::Text => overlaps(one, two),
            Self::AnyCase => overlaps(&one.to_lowercase(), &two.to_lowercase()),
            Self::Address => match (range(one), range(two)) {
                (Some(one), Some(two)) => one.contains(&two) || two.contains(&one),
                _ => true,
            },
            Self::Path => is_template(one) || is_template(two) || overlaps(one, two),
        }
    }
}

/// Whether a path is a template.
pub(super) fn is_template(path: &str) -> bool {
    path.contains("{*}") || path.contains("{**}")
}

fn covers(wide: &str, narrow: &str) -> bool {
    match (Pattern::of(wide), Pattern::of(narrow)) {
        (Pattern::Any, _) => true,
        (Pattern::Exact(wide), Pattern::Exact(narrow)) => wide == narrow,
        (Pattern::Prefix(prefix), Pattern::Exact(narrow) | Pattern::Prefix(narrow)) => {
            narrow.starts_with(prefix)
        }
        (Pattern::Suffix(suffix), Pattern::Exact(narrow) | Pattern::Suffix(narrow)) => {
            narrow.ends_with(suffix)
        }
        _ => false,
    }
}

fn overlaps(one: &str, two: &str) -> bool {
    match (Pattern::of(one), Pattern::of(two)) {
        (Pattern::Exact(one), Pattern::Exact(two)) => one == two,
        (Pattern::Exact(text), Pattern::Prefix(prefix))
        | (Pattern::Prefix(prefix), Pattern::Exact(text)) => text.starts_with(prefix),
        (Pattern::Exact(text), Pattern::Suffix(suffix))
        | (Pattern::Suffix(suffix), Pattern::Exact(text)) => text.ends_with(suffix),
        (Pattern::Prefix(one), Pattern::Prefix(two)) => {
            one.starts_with(two) || two.starts_with(one)
        }
        (Pattern::Suffix(one), Pattern::Suffix(two)) => one.ends_with(two) || two.ends_with(one),
        _ => true,
    }
}

fn range(text: &str) -> Option<IpNet> {
    let range = text
        .parse()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    range.ok().map(|range: IpNet| range.trunc())
}

#[cfg(test)]
mod tests {
    use super::Compare::{Address, AnyCase, Path, Text};

    #[test]
    fn wider_values_cover_narrower_ones() {
        for (compare, wide, narrow, covered) in [
            (Text, "*", "a*", true),
            (Text, "a*", "ab*", true),
            (Text, "a*", "ab", true),
            (Text, "ab*", "a*", false),
            (Text, "*b", "ab", true),
            (Text, "*b", "*ab", true),
            (Text, "a*", "*a", false),
            (Text, "a", "A", false),
            (AnyCase, "a", "A", true),
            (Address, "10.0.0.0/8", "10.1.0.0/16", true),
            (Address, "10.0.0.1", "10.0.0.0/8", false),
            (Address, "10.0.0.1/32", "10.0.0.1", true),
            (Address, "x", "x", false),
            (Path, "/a/*", "/a/{*}/b", true),
            (Path, "/a/b*", "/a/{*}/b", false),
            (Path, "/a/{*}", "/a/b", false),
            (Path, "/a/{*}", "/a/{*}", true),
            (Path, "*", "/{**}", true),
        ] {
            assert_eq!(compare.covers(wide, narrow), covered, "{wide} {narrow}");
        }
    }

    #[test]
    fn values_overlap_in_both_directions() {
        for (compare, one, two, overlap) in [
            (Text, "a*", "*b", true),
            (Text, "a*", "ab*", true),
            (Text, "a*", "b*", false),
            (Text, "a", "b", false),
            (Text, "*a", "*ba", true),
            (Text, "*a", "b", false),
            (AnyCase, "A.com", "a.com", true),
            (Address, "10.0.0.0/8", "10.1.1.1", true),
            (Address, "10.0.0.0/8", "11.1.1.1", false),
            (Path, "/a", "/{*}", true),
        ] {
            assert_eq!(compare.overlaps(one, two), overlap, "{one} {two}");
            assert_eq!(compare.overlaps(two, one), overlap, "{two} {one}");
        }
    }
}
