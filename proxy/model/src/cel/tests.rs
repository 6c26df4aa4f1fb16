#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::*;

struct Headers(BTreeMap<&'static str, &'static str>);

impl Object for Headers {
    fn member(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name).map(|value| Value::text(value))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

struct Request {
    headers: Headers,
}

impl Attributes for Request {
    fn attribute(&self, which: Attribute) -> Option<Value<'_>> {
        Some(match which {
            Attribute::RequestPath => Value::text("/api/v1?x=1"),
            Attribute::RequestMethod => Value::text("GET"),
            Attribute::RequestHeaders => Value::Object(&self.headers),
            Attribute::RequestSize => Value::Int(300),
            Attribute::RequestDuration => Value::Duration(1_500_000_000),
            Attribute::RequestTime => Value::Timestamp(1_767_323_045_067_000_000),
            Attribute::ResponseCode => Value::Int(503),
            Attribute::ConnectionMtls => Value::Bool(true),
            _ => return None,
        })
    }
}

fn shown(source: &str) -> String {
    let request = Request {
        headers: Headers([("x-user", "ann"), ("a", "1")].into()),
    };
    let expression = match Expression::compile(source) {
        Ok(expression) => expression,
        Err(error) => return error.to_string(),
    };
    expression.text(&request).unwrap_or_else(|| "-".to_owned())
}

#[test]
fn expressions_give_what_the_specification_says() {
    for (source, value) in [
        ("1 + 2 * 3 - 4 / 2 % 2", "7"),
        ("-(3) + 2u == 1 ? 'a' : 'b'", "-"),
        ("9223372036854775807 + 1", "-"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("0x1F + 1", "32"),
        ("1.5e3 + 0.5", "1500.5"),
        ("7 / 0", "-"),
        ("'a' + \"b\" + r'\\n' + '\\u00e9'", "ab\\né"),
        ("size('é') == 1 && size(b'é') == 2", "true"),
        (
            "[1, 2, 3].exists(x, x > 2) && ![1, 2].all(x, x > 1)",
            "true",
        ),
        ("[1, 2, 3].map(x, x * 2)", "[2, 4, 6]"),
        ("[1, 2, 3].map(x, x > 1, x * 2)", "[4, 6]"),
        ("[1, 2, 3].filter(x, x != 2)", "[1, 3]"),
        ("[1, 2, 1].exists_one(x, x == 2)", "true"),
        (
            "[[1], [2]].exists(x, x.exists(y, y == 2 && x[0] == y))",
            "true",
        ),
        ("{'a': 1}['a'] + {'a': 2}.a", "3"),
        ("'a' in {'a': 1} && !('b' in ['a'])", "true"),
        ("1 == 1.0 && 2u > 1 && 1 != 'a'", "true"),
        ("null == null", "true"),
        ("int('12') + int(3.9) + int(2u)", "17"),
        (
            "string(1) + string(1.5) + string(true) + string(2u)",
            "11.5true2",
        ),
        (
            "double('1.5') < 2.0 && uint(3) == 3u && bool('true')",
            "true",
        ),
        ("type(1) + type('a') + type([])", "intstringlist"),
        ("duration('1h30m') > duration('90s')", "true"),
        ("string(duration('1.5s') + duration('250ms'))", "1.75s"),
        ("timestamp('2026-01-02T03:04:05Z').getMonth()", "0"),
        (
            "string(timestamp('2026-01-02T03:04:05.5+01:00'))",
            "2026-01-02T02:04:05.5Z",
        ),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfYear()", "59"),
        ("timestamp('1970-01-01T00:00:00Z').getDayOfWeek()", "4"),
        ("'Ab'.lowerAscii() + 'Ab'.upperAscii()", "abAB"),
        (
            "request.path.startsWith('/api') && request.path.matches('v[0-9]+')",
            "true",
        ),
        (
            "request.path.endsWith('1') && request.path.contains('v1')",
            "true",
        ),
        ("request.headers['x-user'] == 'ann'", "true"),
        ("request.headers.a", "1"),
        ("has(request.headers.a) && !has(request.headers.b)", "true"),
        ("'x-user' in request.headers", "true"),
        ("request.headers['none']", "-"),
        ("request.headers['none'] == 'x' || true", "true"),
        ("false && request.headers['none'] == 'x'", "false"),
        ("response.code >= 400 && connection.mtls", "true"),
        ("request.duration > duration('1s')", "true"),
        ("request.time.getFullYear()", "2026"),
        ("response.grpc_status == 0", "-"),
        ("has(response.grpc_status)", "false"),
        ("size(request.headers)", "2"),
        ("request['method']", "GET"),
        ("true ? 1 : 2 // why", "1"),
    ] {
        assert_eq!(shown(source), value, "{source}");
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (source, text) in [
        ("", "at byte 0: a value is expected"),
        ("request.nope", "no attribute `request.nope`"),
        ("nope == 1", "no attribute `nope`"),
        ("f(1)", "no function `f` with 1 arguments"),
        ("size(1, 2)", "no function `size` with 2 arguments"),
        ("'a'.matches('(')", "regex"),
        ("'a'.matches(request.path)", "literal"),
        ("'abc", "not closed"),
        ("1 +", "a value is expected"),
        ("1 2", "something follows"),
        ("(1", "`)` is expected"),
        ("99999999999999999999", "too large"),
        ("has(1)", "has() takes a member"),
        ("a ^ b", "'^' is not expected"),
    ] {
        let error = Expression::compile(source).unwrap_err().to_string();
        assert!(error.contains(text), "{source}: {error}");
    }
}

#[test]
fn size_depth_and_steps_are_bounded() {
    let deep = "(".repeat(10_000) + "1" + &")".repeat(10_000);
    assert!(Expression::compile(&deep).is_err());
    assert!(Expression::compile(&"!".repeat(10_000)).is_err());
    assert!(Expression::compile(&("1".to_owned() + &"+1".repeat(5_000))).is_err());
    assert!(Expression::compile(&"x".repeat(20_000)).is_err());
    let list = format!("[{}]", vec!["1"; 200].join(","));
    let nested = format!("{list}.map(a, {list}.map(b, {list}.map(c, a + b + c)))");
    assert_eq!(shown(&nested), "-", "a cube of 200 takes too many steps");
}

#[test]
fn headers_in_use_are_known() {
    let names = |source: &str| {
        let expression = Expression::compile(source).unwrap();
        expression.request_headers().map(|names| {
            let names: Vec<_> = names.iter().map(|name| name.as_str().to_owned()).collect();
            names.join(",")
        })
    };
    let source =
        "request.headers['X-A'] == 'b' && has(request.headers.c) && 'd' in request.headers";
    assert_eq!(names(source).as_deref(), Some("x-a,c,d"));
    assert_eq!(
        names("request.useragent == 'x'").as_deref(),
        Some("user-agent")
    );
    assert_eq!(names("size(request.headers) > 3"), None);
}
