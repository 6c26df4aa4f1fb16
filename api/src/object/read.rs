//! From a file's text to its objects and its problems.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::content::read_content;
use super::kind::Kind;
use super::problem::{Problem, Severity};
use super::source::Source;
use super::spec::Spec;
use super::types::{Object, ObjectKey};
use crate::host::{is_dns_label, is_dns_subdomain};
use crate::yaml::{self, Content, Ignored, Mark, Node, ReadError};

/// What a file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parsed {
    /// The objects without an error, in the file's order.
    pub objects: Vec<Object>,
    /// What is wrong, in the file's order.
    pub problems: Vec<Problem>,
    /// Objects of kinds that are not read, where [`ReadOptions::strict`] does not make them errors.
    pub unknown: Vec<UnknownObject>,
}

/// An object of a kind that is not read, or a document that is no Kubernetes object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownObject {
    /// The file.
    pub file: Arc<str>,
    /// The line at which it begins.
    pub line: u32,
    /// Its `apiVersion`; empty if it has none.
    pub api_version: String,
    /// Its kind; empty if it has none.
    pub kind: String,
    /// Its name; empty if it has none.
    pub name: String,
    /// The names of its top-level keys.
    pub keys: Vec<String>,
}

/// How texts are read.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions<'a> {
    /// The namespace of objects that name none; empty leaves it empty.
    pub namespace: &'a str,
    /// Whether unknown kinds, unknown fields and names that the API server would refuse are errors; else unknown kinds are listed,
    /// unknown fields skipped, and names taken as they are.
    pub strict: bool,
}

impl Parsed {
    /// Whether there is an error.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.problems.iter().any(Problem::is_error)
    }

    /// Adds what a later part of the file holds.
    pub fn append(&mut self, mut later: Self) {
        self.objects.append(&mut later.objects);
        self.problems.append(&mut later.problems);
        self.unknown.append(&mut later.unknown);
    }
}

/// Lists within lists are no sensible input; more of them than this are refused.
const LIST_DEPTH: usize = 4;

/// Reads the objects of a YAML or JSON text, strictly. Lists are unrolled, empty documents skipped, and an object that names no
/// namespace gets `default_namespace`. An object with an error is not among the objects.
#[must_use]
pub fn parse_documents(file_name: &str, text: &str, default_namespace: &str) -> Parsed {
    let options = ReadOptions {
        namespace: default_namespace,
        strict: true,
    };
    read_text(file_name, &text.into(), options)
}

/// Reads the objects of a YAML or JSON text. Lists are unrolled and empty documents skipped. An object with an error is not among the
/// objects, and a document that is not YAML leaves the others as they are.
#[must_use]
pub fn read_text(file_name: &str, text: &Arc<str>, options: ReadOptions<'_>) -> Parsed {
    let file: Arc<str> = file_name.into();
    let limit = yaml::Limits::default().bytes;
    let mut parsed = Parsed::default();
    for part in yaml::split(text) {
        if part.span.len() > limit {
            let message = format!(
                "a document of {} bytes is more than the {limit} that are allowed",
                part.span.len()
            );
            let mut problem = Problem::file_error(file_name, message);
            problem.line = part.first_line;
            parsed.problems.push(problem);
            continue;
        }
        parsed.append(read_part(&file, text, &part, options));
    }
    parsed
}

/// Reads the objects of one part of a text, see [`yaml::split`]; parts may be read in any order, and at the same time.
#[must_use]
pub fn read_part(
    file: &Arc<str>,
    text: &Arc<str>,
    part: &yaml::Part,
    options: ReadOptions<'_>,
) -> Parsed {
    let mut reader = FileReader {
        file: Arc::clone(file),
        options,
        document: None,
        // Most parts hold one object, and objects of many parts are kept side by side for a while.
        parsed: Parsed {
            objects: Vec::with_capacity(1),
            ..Parsed::default()
        },
    };
    let body = text.get(part.span.clone()).unwrap_or_default();
    match yaml::parse_part(body, part.first_line) {
        Ok(documents) => {
            for (index, document) in documents.into_iter().enumerate() {
                if document.is_empty() {
                    continue;
                }
                reader.document = Some(Place {
                    text: Arc::clone(text),
                    span: part.span.clone(),
                    first_line: part.first_line,
                    index,
                });
                reader.unroll(document.root, 0);
            }
        }
        Err(error) => reader.error(None, error.at, None, error.kind.to_string()),
    }
    reader.parsed
}

