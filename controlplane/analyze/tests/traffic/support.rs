//! Runs one analyzer over YAML and holds its messages against what is expected.

use std::sync::Arc;

use lateen_api::mesh::{MeshConfig, parse_mesh_config};
use lateen_api::object::{Object, ReadOptions, read_text};
use lateen_controlplane_analyze::{ClusterInput, Message, Options, analyze};

/// A message: an input that raises it and one that nearly does.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) code: &'a str,
    pub(crate) analyzer: &'a str,
    /// The line of the message's field ends in `#!`.
    pub(crate) raises: &'a str,
    /// The object as messages name it.
    pub(crate) object: &'a str,
    /// Whether Istio, too, gives the field's line.
    pub(crate) own_line: bool,
    /// What the text has to contain.
    pub(crate) text: &'a [&'a str],
    /// An input that does not raise the message.
    pub(crate) near: &'a str,
    /// The mesh's settings for both.
    pub(crate) mesh: &'a str,
}

impl Case<'_> {
    pub(crate) const NEW: Self = Self {
        code: "",
        analyzer: "",
        raises: "",
        object: "",
        own_line: false,
        text: &[],
        near: "",
        mesh: "",
    };

    pub(crate) fn check(&self) {
        let Self { code, analyzer, .. } = self;
        let messages = self.run(self.raises);
        let found: Vec<&Message> = messages
            .iter()
            .filter(|message| message.code.id == *code)
            .collect();
        assert!(
            !found.is_empty(),
            "{analyzer}: no {code} but {messages:#?} for {}",
            self.raises
        );
        let line = self.raises.lines().position(|line| line.ends_with("#!"));
        let fits = found.iter().any(|message| {
            let origin = message.origin.as_ref().expect("an object");
            let place = origin.place.as_ref().expect("a place in the file");
            origin.friendly_name() == self.object
                && line.is_none_or(|line| place.line as usize == line + 1)
                && message.own_line == self.own_line
                && self.text.iter().all(|part| message.text.contains(part))
        });
        assert!(
            fits,
            "{code} from {analyzer} is not as expected: {found:#?}"
        );
        let near = self.run(self.near);
        let found = near.iter().find(|message| message.code.id == *code);
        assert!(found.is_none(), "{analyzer}: {found:#?} for {}", self.near);
    }

    fn run(&self, text: &str) -> Vec<Message> {
        run(self.analyzer, files(text, self.mesh))
    }
}

/// A cluster of a file.
pub(crate) fn files(text: &str, mesh: &str) -> ClusterInput {
    let mut defaults = MeshConfig::default();
    if !mesh.is_empty() {
        defaults = parse_mesh_config("mesh.yaml", mesh).expect("mesh config").0;
    }
    ClusterInput {
        objects: objects(text),
        mesh: defaults,
        files_only: true,
        now: "2026-01-01T00:00:00Z".parse().expect("time"),
        ..Default::default()
    }
}

/// What one analyzer says of a cluster.
pub(crate) fn run(analyzer: &str, input: ClusterInput) -> Vec<Message> {
    let options = Options {
        analyzers: vec![analyzer.to_owned()],
        ..Default::default()
    };
    let analysis = analyze(vec![input], &options);
    assert_eq!(analysis.executed, [analyzer]);
    analysis.messages
}

/// The codes of messages, each with its object.
pub(crate) fn codes(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| {
            let origin = message.origin.as_ref();
            let name = origin.map(|origin| origin.friendly_name());
            format!("{} {}", message.code, name.unwrap_or_default())
        })
        .collect()
}

pub(crate) fn objects(text: &str) -> Vec<Object> {
    let options = ReadOptions {
        namespace: "default",
        strict: false,
    };
    let parsed = read_text("a.yaml", &Arc::from(text), options);
    assert_eq!(parsed.problems, Vec::new(), "{text}");
    assert_eq!(parsed.unknown, Vec::new(), "{text}");
    parsed.objects
}
