//! Runs analyzers and puts their messages in order.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::analyzers::{self, Analyzer};
use crate::cluster::{Cluster, ClusterInput};
use crate::code::{Code, Level};
use crate::message::{Message, Messages};

/// Which analyzers run, and which messages are kept.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The analyzers that run, by name; names that are not known are left out, and if none is left all run.
    pub analyzers: Vec<String>,
    /// Whether only Istio's analyzers run, and lines are those that Istio prints.
    pub istio_compatible: bool,
    /// The namespace whose messages are kept; `None` keeps all. Analysis itself sees all namespaces.
    pub namespace: Option<String>,
    /// Messages that are left out.
    pub suppressions: Vec<Suppression>,
}

/// Messages of a code about objects that are not wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The messages' code.
    pub code: String,
    /// The objects, as `<Kind> <namespace>/<name>` with `*` for any text.
    pub object: String,
}

/// A suppression that is not `CODE=OBJECT`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a suppression: write CODE=OBJECT, such as IST0102=Namespace default")]
pub struct SuppressionError(pub String);

/// What a run gave.
#[derive(Debug, Clone, Default)]
pub struct Analysis {
    /// The messages, sorted.
    pub messages: Vec<Message>,
    /// The analyzers that ran.
    pub executed: Vec<&'static str>,
    /// The analyzers that did not run, with what they could not read.
    pub skipped: Vec<(&'static str, String)>,
}

impl std::str::FromStr for Suppression {
    type Err = SuppressionError;

    fn from_str(text: &str) -> Result<Self, SuppressionError> {
        match text.split('=').collect::<Vec<_>>()[..] {
            [code, object] => Ok(Self {
                code: code.to_owned(),
                object: object.to_owned(),
            }),
            _ => Err(SuppressionError(text.to_owned())),
        }
    }
}

impl Suppression {
    /// Whether the code is one that exists.
    #[must_use]
    pub fn is_known(&self) -> bool {
        Code::find(&self.code).is_some()
    }

    fn covers(&self, message: &Message, name: &str) -> bool {
        self.code == message.code.id && glob(&self.object, name)
    }
}

/// Runs the analyzers over all clusters, the first of which is the one that was asked for.
#[must_use]
pub fn analyze(inputs: Vec<ClusterInput>, options: &Options) -> Analysis {
    let mut analysis = Analysis::default();
    let mut clusters: Vec<Cluster> = inputs.into_iter().map(Cluster::new).collect();
    let chosen = chosen(options);
    let several = clusters.len() > 1;
    for turn in 0..clusters.len() {
        // Each cluster stands first once, with the others behind it.
        clusters.rotate_left(usize::from(turn > 0));
        let Some((cluster, others)) = clusters.split_first() else {
            break;
        };
        let mut messages = Messages::default();
        for analyzer in &chosen {
            match missing(analyzer, cluster) {
                None => {
                    (analyzer.run)(cluster, others, &mut messages);
                    note(&mut analysis.executed, analyzer.name);
                }
                Some(input) => {
                    if turn == 0 {
                        analysis.skipped.push((analyzer.name, input));
                    }
                }
            }
        }
        let mut messages = messages.into_vec(|message| kept(message, options));
        if several {
            for message in &mut messages {
                message.cluster.clone_from(&cluster.id);
            }
        }
        analysis.messages.append(&mut messages);
    }
    sort(&mut analysis.messages);
    analysis
}

fn chosen(options: &Options) -> Vec<Analyzer> {
    let mut all = analyzers::istio();
    if !options.istio_compatible {
        all.extend(analyzers::own());
    }
    let named: Vec<Analyzer> = all
        .iter()
        .copied()
        .chain(analyzers::on_request())
        .filter(|analyzer| options.analyzers.iter().any(|name| name == analyzer.name))
        .collect();
    if named.is_empty() { all } else { named }
}

fn missing(analyzer: &Analyzer, cluster: &Cluster) -> Option<String> {
    let inputs = analyzer.inputs.iter();
    let missing = inputs
        .filter(|input| !cluster.can_read(**input))
        .map(ToString::to_string)
        .collect::<Vec<_>>();
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn note(executed: &mut Vec<&'static str>, name: &'static str) {
    if !executed.contains(&name) {
        executed.push(name);
    }
}

fn kept(message: &Message, options: &Options) -> bool {
    let Some(origin) = &message.origin else {
        return true;
    };
    let namespace = origin.filter_namespace();
    if let Some(wanted) = &options.namespace
        && !namespace.is_empty()
        && namespace != wanted
    {
        return false;
    }
    let annotated = origin
        .suppressed
        .split(',')
        .any(|code| code == "*" || code == message.code.id);
    let name = origin.friendly_name();
    !annotated
        && !options
            .suppressions
            .iter()
            .any(|suppression| suppression.covers(message, &name))
}

/// By cluster, level, code, object and text; what would print the same line twice is left once.
fn sort(messages: &mut Vec<Message>) {
    messages.sort_by(order);
    let mut seen = HashSet::new();
    messages.retain(|message| {
        let place = message
            .origin
            .as_ref()
            .and_then(|origin| origin.place.as_ref());
        let line = place.map(|place| {
            let line = if message.own_line {
                place.line
            } else {
                place.document_line
            };
            (place.file.clone(), line)
        });
        let name = message
            .origin
            .as_ref()
            .map(crate::message::Origin::friendly_name);
        seen.insert((
            message.cluster.clone(),
            message.code,
            name,
            line,
            message.text.clone(),
        ))
    });
}

fn order(one: &Message, two: &Message) -> Ordering {
    let key =
        |message: &Message| -> (Level, &'static str) { (message.code.level, message.code.id) };
    let origin = |message: &Message| {
        message
            .origin
            .as_ref()
            .map(|origin| (origin.kind, origin.name.clone(), origin.namespace.clone()))
    };
    one.cluster
        .cmp(&two.cluster)
        .then_with(|| key(one).cmp(&key(two)))
        .then_with(|| origin(one).cmp(&origin(two)))
        .then_with(|| one.text.cmp(&two.text))
}

/// Whether a text is what a pattern with `*` for any text says.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else {
        return text.is_empty();
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_with_stars_match_whole_names() {
        for (pattern, text, fits) in [
            ("Pod a/b", "Pod a/b", true),
            ("Pod a/*", "Pod a/b", true),
            ("*", "Pod a/b", true),
            ("Pod */b", "Pod a/b", true),
            ("*a*b", "Pod a/b", true),
            ("Pod a", "Pod a/b", false),
            ("a/b", "Pod a/b", false),
            ("*b*b", "Pod a/b", false),
            ("", "", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_suppression_is_a_code_and_an_object() {
        assert!("IST0102=Namespace default".parse::<Suppression>().is_ok());
        assert!("IST0102".parse::<Suppression>().is_err());
        assert!("A=B=C".parse::<Suppression>().is_err());
    }
}
