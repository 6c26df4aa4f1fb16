//! One subscription: names, versions sent, the last response and what the client said to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use lateen_controlplane_model::generate::{Names, Resource};
use lateen_xds::names::ResourceType;

use super::held::Held;
use super::message::{Protocol, Response, Wanted};

const WILDCARD: &str = "*";
/// Longest error text of a client that is kept, in characters.
const MAX_ERROR: usize = 2048;

/// Names that a delta request adds and removes.
pub(crate) struct Change {
    /// Added.
    pub(crate) subscribe: Vec<String>,
    /// Removed.
    pub(crate) unsubscribe: Vec<String>,
}

/// What became of the last response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing was sent yet.
    NotSent,
    /// Sent and acknowledged.
    Synced,
    /// Sent, not acknowledged yet.
    Stale,
    /// Refused.
    Error,
}

/// State of one subscription, for display.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    /// Type.
    pub type_url: String,
    /// What became of the last response.
    pub state: State,
    /// When that was.
    pub at: Option<SystemTime>,
    /// Version last sent.
    pub sent: String,
    /// What the client said to a refused response.
    pub error: Option<String>,
}

struct Sent {
    nonce: String,
    version: String,
    at: SystemTime,
}

/// One subscription.
pub(crate) struct Watch {
    wildcard_type: bool,
    wildcard: bool,
    /// Name to the version sent; in a subscription by name also what was not sent yet.
    held: Held,
    sent: Option<Sent>,
    acked: String,
    acked_at: Option<SystemTime>,
    error: Option<String>,
    over: bool,
}

impl Watch {
    /// A delta subscription from its first request.
    ///
    /// Names held from an earlier stream are part of it; what does not exist any more comes back as removed.
    pub(crate) fn delta(
        url: &str,
        subscribe: Vec<String>,
        unsubscribe: &[String],
        initial: Vec<String>,
    ) -> Self {
        let mut watch = Self::by_type(url);
        watch.wildcard = watch.wildcard_type
            && (subscribe.is_empty() || subscribe.iter().any(|name| name == WILDCARD));
        let names = subscribe
            .into_iter()
            .chain(initial)
            .filter(|name| name != WILDCARD);
        watch.held.add(names.map(Into::into));
        let gone: BTreeSet<&str> = unsubscribe.iter().map(String::as_str).collect();
        watch.held.retain(|name| !gone.contains(name));
        watch
    }

    /// A SotW subscription from its first request.
    pub(crate) fn sotw(url: &str, names: Vec<String>) -> Self {
        let mut watch = Self::by_type(url);
        watch.wildcard =
            watch.wildcard_type && (names.is_empty() || names.iter().any(|name| name == WILDCARD));
        watch.held.add(
            names
                .into_iter()
                .filter(|name| name != WILDCARD)
                .map(Into::into),
        );
        watch
    }

