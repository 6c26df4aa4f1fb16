//! Texts, their trees, their bytes and their mistakes.

use super::*;

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn documents_keep_their_bytes() {
    let text = "# licence\n---\na: 1 # one\n--- # two\n- b\n...\n---\n\"c\": é\n---\n";
    let documents = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let spans: String = documents
        .iter()
        .map(|document| &text[document.span.clone()])
        .collect();
    assert_eq!(spans, text, "nothing is lost");
    let bodies: Vec<&str> = documents
        .iter()
        .map(|document| &text[document.body.clone()])
        .collect();
    assert_eq!(
        bodies,
        ["a: 1 # one\n", " # two\n- b\n...\n", "\"c\": é\n", ""]
    );
    assert!(documents[3].is_empty());
    assert_eq!(
        documents[2].root.entry("c").map(|entry| entry.key_at),
        Some(Mark { line: 8, column: 1 })
    );
}

#[test]
fn a_text_without_markers_is_one_document() {
    let documents = parse("a: b\n").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        (documents[0].span.clone(), documents[0].body.clone()),
        (0..5, 0..5)
    );
    assert!(parse("").is_ok_and(|documents| documents.is_empty()));
    assert!(
        parse("# only a comment\n").is_ok_and(|documents| documents.iter().all(Document::is_empty))
    );
    let windows = parse("\u{feff}a: b\r\nc: d\r\n").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(windows[0].root.get("c").and_then(Node::text), Some("d"));
}

#[test]
fn places_count_lines_and_characters_from_one() {
    let documents = parse("é: [a, {b: c}]\n").unwrap_or_else(|e| panic!("{e}"));
    let root = &documents[0].root;
    assert_eq!(root.mark_of("é[1].b"), Some(Mark { line: 1, column: 9 }));
    assert_eq!(root.mark_of("é[2]"), None);
    assert_eq!(root.mark_near("é[1].x.y"), Mark { line: 1, column: 8 });
    let odd = parse("m: {a.b/c: 1}\n").unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        odd[0].root.mark_of("m[\"a.b/c\"]"),
        Some(Mark { line: 1, column: 5 })
    );
}

#[test]
fn mistakes_are_named_with_their_place() {
    for (text, said) in [
        (
            "a: 1\nb: 2\na: 3\n",
            "3:1: the key `a` is given twice, first in line 1",
        ),
        (
            "{\"a\": 1, \"a\": 2}",
            "1:10: the key `a` is given twice, first in line 1",
        ),
        ("a:\n\tb: 1\n", "2:"),
        ("a: [1, 2\n", "not YAML: "),
        ("{\"a\": ", "not YAML: "),
        ("a: \"x\n", "not YAML: "),
        ("? [a]\n: b\n", "1:3: a key must be plain text"),
        ("a: *b\n", "not YAML: "),
        (
            "a: &a\n  b: *a\n",
            "an alias refers to an anchor that is not complete here",
        ),
        ("a: {<<: 1}\n", "1:9: the value of `<<` must be a mapping"),
    ] {
        let error = error(text);
        assert!(error.contains(said), "{text:?}: {error}");
    }
    let many: String = (0..40)
        .map(|i| format!("k{i}: 1\n"))
        .chain(["k3: 2\n".to_owned()])
        .collect();
    assert_eq!(
        error(&many),
        "41:1: the key `k3` is given twice, first in line 4"
    );
}

#[test]
fn aliases_and_merge_keys_are_written_out() {
    let text = "base: &b {x: 1, y: 2}\nnext: {<<: *b, y: 3}\nlist: [*b, '<<': 4]\n";
    let documents = parse(text).unwrap_or_else(|e| panic!("{e}"));
    let value: serde_json::Value = read(&documents[0].root).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        value,
        serde_json::json!({"base": {"x": 1, "y": 2}, "next": {"x": 1, "y": 3}, "list": [{"x": 1, "y": 2}, {"<<": 4}]})
    );
}

#[test]
fn hostile_texts_meet_limits() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let previous = format!("*a{}, ", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{previous}]\n"));
    }
    assert!(
        error(&bomb).contains("more than the 2000000 values"),
        "aliases of aliases"
    );
    assert!(
        error(&"[".repeat(5000)).contains("nested deeper")
            || error(&"[".repeat(5000)).contains("not YAML")
    );
    let deep: String = (0..300).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
    assert!(error(&deep).contains("nested deeper than the 128 levels"));
    let limits = Limits {
        bytes: 10,
        ..Limits::default()
    };
    let refused = parse_with("a: aaaaaaaaaaaaaa", limits)
        .expect_err("too large")
        .to_string();
    assert_eq!(
        refused,
        "1:1: the text has 17 bytes, more than the 10 that are allowed"
    );
}

#[test]
fn values_are_read_as_the_type_asks() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Asked {
        flag: bool,
        text: String,
        number: Option<i32>,
        list: Vec<String>,
    }
    let documents = parse("flag: yes\ntext: yes\nnumber: null\nlist:\nother: {a: 1}\n")
        .unwrap_or_else(|e| panic!("{e}"));
    let (asked, ignored) =
        read_strict::<Asked>(&documents[0].root).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(
        asked,
        Asked {
            flag: true,
            text: "yes".to_owned(),
            number: None,
            list: vec![]
        }
    );
    assert_eq!(
        ignored,
        [Ignored {
            at: Mark { line: 5, column: 1 },
            path: "other".to_owned()
        }]
    );
    let wrong = parse("flag: true\ntext: a\nlist: [a, [b]]\n").unwrap_or_else(|e| panic!("{e}"));
    let error = read::<Asked>(&wrong[0].root).expect_err("a list in a list");
    assert_eq!(
        (error.at, error.to_string()),
        (
            Mark {
                line: 3,
                column: 11
            },
            "list[1]: invalid type: sequence, expected a string".to_owned()
        )
    );
}

proptest::proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[-a-c:,{}\\[\\]&*<!|>'\"#\\n\\t ?%.é0]{0,80}") {
        if let Ok(documents) = parse(&text) {
            let spans: String = documents.iter().map(|document| &text[document.span.clone()]).collect();
            proptest::prop_assert!(documents.is_empty() || spans == text);
            for document in documents {
                let _ = read::<serde_json::Value>(&document.root);
            }
        }
    }
}

#[test]
fn long_keys_are_printed_and_read() {
    let key = "k: #".repeat(400);
    for value in [
        serde_json::json!("text"),
        serde_json::json!({"a": [1, {"b": null}]}),
        serde_json::json!([["x"], {}]),
    ] {
        for whole in [
            serde_json::json!({key.as_str(): value, "z": 1}),
            serde_json::json!([{"a": 1, key.as_str(): {key.as_str(): value}}]),
        ] {
            let printed = to_text(&whole);
            let documents = parse(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
            let again: serde_json::Value = read(&documents[0].root).expect("readable");
            assert_eq!(again, whole, "{printed}");
        }
    }
}
