//! Changes of a text that cure messages: only where there is one answer, and only by editing the characters it takes.
//!
//! A change is made at the places that the parser gives, and is kept only if the text read again means what was meant and nothing
//! else changed: aliases, odd spellings and whatever else may stand in YAML make a cure fall away rather than go wrong.

use std::ops::Range;

use lateen_api::yaml::{self, Mark, Node, Part, Step, path_steps};
use serde_json::{Map, Value, json};

use crate::code;
use crate::message::Message;

/// A change of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The bytes that are replaced.
    pub span: Range<usize>,
    /// What comes in their place.
    pub with: String,
}

/// Cures messages about one text.
#[derive(Debug)]
pub struct Fixer<'t> {
    text: &'t str,
    parts: Vec<Part>,
    /// The annotations that exist, by kind.
    annotations: fn(&str) -> Vec<&'static str>,
}

/// The edits that can be made together, and the messages that each cures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cure {
    /// The edits, none of which touches another.
    pub edits: Vec<Edit>,
    /// Which of the messages are cured, by number.
    pub cured: Vec<usize>,
}

/// What is to be done with an object, besides the edits: what its document means afterwards.
struct Plan {
    edits: Vec<Edit>,
    meaning: Value,
}

/// An object of a part.
struct Found<'n> {
    root: &'n Node,
    node: &'n Node,
    /// The way from the document's root.
    way: Vec<Step>,
    index: usize,
}

impl<'t> Fixer<'t> {
    /// Cures of a text.
    #[must_use]
    pub fn new(text: &'t str, annotations: fn(&str) -> Vec<&'static str>) -> Self {
        Self {
            text,
            parts: yaml::split(text),
            annotations,
        }
    }

    /// The edits that cure as many of the messages as have one safe answer.
    #[must_use]
    pub fn cure(&self, messages: &[&Message]) -> Cure {
        let mut cure = Cure::default();
        for (number, message) in messages.iter().enumerate() {
            let Some(edits) = self.edits(message) else {
                continue;
            };
            let fresh: Vec<Edit> = edits
                .into_iter()
                .filter(|edit| !cure.edits.contains(edit))
                .collect();
            // Two edits of one place cannot both be meant.
            let clash = fresh
                .iter()
                .any(|new| cure.edits.iter().any(|old| touch(&old.span, &new.span)));
            if !clash {
                cure.edits.extend(fresh);
                cure.cured.push(number);
            }
        }
        cure.edits.sort_by_key(|edit| edit.span.start);
        cure
    }

    /// The edits that cure one message.
    fn edits(&self, message: &Message) -> Option<Vec<Edit>> {
        let origin = message.origin.as_ref()?;
        let line = origin.place.as_ref()?.document_line;
        let number = self
            .parts
            .partition_point(|part| part.first_line <= line)
            .checked_sub(1)?;
        let part = self.parts.get(number)?;
        let body = self.text.get(part.span.clone())?;
        let documents = yaml::parse_part(body, part.first_line).ok()?;
        let found = documents.iter().enumerate().find_map(|(index, document)| {
            let mut way = Vec::new();
            let node = find(&document.root, line, (origin.kind, &origin.name), &mut way)?;
            Some(Found {
                root: &document.root,
                node,
                way,
                index,
            })
        })?;
        let page = Page { body, part };
        let plan = match message.code {
            code::DEPRECATED => delay_percent(&page, &found),
            code::UNKNOWN_ANNOTATION => {
                let known = (self.annotations)(origin.kind);
                annotation(&page, &found, &message.field, &known)
            }
            code::PORT_NAME_IS_NOT_UNDER_NAMING_CONVENTION => {
                port_protocol(&page, &found, &message.field)
            }
            _ => None,
        }?;
        verify(&page, &documents, found.index, &plan)?;
        let shift = |edit: Edit| Edit {
            span: edit.span.start + part.span.start..edit.span.end + part.span.start,
            with: edit.with,
        };
        Some(plan.edits.into_iter().map(shift).collect())
    }
}

/// The text with edits, none of which touches another, made in it; all other bytes stay as they are.
#[must_use]
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let mut sorted: Vec<&Edit> = edits.iter().collect();
    sorted.sort_by_key(|edit| edit.span.start);
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in sorted {
        let Some(kept) = text.get(at..edit.span.start) else {
            continue;
        };
        out.push_str(kept);
        out.push_str(&edit.with);
        at = edit.span.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

fn touch(one: &Range<usize>, two: &Range<usize>) -> bool {
    one.start <= two.end && two.start <= one.end
}

/// The object that begins in a line, among a document's lists.
fn find<'n>(
    node: &'n Node,
    line: u32,
    (kind, name): (&str, &str),
    way: &mut Vec<Step>,
) -> Option<&'n Node> {
    if let Some(items) = lateen_api::object::list_items(node) {
        for (index, item) in items.iter().enumerate() {
            way.extend([Step::Key("items".to_owned()), Step::Index(index)]);
            if let Some(found) = find(item, line, (kind, name), way) {
                return Some(found);
            }
            way.truncate(way.len() - 2);
        }
        return None;
    }
    let named = node
        .get("metadata")
        .and_then(|metadata| metadata.get("name"))
        .and_then(Node::text);
    let is_kind = node.get("kind").and_then(Node::text) == Some(kind);
    (node.at.line == line && is_kind && named == Some(name)).then_some(node)
}

