//! The text of a manifest: workloads are injected, all else passes byte for byte (contract/inject.md §9).

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::PodSpec;
use lateen_api::yaml::{self, Document, Mark, Node, SyntaxError};
use serde_json::{Map, Value};

use crate::error::InjectError;
use crate::pod::object;
use crate::settings::{Owner, Settings};
use crate::workloads::{Workload, zero_values};
use crate::{Outcome, inject_object, owner};

/// How deep lists may stand in lists.
const LIST_DEPTH: usize = 8;

/// What became of a text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InjectedText {
    /// The text with sidecars; every document is followed by a line `---`.
    pub text: String,
    /// A line for each workload that stays as it is, for people.
    pub notes: Vec<String>,
    /// The number of workloads that got a sidecar.
    pub injected: usize,
}

/// A document that cannot be injected, and where it stands.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{at}: {problem}")]
pub struct DocumentError {
    /// The file, as the caller names it.
    pub file: String,
    /// The place.
    pub at: Mark,
    /// What is wrong.
    pub problem: Box<DocumentProblem>,
}

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentProblem {
    /// The text is not YAML.
    #[error("{}", .0.kind)]
    Syntax(SyntaxError),
    /// A field has the wrong shape.
    #[error("{kind} \"{name}\": {field}: {message}")]
    Field {
        /// The kind of the workload.
        kind: String,
        /// Its name.
        name: String,
        /// The field's path.
        field: String,
        /// What is wrong with its value.
        message: String,
    },
    /// Lists stand in lists too deep.
    #[error("a List within {LIST_DEPTH} Lists is more than is allowed")]
    Depth,
    /// The workload cannot be injected.
    #[error("{kind} \"{name}\": {source}")]
    Inject {
        /// The kind of the workload.
        kind: String,
        /// Its name.
        name: String,
        /// Why.
        source: InjectError,
    },
}

/// Injects all workloads of a text. `file` names the text in errors; `namespace` is the one of objects that name none (empty: `default`).
///
/// # Errors
/// At the first document that cannot be read or injected.
pub fn inject_documents(
    text: &str,
    file: &str,
    namespace: &str,
    settings: &Settings,
) -> Result<InjectedText, DocumentError> {
    let located = |at, problem| DocumentError {
        file: file.to_owned(),
        at,
        problem: Box::new(problem),
    };
    let documents =
        yaml::parse(text).map_err(|error| located(error.at, DocumentProblem::Syntax(error)))?;
    let mut walk = Walk {
        settings,
        namespace,
        out: InjectedText::default(),
    };
    for document in &documents {
        let body = text.get(document.body.clone()).unwrap_or_default();
        walk.pass(comments_before(text, document));
        match walk
            .document(document)
            .map_err(|Located { at, problem }| located(at, *problem))?
        {
            Some(manifest) => walk.pass(&yaml::to_text(&manifest)),
            None => walk.pass(body),
        }
    }
    Ok(walk.out)
}

/// What stands before the `---` line of a document, which is no part of the document before it.
fn comments_before<'a>(text: &'a str, document: &Document) -> &'a str {
    let head = text
        .get(document.span.start..document.body.start)
        .unwrap_or_default();
    head.rfind("---")
        .and_then(|marker| head.get(..marker))
        .unwrap_or_default()
}

struct Located {
    at: Mark,
    problem: Box<DocumentProblem>,
}

impl Located {
    fn new(at: Mark, problem: DocumentProblem) -> Self {
        Self {
            at,
            problem: Box::new(problem),
        }
    }
}

struct Walk<'a> {
    settings: &'a Settings,
    namespace: &'a str,
    out: InjectedText,
}

