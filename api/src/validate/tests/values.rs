//! Rules on single values.

use super::super::headers::{
    ValueError, check_value, is_claim, is_matched, unchangeable, unsettable,
};
use super::super::scope::is_generated_server_name;
use super::super::values::{is_ip, is_ip_or_range, is_unix, scoped_host};

/// Asserts which of the texts a rule takes.
fn assert_taken(rule: impl Fn(&str) -> bool, taken: &[&str], refused: &[&str]) {
    for text in taken {
        assert!(rule(text), "`{text}` is refused");
    }
    for text in refused {
        assert!(!rule(text), "`{text}` is taken");
    }
}

#[test]
fn addresses_and_ranges() {
    assert_taken(
        is_ip,
        &[
            "10.0.0.1",
            "::",
            "2001:db8::1",
            "fe80::1%eth0",
            "::ffff:10.0.0.1",
        ],
        &[
            "",
            "10.0.0.01",
            "10.0.0",
            "10.0.0.1:80",
            "[::1]",
            "fe80::1%",
            "10.0.0.1%eth0",
            "10.0.0.0/8",
            " ::1",
        ],
    );
    assert_taken(
        is_ip_or_range,
        &[
            "10.0.0.1",
            "10.1.2.3/8",
            "0.0.0.0/0",
            "10.0.0.1/32",
            "2001:db8::1/64",
            "::/128",
            "fe80::1%eth0",
        ],
        &[
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/08",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "fe80::1%eth0/64",
            "a/8",
            "/8",
            "10.0.0.0/8/8",
            "10.0.0.0/256",
        ],
    );
}

#[test]
fn sockets_and_hosts() {
    assert_taken(
        is_unix,
        &["unix:///a", "unix://@a", "unix:///a/b"],
        &["unix://", "unix://a", "unix:///a/", "/a", "tcp:///a"],
    );
    assert_taken(
        scoped_host,
        &["*", "*.a.com", "a.com"],
        &["", "a", "*a.com", "*-a.com", "10.0.0.1", "**"],
    );
    assert_taken(
        is_generated_server_name,
        &[
            "outbound_.80_._.reviews.default.svc.cluster.local",
            "outbound_8_v1_x",
            "outbound_a8_ _x_?",
        ],
        &[
            "outbound_.80_.",
            "outbound_.http_._.a",
            "outbound_.80_._.7",
            "inbound_.80_._.a",
            "outbound_",
        ],
    );
}

#[test]
fn header_names() {
    assert_taken(
        is_matched,
        &[
            "x-id",
            "a,b",
            "!#$%&'*+-.^_`|~",
            ":path",
            ":method",
            "@request.auth.claims.a",
            "@Request.Auth.Claims[a]",
        ],
        &[
            "",
            "a b",
            ":host",
            ":PATH",
            "a:b",
            "@request.auth.claims",
            "é",
        ],
    );
    assert_taken(
        is_claim,
        &[
            "@request.auth.claims.a.b",
            "@request.auth.claims[a][b]",
            "@REQUEST.auth.claims..",
        ],
        &[
            "@request.auth.claims",
            "@request.auth.claims.",
            "@request.auth.claims[]",
            "@request.auth.claims[a",
            "@request.auth.claimsa",
            "x",
        ],
    );
    assert_taken(
        |name| unsettable(name).is_none(),
        &["x", "Host", ":Authority", "a b"],
        &["", ":path", ":"],
    );
    assert_taken(
        |name| unchangeable(name).is_none(),
        &["x", "a b", "hosts"],
        &["", "HOST", ":authority", ":path"],
    );
}

#[test]
fn header_values_have_variables_that_end() {
    for value in [
        "",
        "a\tb",
        "100%%",
        "%HOSTNAME%",
        "a %REQ(x-id)% b",
        "%X( a b )%",
        "%X(a)  %",
        "%UPSTREAM_METADATA([\"a\", \"b\" ])%",
        "%X([ \"a\" , \"b\\\"\" ] )%",
        "%%%X%",
        "%X(a\\))%",
        "%anything at all%",
        "é",
    ] {
        assert_eq!(check_value(value), Ok(()), "{value}");
    }
    for (value, error) in [
        ("a\nb", ValueError::Control),
        ("a\u{7f}", ValueError::Control),
        ("%", ValueError::Unterminated),
        ("abc%123", ValueError::Unterminated),
        ("%START_TIME%%", ValueError::Unterminated),
        ("%X()%", ValueError::Unterminated),
        ("%X(a%", ValueError::Unterminated),
        ("%X(a\\", ValueError::Unterminated),
        ("%X(a)b%", ValueError::Arguments),
        ("%X([])%", ValueError::Arguments),
        ("%X([a])%", ValueError::Arguments),
        ("%X([\"a\" \"b\"])%", ValueError::Arguments),
        ("%X([\"a\"]\t)%", ValueError::Arguments),
        ("%X([\"a)b\"])%", ValueError::Arguments),
    ] {
        assert_eq!(check_value(value), Err(error), "{value}");
    }
}