/// A part of a text, in which places can be found.
struct Page<'t> {
    body: &'t str,
    part: &'t Part,
}

impl Page<'_> {
    /// The byte at which a place begins.
    fn offset(&self, mark: Mark) -> Option<usize> {
        let row = usize::try_from(mark.line.checked_sub(self.part.first_line)?).ok()?;
        let start = if row == 0 {
            0
        } else {
            self.body.match_indices('\n').nth(row - 1)?.0 + 1
        };
        let line = self.body.get(start..)?;
        let column = usize::try_from(mark.column.checked_sub(1)?).ok()?;
        let within = line.char_indices().nth(column).map(|(at, _)| at)?;
        Some(start + within)
    }

    /// The bytes of a key or a scalar as it is written, if that is the plain text or the text in quotes.
    fn token(&self, mark: Mark, text: &str) -> Option<Range<usize>> {
        let start = self.offset(mark)?;
        let rest = self.body.get(start..)?;
        for quote in ["", "\"", "'"] {
            let written = format!("{quote}{text}{quote}");
            if rest.starts_with(&written) {
                return Some(start..start + written.len());
            }
        }
        None
    }

    /// Whether the value at a place is written in brackets, as in JSON.
    fn is_flow(&self, node: &Node) -> bool {
        self.offset(node.at)
            .and_then(|at| self.body.as_bytes().get(at))
            .is_some_and(|byte| matches!(byte, b'{' | b'['))
    }

    fn line_end(&self) -> &'static str {
        if self.body.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        }
    }
}

/// `fault.delay.percent` as `percentage`, in all routes of a VirtualService.
fn delay_percent(page: &Page<'_>, found: &Found<'_>) -> Option<Plan> {
    let mut meaning: Value = yaml::read(found.root).ok()?;
    let mut edits = Vec::new();
    let routes = found.node.get("spec")?.get("http")?.items();
    for (index, route) in routes.iter().enumerate() {
        let Some(delay) = route.get("fault").and_then(|fault| fault.get("delay")) else {
            continue;
        };
        let Some(entry) = delay.entry("percent") else {
            continue;
        };
        let text = entry.value.text()?;
        let percent: u32 = text.parse().ok()?;
        if percent == 0 || delay.entry("percentage").is_some() {
            continue;
        }
        let key = page.token(entry.key_at, "percent")?;
        let value = page.token(entry.value.at, text)?;
        let quote = page
            .body
            .get(key.clone())?
            .strip_suffix("percent\"")
            .unwrap_or_default();
        let with = if page.is_flow(delay) {
            format!("{quote}percentage{quote}: {{{quote}value{quote}: {percent}}}")
        } else {
            let indent = usize::try_from(entry.key_at.column).ok()? - 1;
            let line_end = page.line_end();
            format!("percentage:{line_end}{:1$}value: {percent}", "", indent + 2)
        };
        edits.push(Edit {
            span: key.start..value.end,
            with,
        });
        let way = path_steps(&format!("spec.http[{index}].fault.delay"));
        let fields = fields(&mut meaning, found.way.iter().chain(&way))?;
        fields.remove("percent");
        fields.insert("percentage".to_owned(), json!({"value": percent}));
    }
    (!edits.is_empty()).then_some(Plan { edits, meaning })
}