impl Walk<'_> {
    /// Writes a document, unless it is blank, and the line that ends it.
    fn pass(&mut self, document: &str) {
        if document.trim().is_empty() {
            return;
        }
        self.out.text.push_str(document);
        if !document.ends_with('\n') {
            self.out.text.push('\n');
        }
        self.out.text.push_str("---\n");
    }

    /// The document with sidecars; `None` when it passes as it is.
    fn document(&mut self, document: &Document) -> Result<Option<Value>, Located> {
        if kind_of(&document.root)
            .is_none_or(|kind| kind != "List" && Workload::of_kind(kind).is_none())
        {
            return Ok(None);
        }
        let mut manifest: Value = yaml::read(&document.root).map_err(|error| {
            Located::new(
                error.at,
                field_problem(&document.root, &error.path, &error.message),
            )
        })?;
        let changed = self.manifest(&document.root, &mut manifest, 0)?;
        Ok(changed.then_some(manifest))
    }

    /// Injects a manifest, or the items of a List; says whether it changed.
    fn manifest(
        &mut self,
        node: &Node,
        manifest: &mut Value,
        depth: usize,
    ) -> Result<bool, Located> {
        let (Some(kind), Some(fields)) = (kind_of(node), manifest.as_object_mut()) else {
            return Ok(false);
        };
        if kind == "List" {
            return self.list(node, fields, depth);
        }
        match Workload::of_kind(kind) {
            Some(workload) => self.workload(node, kind, workload, fields),
            None => Ok(false),
        }
    }

    fn list(
        &mut self,
        node: &Node,
        fields: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<bool, Located> {
        if depth >= LIST_DEPTH {
            return Err(Located::new(node.at, DocumentProblem::Depth));
        }
        let nodes = node.get("items").map_or(&[][..], Node::items);
        let items = fields.get_mut("items").and_then(Value::as_array_mut);
        let mut changed = false;
        for (node, item) in nodes.iter().zip(items.into_iter().flatten()) {
            changed |= self.manifest(node, item, depth + 1)?;
        }
        if changed {
            object(fields, "metadata");
        }
        Ok(changed)
    }

    fn workload(
        &mut self,
        node: &Node,
        kind: &str,
        workload: Workload,
        fields: &mut Map<String, Value>,
    ) -> Result<bool, Located> {
        let Some(pod) = workload.pod(fields) else {
            return Ok(false);
        };
        check_shape(node, workload)?;
        let owner = match workload {
            Workload::Pod => owner::of_pod(&pod),
            _ => self.owner(kind, fields),
        };
        let owner = Owner {
            namespace: or(&owner.namespace, self.namespace),
            ..owner
        };
        let shown = shown_name(&owner);
        let outcome = inject_object(&pod, &owner, self.settings).map_err(|source| {
            Located::new(
                node.at,
                DocumentProblem::Inject {
                    kind: kind.to_owned(),
                    name: shown.clone(),
                    source,
                },
            )
        })?;
        match outcome {
            Outcome::Skipped(reason) => {
                self.out.notes.push(format!(
                    "===> Skipping injection because {kind} \"{shown}\" {}",
                    reason.as_str()
                ));
                Ok(false)
            }
            Outcome::Injected(pod) => {
                workload.put(fields, pod);
                zero_values(kind, workload, fields);
                self.out.injected += 1;
                Ok(true)
            }
        }
    }

    fn owner(&self, kind: &str, fields: &Map<String, Value>) -> Owner {
        let text =
            |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let metadata = |key: &str| {
            text(
                fields
                    .get("metadata")
                    .and_then(|metadata| metadata.get(key)),
            )
        };
        Owner {
            api_version: text(fields.get("apiVersion")),
            kind: kind.to_owned(),
            name: metadata("name"),
            namespace: or(&metadata("namespace"), self.namespace),
        }
    }
}

fn or(text: &str, default: &str) -> String {
    if text.is_empty() {
        default.to_owned()
    } else {
        text.to_owned()
    }
}

fn shown_name(owner: &Owner) -> String {
    let mut shown = String::new();
    if !owner.namespace.is_empty() {
        // Writing to a String does not fail.
        let _ = write!(shown, "{}/", owner.namespace);
    }
    shown + &owner.name
}

fn kind_of(node: &Node) -> Option<&str> {
    node.get("kind")?.text()
}

/// Reads the pod's spec as Kubernetes does, so that an error has its line.
fn check_shape(node: &Node, workload: Workload) -> Result<(), Located> {
    let Some(spec) = workload
        .spec_path()
        .iter()
        .try_fold(node, |node, step| node.get(step))
    else {
        return Ok(());
    };
    let path = workload.spec_path().join(".");
    yaml::read::<PodSpec>(spec).map(drop).map_err(|error| {
        let field = if error.path.is_empty() {
            path.clone()
        } else {
            format!("{path}.{}", error.path)
        };
        Located::new(error.at, field_problem(node, &field, &error.message))
    })
}

fn field_problem(node: &Node, field: &str, message: &str) -> DocumentProblem {
    let name = node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(Node::text)
        .unwrap_or_default();
    DocumentProblem::Field {
        kind: kind_of(node).unwrap_or_default().to_owned(),
        name: name.to_owned(),
        field: field.to_owned(),
        message: message.to_owned(),
    }
}
