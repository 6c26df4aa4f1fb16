use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::code::{
    INVALID_APPLICATION_UID, MUTUAL_TLS_CONTRADICTION, PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
    REFERENCED_RESOURCE_NOT_FOUND,
};
use crate::message::Origin;

fn message(code: Code, file: Option<&str>, own_line: bool) -> Message {
    let place = file.map(|file| Place {
        file: Arc::from(file),
        document_line: 3,
        line: 7,
        column: 5,
    });
    Message {
        code,
        text: "a text: with 100%, and\nlines".to_owned(),
        origin: Some(Origin {
            kind: "Service",
            namespace: "shop".to_owned(),
            name: "cart".to_owned(),
            suppressed: String::new(),
            place,
        }),
        field: "spec.ports[0].name".to_owned(),
        own_line,
        cluster: String::new(),
    }
}

fn view() -> View {
    View {
        base: "/work".to_owned(),
        ..View::default()
    }
}

fn all() -> Vec<Message> {
    let mut remote = message(MUTUAL_TLS_CONTRADICTION, None, false);
    remote.cluster = "east".to_owned();
    vec![
        message(REFERENCED_RESOURCE_NOT_FOUND, Some("./a.yaml"), true),
        message(INVALID_APPLICATION_UID, Some("/work/b,c.yaml"), false),
        message(
            PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION,
            Some("d.json"),
            false,
        ),
        remote,
        Message {
            origin: None,
            ..message(INVALID_APPLICATION_UID, None, false)
        },
    ]
}

#[test]
fn lines_say_level_code_object_place_and_text() {
    assert_eq!(
        view().render(&all(), Format::Log),
        "Error [IST0101] (Service shop/cart ./a.yaml:7) a text: with 100%, and\\nlines\n\
         Warning [IST0144] (Service shop/cart /work/b,c.yaml:7) a text: with 100%, and\\nlines\n\
         Info [IST0118] (Service shop/cart d.json:7) a text: with 100%, and\\nlines\n\
         Error [LAT0008] [cluster-east] (Service shop/cart) a text: with 100%, and\\nlines\n\
         Warning [IST0144] a text: with 100%, and\\nlines\n"
    );
}

#[test]
fn compatible_lines_are_those_of_the_object_but_for_scalars() {
    let view = View {
        istio_compatible: true,
        colour: true,
        ..view()
    };
    let out = view.render(&all(), Format::Log);
    let lines: Vec<&str> = out.lines().collect();
    assert!(
        lines[0].starts_with("\u{1b}[1;31mError\u{1b}[0m [IST0101] (Service shop/cart ./a.yaml:7)")
    );
    assert!(
        lines[1].starts_with(
            "\u{1b}[33mWarning\u{1b}[0m [IST0144] (Service shop/cart /work/b,c.yaml:3)"
        )
    );
    assert!(lines[2].starts_with("Info\u{1b}[0m [IST0118] (Service shop/cart d.json)"));
}

#[test]
fn json_and_yaml_have_the_same_keys() {
    let out = view().render(&all(), Format::Json);
    assert!(
        out.starts_with("[\n\t{\n\t\t\"code\": \"IST0101\",\n"),
        "{out}"
    );
    let list: Value = serde_json::from_str(&out).unwrap();
    let keys: Vec<&String> = list[3].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "cluster",
            "code",
            "documentationUrl",
            "level",
            "message",
            "origin"
        ]
    );
    assert_eq!(list[0]["reference"], "./a.yaml:7");
    assert_eq!(
        list[0]["documentationUrl"],
        "https://istio.io/v1.32/docs/reference/config/analysis/ist0101/?ref=istioctl-analyze"
    );
    assert_eq!(list[3]["documentationUrl"], "docs/analysis/LAT0008.md");
    let yaml = view().render(&all(), Format::Yaml);
    let documents = lateen_api::yaml::parse(&yaml).unwrap();
    let read: Value = lateen_api::yaml::read(&documents[0].root).unwrap();
    assert_eq!(read, list);
    assert_eq!(view().render(&[], Format::Json), "[]\n");
    assert_eq!(view().render(&[], Format::Yaml), "[]\n");
}

#[test]
fn workflow_commands_escape_what_would_end_them() {
    let out = view().render(&all(), Format::Github);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines[0],
        "::error file=a.yaml,line=7,col=5,title=IST0101 ReferencedResourceNotFound::Service shop/cart: a text: with 100%25, and%0Alines"
    );
    assert!(lines[1].starts_with("::warning file=b%2Cc.yaml,line=7,col=5,title=IST0144 "));
    assert!(lines[2].starts_with("::notice file=d.json,"));
    assert!(
        lines[3].starts_with(
            "::error title=LAT0008 MutualTlsContradiction::Service shop/cart [cluster-east]: "
        ),
        "{out}"
    );
    assert_eq!(lines.len(), 5);
}

#[test]
fn sarif_has_rules_places_and_fingerprints() {
    let mut messages = all();
    messages.push(messages[0].clone());
    let log: Value = serde_json::from_str(&view().render(&messages, Format::Sarif)).unwrap();
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: Vec<&str> = rules
        .iter()
        .filter_map(|rule| rule["id"].as_str())
        .collect();
    assert_eq!(ids, ["IST0101", "IST0118", "IST0144", "LAT0008"]);
    assert!(rules[3].get("helpUri").is_none());
    assert_eq!(rules[1]["defaultConfiguration"]["level"], "note");
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 6);
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        let uri = place["artifactLocation"]["uri"].as_str().unwrap();
        assert!(!uri.starts_with("./") && !uri.contains(' '), "{uri}");
        assert!(place["region"]["startLine"].as_u64().unwrap() > 0);
    }
    let prints: Vec<&str> = results
        .iter()
        .filter(|result| result["ruleId"] == "IST0101")
        .filter_map(|result| result["partialFingerprints"]["primaryLocationLineHash"].as_str())
        .collect();
    let bare = |print: &str| print.split(':').next().map(str::to_owned);
    assert_eq!(bare(prints[0]), bare(prints[1]));
    assert_ne!(prints[0], prints[1]);
    assert_eq!(
        results[0]["locations"][0]["physicalLocation"]["region"],
        serde_json::json!({"startLine": 7, "startColumn": 5})
    );
}

#[test]
fn what_is_too_much_for_code_scanning_is_cut() {
    let mut long = message(REFERENCED_RESOURCE_NOT_FOUND, Some("a.yaml"), true);
    long.text = "ü".repeat(5000);
    let mut messages = vec![message(INVALID_APPLICATION_UID, Some("b.yaml"), false); 26_000];
    messages.push(long);
    let log: Value = serde_json::from_str(&view().render(&messages, Format::Sarif)).unwrap();
    let results = log["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), 25_000);
    assert_eq!(results[0]["ruleId"], "IST0101");
    assert_eq!(
        results[0]["message"]["text"]
            .as_str()
            .unwrap()
            .chars()
            .count(),
        1000
    );
}
