//! The verdict on each object of a text.

use std::sync::{Mutex, PoisonError};

use lateen_api::crd;
use lateen_api::host::{is_dns_label, is_dns_subdomain};
use lateen_api::object::{Kind, KindError, Object, list_items, read_node};
use lateen_api::validate::validate;
use lateen_api::yaml::{self, Content, Ignored, Mark, Node, Part};
use lateen_xds::envoy_filter::PatchValues;

use super::kubernetes;
use crate::args::Scope;
use crate::input::Text;

/// Lists within lists are no sensible input; deeper ones are refused.
const LIST_DEPTH: usize = 4;
/// What is wrong with an unknown field.
const UNKNOWN_FIELD: &str = "unknown field: correct its name or take it out";

/// What is said of a text.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// Why objects are refused.
    pub(super) errors: Vec<String>,
    /// What is accepted with a warning.
    pub(super) warnings: Vec<String>,
    /// What is said besides.
    pub(super) notes: Vec<String>,
    /// Kinds of objects that are taken as they are.
    pub(super) unchecked: Vec<String>,
}

impl Verdicts {
    /// Adds what is said of a later part.
    pub(super) fn append(&mut self, mut later: Self) {
        self.errors.append(&mut later.errors);
        self.warnings.append(&mut later.warnings);
        self.notes.append(&mut later.notes);
        self.unchecked.append(&mut later.unchecked);
    }
}

/// Judges objects.
#[derive(Debug)]
pub(super) struct Checker {
    /// The namespace of objects that name none.
    namespace: String,
    /// The namespace of the mesh's own objects, which the rules for ports and labels leave alone.
    istio_namespace: String,
    /// Whether what the API server refuses is an error.
    strict: bool,
    /// Loaded by the first EnvoyFilter, for all threads.
    patch_values: Mutex<PatchValues>,
}

/// Who refuses an object.
#[derive(Clone, Copy)]
enum By {
    /// The mesh's webhook.
    Webhook,
    /// The API server, by a schema or a rule of its own.
    ApiServer,
}

/// An object while it is judged.
struct Judged<'a> {
    checker: &'a Checker,
    file: &'a str,
    node: &'a Node,
    label: String,
    verdicts: &'a mut Verdicts,
    /// The fields that the webhook refuses.
    refused: Vec<String>,
}

impl Checker {
    pub(super) fn new(scope: &Scope, strict: bool) -> Self {
        let namespace = if scope.namespace.is_empty() {
            "default".to_owned()
        } else {
            scope.namespace.clone()
        };
        Self {
            namespace,
            istio_namespace: scope.istio_namespace.clone(),
            strict,
            patch_values: Mutex::default(),
        }
    }

    /// Judges the objects of a part.
    pub(super) fn part(&self, text: &Text, part: &Part) -> Verdicts {
        let mut verdicts = Verdicts::default();
        let body = text.text.get(part.span.clone()).unwrap_or_default();
        match yaml::parse_part(body, part.first_line) {
            Ok(documents) => {
                for document in documents.iter().filter(|document| !document.is_empty()) {
                    self.unroll(&text.name, &document.root, 0, &mut verdicts);
                }
            }
            Err(error) => verdicts.errors.push(format!("{}:{error}", text.name)),
        }
        verdicts
    }

    fn unroll(&self, file: &str, node: &Node, depth: usize, verdicts: &mut Verdicts) {
        let Some(items) = list_items(node) else {
            self.object(file, node, verdicts);
            return;
        };
        if depth >= LIST_DEPTH {
            let message = "lists within lists within lists";
            verdicts
                .errors
                .push(format!("{file}:{}: {message}", node.at));
            return;
        }
        for item in items {
            self.unroll(file, item, depth + 1, verdicts);
        }
    }

    fn object(&self, file: &str, node: &Node, verdicts: &mut Verdicts) {
        if !matches!(node.content, Content::Map(_)) {
            verdicts.errors.push(format!(
                "{file}:{}: expected an object with apiVersion, kind and metadata, found {}",
                node.at,
                node.what()
            ));
            return;
        }
        let text = |key: &str| node.get(key).and_then(Node::text);
        let (Some(api_version), Some(kind)) = (text("apiVersion"), text("kind")) else {
            verdicts
                .unchecked
                .push(text("kind").unwrap_or("(no kind)").to_owned());
            return;
        };
        let meta = |key: &str| {
            let meta = node.get("metadata").and_then(|meta| meta.get(key));
            meta.and_then(Node::text).unwrap_or_default()
        };
        let label = format!("{kind}/{}/{}", meta("namespace"), meta("name"));
        let mut judged = Judged {
            checker: self,
            file,
            node,
            label,
            verdicts,
            refused: Vec::new(),
        };
        match Kind::find(api_version, kind) {
            Ok(kind) => judged.judge(kind),
            Err(error) => judged.unknown(&error, api_version, kind),
        }
    }
}

