//! What is CEL and what is not.

use proptest::prelude::*;

use super::*;

fn depth(open: &str, inner: &str, close: &str, levels: usize) -> String {
    format!("{}{inner}{}", open.repeat(levels), close.repeat(levels))
}

#[test]
fn expressions_are_read() {
    for expression in [
        "response.code >= 400",
        "response.code == 200 && !(request.url_path.startsWith('/health') || has(request.headers.x))",
        "a ? b : c ? d : e",
        "x in [1, 2, 3,]",
        "[,] == {,}",
        "{'a': 1, b: 2u,}",
        "google.rpc.Status{code: 1, message: 'x',}",
        ".a.b{}",
        ".a.b.c(1)",
        "a.b.c[0]['x'].d(e, f)",
        "-1 - -1 + --x",
        "!!a && !-1",
        "-9223372036854775808",
        "9223372036854775807",
        "18446744073709551615u",
        "0xFFu + 0x7f",
        "1.5e3 + .5 + 1e-3",
        "1e-999",
        "1.foo",
        r#"r"\d" + R'''a
b''' + "\x41\101\u00e9\U0001F600\n\`""#,
        r#"b"\xff\377" + br'\u0041' + """a "quoted" word""""#,
        "true || false || null",
        "l.all(x, x > 1) && l.map(x, x > 1, x) == l.filter(y, y.exists_one(z, z == 1))",
        "l.map(1)",
        "has(a.b, c)",
        "has((a.b))",
        "a // a comment\n && b",
        "a.package.as",
        "\u{c}a\r\n",
        "a.b.contains(\"\\\"\")",
    ] {
        assert_eq!(check_syntax(expression), Ok(()), "{expression}");
    }
}

#[test]
fn what_is_not_cel_is_refused_with_its_place() {
    for (expression, at, fragment) in [
        ("", 1, "ends where a value"),
        ("  ", 3, "ends where a value"),
        ("response.code >=", 17, "ends where a value"),
        ("response.code = 200", 15, "`=` has no meaning"),
        ("a & b", 3, "`&` has no meaning"),
        ("a b", 3, "`b` stands where an operator"),
        ("a ? b", 6, "ends where `:`"),
        ("(a", 3, "ends where `)`"),
        ("[1 2]", 4, "`2` stands where `,` or `]`"),
        ("[1,,]", 4, "`,` stands where a value"),
        ("{1}", 3, "`}` stands where `:`"),
        ("A{b}", 4, "`}` stands where `:`"),
        ("A{1: 2}", 3, "`1` stands where a name"),
        ("a.", 3, "ends where a name"),
        ("a.in", 3, "`in` stands where a name"),
        ("a.5", 2, "`.5` stands where an operator"),
        ("f(a,)", 5, "`)` stands where a value"),
        ("a.b(c){}", 7, "`{` stands where an operator"),
        ("'a", 1, "no closing quotes"),
        ("'a\nb'", 1, "no closing quotes"),
        ("\"\"\"a\"\"", 1, "no closing quotes"),
        (r"'\d'", 2, "escape"),
        (r"'\ud800'", 2, "escape"),
        (r"'\U00110000'", 2, "escape"),
        (r"b'\u0041'", 3, "escape"),
        (r"'\8'", 2, "escape"),
        ("rb'a'", 3, "`'a'` stands where an operator"),
        ("9223372036854775808", 1, "does not fit"),
        ("--9223372036854775808", 3, "does not fit"),
        ("18446744073709551616u", 1, "does not fit"),
        ("1e999", 1, "does not fit"),
        ("0x", 2, "`x` stands where an operator"),
        ("!-x", 2, "`-` stands where a value"),
        ("-!x", 2, "`!` stands where a value"),
        ("package == 'a'", 1, "reserved"),
        ("while(a)", 1, "reserved"),
        ("has(a)", 5, "a field"),
        ("has(a[0])", 5, "a field"),
        ("l.all(x.y, true)", 7, "a name for an element"),
        ("l.map(1, true, 2)", 7, "a name for an element"),
        ("a.?b", 3, "`.?` cannot"),
        ("a[?0]", 3, "`[?` cannot"),
        ("[?a]", 2, "cannot be used"),
        ("A{?b: 1}", 3, "cannot be used"),
        ("a.`b-c`", 3, "backticks"),
        ("é.a == $", 1, "`é` has no meaning"),
        ("'é' == $", 8, "`$` has no meaning"),
    ] {
        let error = check_syntax(expression).expect_err(expression);
        assert_eq!(error.at, at, "{expression}: {error}");
        assert!(
            error.to_string().contains(fragment),
            "{expression}: {error}"
        );
    }
}

#[test]
fn depth_and_length_have_bounds() {
    let within = usize::from(MAX_DEPTH) - 1;
    for (open, inner, close) in [("(", "a", ")"), ("[", "a", "]"), ("f(", "a", ")")] {
        assert_eq!(check_syntax(&depth(open, inner, close, within)), Ok(()));
        let error = check_syntax(&depth(open, inner, close, within + 1)).expect_err("too deep");
        assert_eq!(error.reason, CelReason::TooDeep);
    }
    assert_eq!(check_syntax(&depth("", "a", ".b", within)), Ok(()));
    assert!(check_syntax(&depth("", "a", ".b", within + 1)).is_err());
    assert!(check_syntax(&depth("", "a", " + a", within + 1)).is_err());
    assert_eq!(check_syntax(&depth("", "a", " && a", 10_000)), Ok(()));
    assert_eq!(check_syntax(&depth("!", "a", "", 50_000)), Ok(()));
    let error = check_syntax(&"(".repeat(MAX_LENGTH)).expect_err("too deep");
    assert_eq!(error.reason, CelReason::TooDeep);
    let error = check_syntax(&" ".repeat(MAX_LENGTH + 1)).expect_err("too long");
    assert_eq!(error.reason, CelReason::TooLong);
}

proptest! {
    #[test]
    fn no_text_makes_the_check_panic(text in "[ab.()\\[\\]{}'\"\\\\?:,!&|<>=+*/%0-9xeurRB`é\n-]{0,60}") {
        let _ = check_syntax(&text);
    }

    #[test]
    fn any_text_is_refused_or_not(text in ".{0,40}") {
        let _ = check_syntax(&text);
    }
}
