//! Where in a message an error is.

use std::fmt;

use prost::Message;

/// Why a resource cannot be used: the field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Refused {
    /// Path of the field, such as `filter_chains[0].filters[1].typed_config.tracing.provider`.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// The place of a field, as a chain to the root; costs nothing until it is printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
    Key(&'a str),
}

impl<'a> At<'a> {
    /// The resource itself.
    pub(crate) const ROOT: At<'static> = At {
        parent: None,
        step: Step::Root,
    };

    /// A field of the message at this place.
    pub(crate) fn field<'b>(&'b self, name: &'b str) -> At<'b> {
        self.step(Step::Field(name))
    }

    /// An item of the list at this place.
    pub(crate) fn item<'b>(&'b self, index: usize) -> At<'b> {
        self.step(Step::Item(index))
    }

    /// An entry of the map at this place.
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        self.step(Step::Key(key))
    }

    /// An error here.
    pub(crate) fn refuse(&self, reason: impl Into<String>) -> Refused {
        Refused {
            path: self.to_string(),
            reason: reason.into(),
        }
    }

    /// The error that the thing at this place is not supported.
    pub(crate) fn unsupported(&self) -> Refused {
        self.refuse("not supported by this proxy")
    }

    fn step<'b>(&'b self, step: Step<'b>) -> At<'b> {
        At {
            parent: Some(self),
            step,
        }
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dot = self.parent.is_some_and(|parent| parent.parent.is_some());
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Field(name) if dot => write!(f, ".{name}"),
            Step::Field(name) => f.write_str(name),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Key(key) => write!(f, "[{key:?}]"),
        }
    }
}

/// Refuses a message that still holds a field after all supported ones were taken out of it, by that field's name.
///
/// This is what keeps the conversion honest: a field that nobody takes is an error, also one that a newer version of
/// the protocol adds.
pub(crate) fn nothing_left<M>(at: &At<'_>, message: &M) -> Result<(), Refused>
where
    M: Message + Default + PartialEq + fmt::Debug,
{
    let nothing = M::default();
    if *message == nothing {
        return Ok(());
    }
    let field = first_difference(&format!("{message:#?}"), &format!("{nothing:#?}"));
    Err(at.field(&field).unsupported())
}

/// The first field whose debug text differs: fields stand in lines of their own, indented by four spaces.
fn first_difference(message: &str, nothing: &str) -> String {
    let blank = blocks(nothing);
    blocks(message)
        .into_iter()
        .find(|block| !blank.contains(block))
        .and_then(|block| Some(block.split_once(':')?.0.trim().to_owned()))
        .unwrap_or_else(|| "some field".to_owned())
}

fn blocks(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in text.lines() {
        let starts = line
            .strip_prefix("    ")
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_alphabetic()));
        match found.last_mut() {
            _ if starts => found.push(line.to_owned()),
            Some(block) => block.push_str(line),
            None => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::config::cluster::v3::Cluster;
    use envoy_types::pb::envoy::config::listener::v3::listener::ConnectionBalanceConfig;
    use envoy_types::pb::envoy::config::listener::v3::{Listener, ListenerFilter};

    #[test]
    fn paths_read_as_in_the_message() {
        let chains = At::ROOT.field("filter_chains");
        let chain = chains.item(2);
        let filters = chain.field("filters");
        let key = filters.key("a.b");
        assert_eq!(
            key.field("x").to_string(),
            "filter_chains[2].filters[\"a.b\"].x"
        );
    }

    #[test]
    fn the_field_that_is_left_is_named() {
        let named = |message: &Listener| nothing_left(&At::ROOT, message).map_err(|e| e.path);
        assert_eq!(named(&Listener::default()), Ok(()));
        let balance = Listener {
            connection_balance_config: Some(ConnectionBalanceConfig::default()),
            ..Listener::default()
        };
        assert_eq!(named(&balance), Err("connection_balance_config".to_owned()));
        let filters = Listener {
            listener_filters: vec![ListenerFilter::default()],
            ..Listener::default()
        };
        assert_eq!(named(&filters), Err("listener_filters".to_owned()));
        let cluster = Cluster {
            close_connections_on_host_health_failure: true,
            ..Cluster::default()
        };
        assert_eq!(
            nothing_left(&At::ROOT, &cluster).map_err(|e| e.to_string()),
            Err("close_connections_on_host_health_failure: not supported by this proxy".to_owned())
        );
    }
}