/// A misspelt annotation under the one name that it can mean.
fn annotation(
    page: &Page<'_>,
    found: &Found<'_>,
    field: &str,
    known: &[&'static str],
) -> Option<Plan> {
    let way = path_steps(field);
    let Some(Step::Key(name)) = way.last() else {
        return None;
    };
    let right = closest(name, known)?;
    let parent = way.get(..way.len() - 1)?;
    let mut node = found.node;
    for step in parent {
        let Step::Key(key) = step else { return None };
        node = node.get(key)?;
    }
    if node.entry(right).is_some() {
        return None;
    }
    let span = page.token(node.entry(name)?.key_at, name)?;
    let with = page.body.get(span.clone())?.replace(name.as_str(), right);
    let mut meaning: Value = yaml::read(found.root).ok()?;
    let fields = fields(&mut meaning, found.way.iter().chain(parent))?;
    let value = fields.remove(name)?;
    fields.insert(right.to_owned(), value);
    let edits = vec![Edit { span, with }];
    Some(Plan { edits, meaning })
}

/// The protocol of a port whose name tells it at the wrong place, or whose number does. The name stays as it is, since other objects
/// may refer to the port by it.
fn port_protocol(page: &Page<'_>, found: &Found<'_>, field: &str) -> Option<Plan> {
    let way: Vec<Step> = path_steps(field).into_iter().take(3).collect();
    let Some(Step::Index(index)) = way.get(2) else {
        return None;
    };
    let port = found.node.get("spec")?.get("ports")?.items().get(*index)?;
    if port.entry("appProtocol").is_some() {
        return None;
    }
    let name = port.get("name").and_then(Node::text).unwrap_or_default();
    let number = port.get("port").and_then(Node::text)?;
    let protocol = certain_protocol(name, number)?;
    let key_at = port.entry("port")?.key_at;
    let key = page.token(key_at, "port")?;
    let quote = page
        .body
        .get(key.clone())?
        .strip_suffix("port\"")
        .unwrap_or_default();
    let field = format!("{quote}appProtocol{quote}: {quote}{protocol}{quote}");
    let with = if page.is_flow(port) {
        format!("{field}, ")
    } else {
        let indent = usize::try_from(key_at.column).ok()? - 1;
        format!("{field}{}{:indent$}", page.line_end(), "")
    };
    let mut meaning: Value = yaml::read(found.root).ok()?;
    let fields = fields(&mut meaning, found.way.iter().chain(&way))?;
    fields.insert("appProtocol".to_owned(), Value::String(protocol.to_owned()));
    let edits = vec![Edit {
        span: key.start..key.start,
        with,
    }];
    Some(Plan { edits, meaning })
}

/// The protocol that a port's name says at its end (`metrics-http`), or that its number is registered for and nothing contradicts.
fn certain_protocol(name: &str, port: &str) -> Option<&'static str> {
    const NAMES: [&str; 9] = [
        "http", "http2", "https", "grpc", "tcp", "tls", "mongo", "redis", "mysql",
    ];
    let mut said = name.split('-').filter_map(|word| {
        NAMES
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(word))
    });
    match (said.next(), said.next()) {
        // `web-grpc` might be meant as the protocol grpc-web.
        (Some("grpc"), None) if name.to_ascii_lowercase().contains("web") => None,
        (Some(protocol), None) => Some(protocol),
        (None, _) => match port {
            "80" => Some("http"),
            "443" => Some("https"),
            _ => None,
        },
        (Some(_), Some(_)) => None,
    }
}

/// The only one of the known names that a misspelt one is close to.
fn closest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    // A slip of a finger or two, or of the case.
    const NEAR: usize = 2;
    let near: Vec<(usize, &'static str)> = known
        .iter()
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= NEAR)
        .map(|candidate| {
            let (one, two) = (name.to_ascii_lowercase(), candidate.to_ascii_lowercase());
            (distance(&one, &two), *candidate)
        })
        .filter(|(distance, _)| *distance <= NEAR)
        .collect();
    match near[..] {
        [(_, only)] => Some(only),
        _ => None,
    }
}

/// How many characters must be put in, taken out, replaced or swapped with their neighbour.
fn distance(one: &str, two: &str) -> usize {
    let (one, two): (Vec<char>, Vec<char>) = (one.chars().collect(), two.chars().collect());
    let width = two.len() + 1;
    let mut rows: Vec<Vec<usize>> = vec![(0..width).collect()];
    for i in 1..=one.len() {
        let mut row = vec![i; width];
        for j in 1..width {
            let differs = usize::from(one[i - 1] != two[j - 1]);
            row[j] = (rows[i - 1][j] + 1)
                .min(row[j - 1] + 1)
                .min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && one[i - 1] == two[j - 2] && one[i - 2] == two[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows.last()
        .and_then(|row| row.last())
        .copied()
        .unwrap_or_default()
}

/// The mapping at a path of a value.
fn fields<'v, 's>(
    value: &'v mut Value,
    way: impl Iterator<Item = &'s Step>,
) -> Option<&'v mut Map<String, Value>> {
    let mut value = value;
    for step in way {
        value = match step {
            Step::Key(key) => value.get_mut(key)?,
            Step::Index(index) => value.get_mut(index)?,
        };
    }
    value.as_object_mut()
}

/// Whether the part with the edits in it means what was planned, and no other document of it changed.
fn verify(page: &Page<'_>, documents: &[yaml::Document], index: usize, plan: &Plan) -> Option<()> {
    let edited = apply(page.body, &plan.edits);
    let after = yaml::parse(&edited).ok()?;
    if after.len() != documents.len() {
        return None;
    }
    for (number, (before, after)) in documents.iter().zip(&after).enumerate() {
        let after: Value = yaml::read(&after.root).ok()?;
        let same = if number == index {
            after == plan.meaning
        } else {
            after == yaml::read::<Value>(&before.root).ok()?
        };
        if !same {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests;
