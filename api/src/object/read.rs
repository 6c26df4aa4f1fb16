//! From a file's text to its objects and its problems.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::content::read_content;
use super::kind::Kind;
use super::problem::{Problem, Severity};
use super::spec::Spec;
use super::types::{Object, ObjectKey, Source};
use crate::host::{is_dns_label, is_dns_subdomain};
use crate::yaml::{self, Content, Ignored, Mark, Node, ReadError};

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The objects without an error, in the file's order.
    pub objects: Vec<Object>,
    /// What is wrong, in the file's order.
    pub problems: Vec<Problem>,
}

impl Parsed {
    /// Whether there is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }
}

/// Lists within lists are no sensible input; more of them than this are refused.
const LIST_DEPTH: usize = 4;

/// Reads the objects of a YAML or JSON text. Lists are unrolled, empty documents skipped, and an object that names no namespace gets
/// `default_namespace`. An object with an error is not among the objects.
#[must_use]
pub fn parse_documents(file_name: &str, text: &str, default_namespace: &str) -> Parsed {
    let file: Arc<str> = file_name.into();
    let mut reader = FileReader {
        file,
        default_namespace,
        parsed: Parsed::default(),
    };
    match yaml::parse(text) {
        Ok(documents) => {
            for document in documents
                .into_iter()
                .filter(|document| !document.is_empty())
            {
                reader.unroll(document.root, 0);
            }
        }
        Err(error) => reader.error(None, error.at, None, error.kind.to_string()),
    }
    reader.parsed
}

struct FileReader<'a> {
    file: Arc<str>,
    default_namespace: &'a str,
    parsed: Parsed,
}

/// What an object says of itself before it is read.
struct Header {
    kind: Kind,
    /// `Kind namespace/name` as far as it is given.
    label: String,
}

impl FileReader<'_> {
    fn error(&mut self, object: Option<String>, at: Mark, field: Option<String>, message: String) {
        let file = self.file.to_string();
        let severity = Severity::Error;
        let problem = Problem {
            file,
            line: at.line,
            column: at.column,
            object,
            field,
            message,
            severity,
        };
        self.parsed.problems.push(problem);
    }

    /// Reads a document, or the items of one that is a list.
    fn unroll(&mut self, node: Node, depth: usize) {
        if !is_list(&node) {
            self.object(node);
            return;
        }
        if depth >= LIST_DEPTH {
            self.error(
                None,
                node.at,
                Some("items".to_owned()),
                "lists within lists within lists".to_owned(),
            );
            return;
        }
        let Content::Map(entries) = node.content else {
            return;
        };
        for entry in entries.into_iter().filter(|entry| entry.key == "items") {
            if let Content::List(items) = entry.value.content {
                for item in items {
                    self.unroll(item, depth + 1);
                }
            }
        }
    }

    fn object(&mut self, node: Node) {
        let Some(header) = self.header(&node) else {
            return;
        };
        let before = self.parsed.problems.len();
        let Some((meta, spec)) = self.content(&node, &header) else {
            return;
        };
        let Some(key) = self.key(&node, &header, &meta) else {
            return;
        };
        if self.parsed.problems.len() > before {
            return;
        }
        let mut spec = spec;
        if key.kind.is_namespaced() {
            spec.set_namespace(&key.namespace);
        }
        let source = Source {
            file: Arc::clone(&self.file),
            line: node.at.line,
            node: Arc::new(node),
        };
        self.parsed.objects.push(Object {
            key,
            meta: meta.into(),
            spec,
            source: Some(source),
        });
    }

    fn header(&mut self, node: &Node) -> Option<Header> {
        if !matches!(node.content, Content::Map(_)) {
            let message = format!(
                "expected an object with apiVersion, kind and metadata, found {}",
                node.what()
            );
            self.error(None, node.at, None, message);
            return None;
        }
        let text = |key: &str| node.get(key).and_then(Node::text);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            let missing = if text("kind").is_none() {
                "kind"
            } else {
                "apiVersion"
            };
            self.error(
                None,
                node.at,
                Some(missing.to_owned()),
                format!("an object needs a {missing}"),
            );
            return None;
        };
        let label = label(node, kind, self.default_namespace);
        match Kind::find(api_version, kind) {
            Ok(kind) => Some(Header { kind, label }),
            Err(error) => {
                let at = node.mark_near("kind");
                self.error(Some(label), at, None, error.to_string());
                None
            }
        }
    }

    fn content(&mut self, node: &Node, header: &Header) -> Option<(ObjectMeta, Spec)> {
        match read_content(node, header.kind) {
            Ok((meta, spec, ignored)) => {
                for Ignored { at, path } in ignored {
                    let message = "unknown field: correct its name or take it out".to_owned();
                    self.error(Some(header.label.clone()), at, Some(path), message);
                }
                Some((meta, spec))
            }
            Err(ReadError {
                at, path, message, ..
            }) => {
                let field = (!path.is_empty()).then_some(path);
                self.error(Some(header.label.clone()), at, field, message);
                None
            }
        }
    }

    fn key(&mut self, node: &Node, header: &Header, meta: &ObjectMeta) -> Option<ObjectKey> {
        match key_of(header.kind, meta, self.default_namespace) {
            Ok(key) => Some(key),
            Err((field, message)) => {
                self.error(
                    Some(header.label.clone()),
                    node.mark_near(field),
                    Some(field.to_owned()),
                    message,
                );
                None
            }
        }
    }
}

/// The key that the metadata give, or the field that is wrong and why.
fn key_of(
    kind: Kind,
    meta: &ObjectMeta,
    default_namespace: &str,
) -> Result<ObjectKey, (&'static str, String)> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let name = match (given(&meta.name), given(&meta.generate_name)) {
        (Some(name), _) if !is_dns_subdomain(&name) => {
            let rule =
                "a name has lower-case letters, digits, `-` and `.`, and at most 253 of them";
            return Err(("metadata.name", format!("`{name}` is not a name: {rule}")));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(("metadata.name", "an object needs a name".to_owned())),
    };
    if !kind.is_namespaced() {
        return Ok(ObjectKey::new(kind, "", name));
    }
    let namespace = given(&meta.namespace).unwrap_or_else(|| default_namespace.to_owned());
    if !is_dns_label(&namespace) {
        let rule = "a namespace has lower-case letters, digits and `-`, and at most 63 of them";
        return Err((
            "metadata.namespace",
            format!("`{namespace}` is not a namespace: {rule}"),
        ));
    }
    Ok(ObjectKey::new(kind, namespace, name))
}

fn is_list(node: &Node) -> bool {
    node.get("kind")
        .and_then(Node::text)
        .is_some_and(|kind| kind.ends_with("List"))
        && node
            .get("items")
            .is_some_and(|items| matches!(items.content, Content::List(_)) || items.is_null())
}

/// The object as [`ObjectKey`] writes it, as far as it is given.
fn label(node: &Node, kind: &str, default_namespace: &str) -> String {
    let meta = |key: &str| {
        let text = node
            .get("metadata")
            .and_then(|meta| meta.get(key))
            .and_then(Node::text);
        text.filter(|text| !text.is_empty())
    };
    let name = meta("name")
        .or_else(|| meta("generateName"))
        .unwrap_or("(no name)");
    if kind == Kind::Namespace.as_str() || kind == Kind::Node.as_str() {
        return format!("{kind} {name}");
    }
    format!(
        "{kind} {}/{name}",
        meta("namespace").unwrap_or(default_namespace)
    )
}
