//! Runs one analyzer over YAML.

use std::sync::Arc;

use lateen_api::mesh::parse_mesh_config;
use lateen_api::object::{Object, ReadOptions, read_text};
use lateen_controlplane_analyze::{ClusterInput, Message, Options, analyze};

/// A message to expect, and the input that raises it beside one that all but raises it.
pub(crate) struct Case {
    pub(crate) analyzer: &'static str,
    pub(crate) code: &'static str,
    /// The object that the message is about, as people call it.
    pub(crate) object: &'static str,
    /// The field that the message is about.
    pub(crate) field: &'static str,
    /// A part of the text.
    pub(crate) says: &'static str,
    pub(crate) raises: &'static str,
    pub(crate) near: &'static str,
}

/// Objects of a text.
pub(crate) fn objects(yaml: &str) -> Vec<Object> {
    let options = ReadOptions {
        namespace: "default",
        strict: false,
    };
    let parsed = read_text("test.yaml", &Arc::from(yaml), options);
    assert_eq!(parsed.problems, [], "{yaml}");
    parsed.objects
}

/// A cluster of files.
pub(crate) fn files(yaml: &str) -> ClusterInput {
    ClusterInput {
        objects: objects(yaml),
        istio_namespace: "istio-system".to_owned(),
        files_only: true,
        ..Default::default()
    }
}

/// A cluster of files, with settings of the mesh.
pub(crate) fn files_with_mesh(yaml: &str, mesh: &str) -> ClusterInput {
    let (mesh, problems) = parse_mesh_config("mesh.yaml", mesh).expect("settings");
    assert_eq!(problems, []);
    ClusterInput {
        mesh,
        ..files(yaml)
    }
}

/// What an analyzer says about clusters.
pub(crate) fn run(analyzer: &str, clusters: Vec<ClusterInput>) -> Vec<Message> {
    let options = Options {
        analyzers: vec![analyzer.to_owned()],
        ..Default::default()
    };
    let analysis = analyze(clusters, &options);
    assert_eq!(analysis.executed, [analyzer]);
    analysis.messages
}

/// The messages of a code, as `object: text`.
pub(crate) fn said(messages: &[Message], code: &str) -> Vec<String> {
    messages
        .iter()
        .filter(|message| message.code.id == code)
        .map(|message| {
            let name = message.origin.as_ref().map(|origin| origin.friendly_name());
            format!("{}: {}", name.unwrap_or_default(), message.text)
        })
        .collect()
}

/// Checks cases on files.
pub(crate) fn check(cases: &[Case]) {
    for case in cases {
        check_with(case, files);
    }
}

/// Checks a case on clusters that are made in some way.
pub(crate) fn check_with(case: &Case, cluster: impl Fn(&str) -> ClusterInput) {
    let messages = run(case.analyzer, vec![cluster(case.raises)]);
    let found = messages.iter().any(|message| {
        let name = message.origin.as_ref().map(|origin| origin.friendly_name());
        message.code.id == case.code
            && name.as_deref() == Some(case.object)
            && message.field == case.field
            && message.text.contains(case.says)
    });
    assert!(
        found,
        "{} is missing at {} `{}` with `{}` among {messages:#?}",
        case.code, case.object, case.field, case.says
    );
    let near = run(case.analyzer, vec![cluster(case.near)]);
    assert_eq!(
        said(&near, case.code),
        [""; 0],
        "{} for a near miss",
        case.code
    );
}