impl Judged<'_> {
    /// An object of a kind that is not read: nobody's business, unless its group is the mesh's or the Gateway API's.
    fn unknown(&mut self, error: &KindError, api_version: &str, kind: &str) {
        let group = api_version.split('/').next().unwrap_or_default();
        let ours = Kind::all()
            .any(|kind| (kind.is_istio() || kind.is_gateway_api()) && kind.group() == group);
        if ours {
            let at = self.node.mark_near("kind");
            self.say(By::ApiServer, at, "", &error.to_string());
        } else {
            self.verdicts
                .unchecked
                .push(format!("{kind} ({api_version})"));
        }
    }

    fn judge(&mut self, kind: Kind) {
        let by = if kind.is_istio() {
            By::Webhook
        } else {
            By::ApiServer
        };
        match read_node(self.node, kind, &self.checker.namespace) {
            Ok((object, ignored)) => {
                for Ignored { at, path } in ignored {
                    self.say(by, at, &path, UNKNOWN_FIELD);
                }
                self.faults(&object);
            }
            Err(error) => self.say(by, error.at, &error.path, &error.message),
        }
        self.refusals(kind);
    }

    fn faults(&mut self, object: &Object) {
        let mut faults = validate(object);
        if let Some(filter) = object.spec.as_envoy_filter() {
            let values = &self.checker.patch_values;
            // What a thread that panicked was checking is no matter for the others.
            let values = values.lock().unwrap_or_else(PoisonError::into_inner);
            faults.extend(values.validate(filter));
        }
        for fault in faults {
            let at = self.node.mark_near(&fault.field);
            if fault.is_refusal() {
                self.say(By::Webhook, at, &fault.field, &fault.message);
            } else {
                let line = self.line(at, &fault.field, &fault.message);
                self.verdicts.warnings.push(line);
            }
        }
        if self
            .node
            .get("metadata")
            .and_then(|meta| meta.get("namespace"))
            .and_then(Node::text)
            == Some(&self.checker.istio_namespace)
        {
            return;
        }
        for (field, message) in kubernetes::port_faults(object) {
            let at = self.node.mark_near(&field);
            self.say(By::Webhook, at, &field, &message);
        }
        if let Some(note) = kubernetes::label_hint(object) {
            let field = "spec.template.metadata.labels";
            let note = self.line(self.node.mark_near(field), "", &note);
            self.verdicts.notes.push(note);
        }
    }

    /// What the API server refuses although the webhook does not.
    fn refusals(&mut self, kind: Kind) {
        let text = |key: &str| {
            let value = self.node.get("metadata").and_then(|meta| meta.get(key));
            value.and_then(Node::text).unwrap_or_default()
        };
        let (name, namespace) = (text("name"), text("namespace"));
        let refused = if name.is_empty() && text("generateName").is_empty() {
            Some(("metadata.name", "an object needs a name".to_owned()))
        } else if !name.is_empty() && !is_dns_subdomain(name) {
            let rule =
                "a name has lower-case letters, digits, `-` and `.`, and at most 253 of them";
            Some(("metadata.name", format!("`{name}` is not a name: {rule}")))
        } else if !namespace.is_empty() && !is_dns_label(namespace) {
            let rule = "a namespace has lower-case letters, digits and `-`, and at most 63 of them";
            Some((
                "metadata.namespace",
                format!("`{namespace}` is not a namespace: {rule}"),
            ))
        } else {
            None
        };
        if let Some((field, message)) = refused {
            self.say(By::ApiServer, self.node.mark_near(field), field, &message);
        }
        for crd::Refusal { field, message } in crd::refusals(kind, self.node) {
            // One refusal of a field, or of one around it, is enough to correct it by.
            let known = self
                .refused
                .iter()
                .any(|refused| field.starts_with(refused.as_str()));
            if !known {
                self.say(By::ApiServer, self.node.mark_near(&field), &field, &message);
            }
        }
    }

    fn say(&mut self, by: By, at: Mark, field: &str, message: &str) {
        match by {
            By::Webhook => {
                self.refused.push(field.to_owned());
                let line = self.line(at, field, message);
                self.verdicts.errors.push(line);
            }
            By::ApiServer => {
                let line = self.line(
                    at,
                    field,
                    &format!("the API server will refuse this: {message}"),
                );
                if self.checker.strict {
                    self.verdicts.errors.push(line);
                } else {
                    self.verdicts.warnings.push(line);
                }
            }
        }
    }

    /// `Kind/namespace/name: field: message (file:line:column)`.
    fn line(&self, at: Mark, field: &str, message: &str) -> String {
        let separator = if field.is_empty() { "" } else { ": " };
        format!(
            "{}: {field}{separator}{message} ({}:{at})",
            self.label, self.file
        )
    }
}