/// Reads one object of a kind from a tree, and lists the keys that the kind does not know. Its name is taken as it is, an object that
/// names no namespace gets `namespace`, and it has no [`Source`].
///
/// # Errors
/// When a value is not of its field's kind.
pub fn read_node(
    node: &Node,
    kind: Kind,
    namespace: &str,
) -> Result<(Object, Vec<Ignored>), ReadError> {
    let (meta, mut spec, ignored) = read_content(node, kind)?;
    let options = ReadOptions {
        namespace,
        strict: false,
    };
    let key = key_of(kind, &meta, options)
        .unwrap_or_else(|_| ObjectKey::new(kind, namespace, String::new()));
    if kind.is_namespaced() && !key.namespace.is_empty() {
        spec.set_namespace(&key.namespace);
    }
    let object = Object {
        key,
        meta: meta.into(),
        spec,
        status: status(node, kind),
        source: None,
    };
    Ok((object, ignored))
}

/// The items of a list of objects; `None` for what is no such list.
#[must_use]
pub fn list_items(node: &Node) -> Option<&[Node]> {
    is_list(node).then(|| node.get("items").map_or(&[][..], Node::items))
}

/// Where the document that is being read stands.
struct Place {
    text: Arc<str>,
    span: std::ops::Range<usize>,
    first_line: u32,
    index: usize,
}

struct FileReader<'a> {
    file: Arc<str>,
    options: ReadOptions<'a>,
    /// The document that is being read.
    document: Option<Place>,
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
            self.object(node, depth == 0);
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

    fn object(&mut self, node: Node, is_document: bool) {
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
        if key.kind.is_namespaced() && !key.namespace.is_empty() {
            spec.set_namespace(&key.namespace);
        }
        let status = status(&node, key.kind);
        let source = self.source(node, is_document);
        self.parsed.objects.push(Object {
            key,
            meta: meta.into(),
            spec,
            status,
            source: Some(source),
        });
    }

    fn source(&self, node: Node, is_document: bool) -> Source {
        let file = Arc::clone(&self.file);
        match &self.document {
            Some(place) if is_document => Source::document(
                (file, node.at.line),
                Arc::clone(&place.text),
                place.span.clone(),
                (place.first_line, place.index),
            ),
            _ => Source::kept(file, node),
        }
    }

    /// Notes an object that is not read.
    fn unknown(&mut self, node: &Node) {
        let text = |node: Option<&Node>| node.and_then(Node::text).unwrap_or_default().to_owned();
        self.parsed.unknown.push(UnknownObject {
            file: Arc::clone(&self.file),
            line: node.at.line,
            api_version: text(node.get("apiVersion")),
            kind: text(node.get("kind")),
            name: text(node.get("metadata").and_then(|meta| meta.get("name"))),
            keys: node
                .entries()
                .iter()
                .map(|entry| entry.key.clone())
                .collect(),
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
            if !self.options.strict {
                self.unknown(node);
                return None;
            }
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
        let label = label(node, kind, self.options.namespace);
        match Kind::find(api_version, kind) {
            Ok(kind) => Some(Header { kind, label }),
            Err(_) if !self.options.strict => {
                self.unknown(node);
                None
            }
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
                let ignored = if self.options.strict {
                    ignored
                } else {
                    Vec::new()
                };
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
        match key_of(header.kind, meta, self.options) {
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
    options: ReadOptions<'_>,
) -> Result<ObjectKey, (&'static str, String)> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let name = match (given(&meta.name), given(&meta.generate_name)) {
        (Some(name), _) if options.strict && !is_dns_subdomain(&name) => {
            let rule =
                "a name has lower-case letters, digits, `-` and `.`, and at most 253 of them";
            return Err(("metadata.name", format!("`{name}` is not a name: {rule}")));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) if !options.strict => String::new(),
        (None, None) => return Err(("metadata.name", "an object needs a name".to_owned())),
    };
    if !kind.is_namespaced() {
        return Ok(ObjectKey::new(kind, "", name));
    }
    let namespace = given(&meta.namespace).unwrap_or_else(|| options.namespace.to_owned());
    if options.strict && !is_dns_label(&namespace) {
        let rule = "a namespace has lower-case letters, digits and `-`, and at most 63 of them";
        return Err((
            "metadata.namespace",
            format!("`{namespace}` is not a namespace: {rule}"),
        ));
    }
    Ok(ObjectKey::new(kind, namespace, name))
}

/// The status of an object of Istio's kinds, unless it is empty or nothing that JSON can hold.
fn status(node: &Node, kind: Kind) -> Option<Arc<serde_json::Value>> {
    if !kind.is_istio() {
        return None;
    }
    let status = node
        .get("status")
        .filter(|status| !status.entries().is_empty())?;
    yaml::read(status).ok().map(Arc::new)
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