    fn by_type(url: &str) -> Self {
        // A type the contract does not name is answered with what there is of it: nothing.
        let wildcard_type = ResourceType::from_type_url(url).is_none_or(ResourceType::is_wildcard);
        Self {
            wildcard_type,
            wildcard: false,
            held: Held::default(),
            sent: None,
            acked: String::new(),
            acked_at: None,
            error: None,
            over: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether the client gave the subscription up.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    pub(crate) fn was_sent(&self) -> bool {
        self.sent.is_some()
    }

    pub(crate) fn is_latest(&self, nonce: &str) -> bool {
        self.sent.as_ref().is_some_and(|sent| sent.nonce == nonce)
    }

    /// Records an ack or a NACK; a request without nonce is neither, unless it carries an error.
    pub(crate) fn acknowledge(&mut self, nonce: &str, error: Option<String>, now: SystemTime) {
        match error {
            Some(error) => self.error = Some(error.chars().take(MAX_ERROR).collect()),
            None if nonce.is_empty() => return,
            None => {
                self.error = None;
                nonce.clone_into(&mut self.acked);
            }
        }
        self.acked_at = Some(now);
    }

    /// Adds and removes names of a delta subscription; says what must be answered.
    pub(crate) fn change(&mut self, change: Change) -> Option<Wanted> {
        let gone: BTreeSet<&str> = change.unsubscribe.iter().map(String::as_str).collect();
        if gone.contains(WILDCARD) {
            self.wildcard = false;
            self.held = Held::default();
        } else if !self.wildcard && !gone.is_empty() {
            self.held.retain(|name| !gone.contains(name));
        }
        let all = self.wildcard_type && change.subscribe.iter().any(|name| name == WILDCARD);
        self.wildcard |= all;
        let new = change
            .subscribe
            .into_iter()
            .filter(|name| name != WILDCARD && !self.held.contains(name));
        let added: BTreeSet<Arc<str>> = new.map(Into::into).collect();
        self.held.add(added.iter().cloned());
        match (all, added.is_empty()) {
            (true, _) => Some(Wanted::All),
            (false, false) => Some(Wanted::Some(added)),
            (false, true) => None,
        }
    }

    /// Replaces the names of a SotW subscription; says what must be answered.
    pub(crate) fn replace(&mut self, names: Vec<String>) -> Option<Wanted> {
        let wildcard =
            self.wildcard_type && (names.is_empty() || names.iter().any(|name| name == WILDCARD));
        if wildcard {
            let changed = !self.wildcard;
            self.wildcard = true;
            return changed.then_some(Wanted::All);
        }
        if names.is_empty() {
            self.over = true;
            return None;
        }
        let names: BTreeSet<Arc<str>> = names
            .into_iter()
            .filter(|name| name != WILDCARD)
            .map(Into::into)
            .collect();
        let left_wildcard = std::mem::take(&mut self.wildcard);
        let before = self.held.len();
        self.held.retain(|name| names.contains(name));
        let removed = self.held.len() < before;
        let added: BTreeSet<Arc<str>> = names
            .into_iter()
            .filter(|name| !self.held.contains(name))
            .collect();
        self.held.add(added.iter().cloned());
        if self.wildcard_type {
            // CDS and LDS are only understood whole.
            return (left_wildcard || removed || !added.is_empty()).then_some(Wanted::All);
        }
        (!added.is_empty()).then_some(Wanted::Some(added))
    }

    /// What the subscription is for.
    pub(crate) fn names(&self) -> Names {
        if self.wildcard {
            Names::Wildcard
        } else {
            Names::Set(self.held.names().cloned().collect())
        }
    }

    /// Names that fit.
    pub(crate) fn held_names(&self, fits: impl Fn(&str) -> bool) -> BTreeSet<Arc<str>> {
        self.held
            .names()
            .filter(|name| fits(name))
            .cloned()
            .collect()
    }

    /// Whether the client holds another version, or none.
    pub(crate) fn differs(&self, resource: &Resource) -> bool {
        self.held.sent(&resource.name) != Some(resource.version)
    }

    /// Records what is sent. Keys become the resource's own name, which all streams share.
    pub(crate) fn hold(&mut self, resources: &[Resource]) {
        self.held.hold(resources);
    }

    /// In a wildcard subscription: forgets and gives the names that do not exist any more.
    pub(crate) fn take_missing(&mut self, resources: &[Resource]) -> Vec<String> {
        if !self.wildcard {
            return Vec::new();
        }
        let there: BTreeSet<&str> = resources.iter().map(|resource| &*resource.name).collect();
        let missing = self.held.names().filter(|name| !there.contains(&***name));
        let gone: Vec<String> = missing.map(ToString::to_string).collect();
        self.held.retain(|name| there.contains(name));
        gone
    }

    /// Makes the response and remembers it as the latest.
    pub(crate) fn send(
        &mut self,
        url: &str,
        version: &str,
        resources: Vec<Resource>,
        protocol: Protocol,
        removed: Vec<String>,
    ) -> Response {
        let nonce = format!("{version}{}", uuid::Uuid::new_v4());
        self.sent = Some(Sent {
            nonce: nonce.clone(),
            version: version.to_owned(),
            at: SystemTime::now(),
        });
        let removed = if protocol == Protocol::Delta {
            removed
        } else {
            Vec::new()
        };
        Response {
            type_url: url.to_owned(),
            version: version.to_owned(),
            nonce,
            resources,
            removed,
        }
    }

    /// For display.
    pub(crate) fn status(&self, url: &str) -> Status {
        let state = match &self.sent {
            None => State::NotSent,
            Some(_) if self.error.is_some() => State::Error,
            Some(sent) if sent.nonce == self.acked => State::Synced,
            Some(_) => State::Stale,
        };
        let sent_at = self.sent.as_ref().map(|sent| sent.at);
        Status {
            type_url: url.to_owned(),
            state,
            at: if matches!(state, State::Synced | State::Error) {
                self.acked_at.or(sent_at)
            } else {
                sent_at
            },
            sent: self
                .sent
                .as_ref()
                .map(|sent| sent.version.clone())
                .unwrap_or_default(),
            error: self.error.clone(),
        }
    }
}
