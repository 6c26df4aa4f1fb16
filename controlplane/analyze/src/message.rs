//! What analyzers say.

use std::sync::Arc;

use lateen_api::object::{Kind, Object, Source};
use lateen_api::yaml::Node;

use crate::code::Code;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub code: Code,
    /// The sentence for people.
    pub text: String,
    /// The object that it is about; `None` for one about the whole configuration.
    pub origin: Option<Origin>,
    /// The field that it is about, such as `spec.http[0].route[0].destination.host`; empty for the whole object.
    pub field: String,
    /// Whether Istio, too, reports the line of the field and not that of the object.
    pub own_line: bool,
    /// The cluster; empty where there is only one.
    pub cluster: String,
}

/// The object that a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The object's kind.
    pub kind: &'static str,
    /// Its namespace; empty for kinds that belong to none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Codes that the object's annotation switches off, joined by commas.
    pub suppressed: String,
    /// Where it was read; `None` for an object of a cluster.
    pub place: Option<Place>,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named.
    pub file: Arc<str>,
    /// The line at which the object begins.
    pub document_line: u32,
    /// The line of the field, or of the closest one around it.
    pub line: u32,
    /// The column of the field.
    pub column: u32,
}

/// The annotation that switches messages off.
const SUPPRESS: &str = "galley.istio.io/analyze-suppress";

/// Gathers what the analyzers of a run say.
#[derive(Debug, Default)]
pub struct Messages {
    said: Vec<Said>,
}

/// A message whose field is not looked up yet: that takes a parse of the object, which is only worth it for messages that are kept.
#[derive(Debug)]
struct Said {
    message: Message,
    source: Option<Source>,
}

impl Messages {
    /// A message about an object, at the object's own line.
    pub fn object(&mut self, code: Code, object: &Object, text: impl Into<String>) {
        self.add(code, object, ("", false), text.into());
    }

    /// A message about a field of an object that Istio reports at the object's line.
    pub fn field(&mut self, code: Code, object: &Object, field: &str, text: impl Into<String>) {
        self.add(code, object, (field, false), text.into());
    }

    /// A message about a scalar field of an object that Istio, too, reports at the field's line.
    pub fn scalar(&mut self, code: Code, object: &Object, field: &str, text: impl Into<String>) {
        self.add(code, object, (field, true), text.into());
    }

    /// A message about what is no object, such as the mesh's networks.
    pub fn other(&mut self, code: Code, origin: Option<Origin>, text: impl Into<String>) {
        let message = Message {
            code,
            text: text.into(),
            origin,
            field: String::new(),
            own_line: false,
            cluster: String::new(),
        };
        self.said.push(Said {
            message,
            source: None,
        });
    }

    /// What was said and is wanted, with the places of fields.
    #[must_use]
    pub fn into_vec(self, wanted: impl Fn(&Message) -> bool) -> Vec<Message> {
        let mut last: Option<(Source, Arc<Node>)> = None;
        let mut messages = Vec::with_capacity(self.said.len());
        for Said { message, source } in self.said {
            if !wanted(&message) {
                continue;
            }
            let mut message = message;
            if let Some(source) = source {
                // An analyzer goes from object to object, so that the next message is often about the same one.
                let (_, node) = match last.take().filter(|(same, _)| *same == source) {
                    Some(known) => last.insert(known),
                    None => {
                        let node = source.node();
                        last.insert((source, node))
                    }
                };
                message.locate(node);
            }
            messages.push(message);
        }
        messages
    }

    fn add(&mut self, code: Code, object: &Object, (field, own_line): (&str, bool), text: String) {
        let message = Message {
            code,
            text,
            origin: Some(Origin::of(object)),
            field: field.to_owned(),
            own_line,
            cluster: String::new(),
        };
        let source = object.source.clone().filter(|_| !field.is_empty());
        self.said.push(Said { message, source });
    }
}

impl Message {
    /// Looks the field up in its object's tree.
    fn locate(&mut self, node: &Node) {
        let at = node.mark_near(&self.field);
        if let Some(place) = self
            .origin
            .as_mut()
            .and_then(|origin| origin.place.as_mut())
        {
            (place.line, place.column) = (at.line, at.column);
        }
    }
}

impl Origin {
    /// An object as the origin of a message; the place is the object's own.
    #[must_use]
    pub fn of(object: &Object) -> Self {
        let place = object.source.as_ref().map(|source| Place {
            file: Arc::clone(&source.file),
            document_line: source.line,
            line: source.line,
            column: 1,
        });
        Self {
            kind: object.key.kind.as_str(),
            namespace: object.key.namespace.clone(),
            name: object.key.name.clone(),
            suppressed: object
                .meta
                .annotations
                .get(SUPPRESS)
                .cloned()
                .unwrap_or_default(),
            place,
        }
    }

    /// The name by which people and suppressions call the object: `<Kind> <namespace>/<name>`.
    #[must_use]
    pub fn friendly_name(&self) -> String {
        if self.namespace.is_empty() {
            format!("{} {}", self.kind, self.name)
        } else {
            format!("{} {}/{}", self.kind, self.namespace, self.name)
        }
    }

    /// The namespace by which messages are filtered: a Namespace's own name, else the object's namespace.
    #[must_use]
    pub fn filter_namespace(&self) -> &str {
        if self.kind == Kind::Namespace.as_str() {
            &self.name
        } else {
            &self.namespace
        }
    }
}
