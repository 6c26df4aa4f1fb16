//! The CustomResourceDefinitions, and what they refuse.

use std::fs;
use std::path::{Path, PathBuf};

use lateen_api::crd::{bundle, refusals};
use lateen_api::object::Kind;
use lateen_api::yaml::{self, Node};
use serde_json::Value;

#[path = "crd_cases/read.rs"]
mod crd_cases;

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn node(text: &str) -> Node {
    let mut documents = yaml::parse(text).expect("a document");
    documents.swap_remove(0).root
}

fn kind(object: &Node) -> Kind {
    let text = |key: &str| object.get(key).and_then(Node::text).unwrap_or_default();
    Kind::find(text("apiVersion"), text("kind")).expect("a kind")
}

#[test]
fn the_charts_definitions_are_those_of_the_types() {
    let file = here("../charts/base/files/crd-all.gen.yaml");
    let committed = fs::read_to_string(&file).unwrap_or_default();
    let made = bundle();
    let differs = committed
        .lines()
        .zip(made.lines())
        .position(|(a, b)| a != b);
    assert!(
        committed == made,
        "{} is not what the types say (line {}): run `make gen`",
        file.display(),
        differs.unwrap_or_default() + 1
    );
    for document in yaml::parse(&made).unwrap_or_else(|error| panic!("{error}")) {
        let read: Value = yaml::read(&document.root).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read["kind"], "CustomResourceDefinition");
    }
}

#[test]
fn each_case_is_refused_or_passes_as_it_should() {
    let mut wrong = Vec::new();
    let cases = crd_cases::cases(&here("tests/crd_cases"));
    assert!(cases.len() > 1000);
    assert!(cases.iter().filter(|case| case.cel).count() > 200);
    for case in cases {
        let object = node(&case.object.to_string());
        let said = refusals(kind(&object), &object);
        let hits = said
            .iter()
            .filter(|refusal| refusal.message.contains(&case.message))
            .count();
        if case.refused == said.is_empty() || (case.refused && hits == 0) {
            wrong.push(format!("{}: {said:?}", case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn a_refusal_names_the_field() {
    let object = node(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  http:\n  - match:\n    - headers:\n        x.y: {exact: a, prefix: b}\n    route:\n    - weight: 1\n",
    );
    let said: Vec<(String, String)> = refusals(Kind::VirtualService, &object)
        .into_iter()
        .map(|refusal| (refusal.field, refusal.message))
        .collect();
    let expect = [
        (
            "spec.http[0].match[0].headers[\"x.y\"]",
            "only one of exact, prefix, regex may be given",
        ),
        ("spec.http[0].route[0].destination", "is required"),
    ];
    assert_eq!(
        said.iter()
            .map(|(field, message)| (field.as_str(), message.as_str()))
            .collect::<Vec<_>>(),
        expect
    );
}

#[test]
fn kinds_of_others_are_not_refused() {
    let object = node("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: 1}\n");
    assert_eq!(refusals(Kind::Service, &object), []);
}

#[test]
fn the_samples_pass_and_use_most_fields() {
    let folder = fs::read_dir(here("tests/crd_samples")).unwrap_or_else(|error| panic!("{error}"));
    let mut kinds = Vec::new();
    for file in folder.flatten().map(|entry| entry.path()) {
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}"));
        for document in yaml::parse(&text).unwrap_or_else(|error| panic!("{error}")) {
            let kind = kind(&document.root);
            assert_eq!(refusals(kind, &document.root), [], "{}", file.display());
            let parsed = lateen_api::object::parse_documents("sample", &text, "default");
            assert_eq!(parsed.problems, [], "{}", file.display());
            kinds.push(kind);
        }
    }
    for kind in Kind::all().filter(|kind| kind.is_istio()) {
        assert!(kinds.contains(&kind), "{kind} has no sample");
    }
}
