//! The subscriptions of one stream: what a proxy asked for, what it was sent, and what it said to it (contract xds.md §11).
//!
//! No I/O and no clock of its own beyond time stamps for display: requests go in, answers come out.

mod held;
mod message;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use lateen_controlplane_model::affected::Touched;
use lateen_controlplane_model::generate::{Generate, Names, Resource};
use lateen_controlplane_model::proxy::Proxy;
use lateen_xds::names::{ResourceType, type_url};
use thiserror::Error;

pub(crate) use message::{Asked, Protocol, Request, Response, Wanted};
use watch::{Change, Watch};
pub(crate) use watch::{State, Status};

/// Types that one stream may subscribe to.
const MAX_TYPES: usize = 64;
/// Names that one subscription may hold.
const MAX_NAMES: usize = 200_000;
/// Longest name, in bytes.
const MAX_NAME: usize = 4096;

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// What to answer with.
    pub answer: Option<Wanted>,
    /// It is about a response that a newer one replaced.
    pub stale: bool,
    /// It refuses a response.
    pub rejected: bool,
}

/// Why a request ends the stream.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RequestError {
    /// A request without a type.
    #[error("the request has no type_url")]
    NoType,
    /// More than [`MAX_TYPES`].
    #[error("a stream may subscribe to at most {MAX_TYPES} resource types")]
    TooManyTypes,
    /// More than [`MAX_NAMES`], or longer ones than [`MAX_NAME`].
    #[error("a subscription may hold at most {MAX_NAMES} names of at most {MAX_NAME} bytes")]
    Names,
}

/// The subscriptions of one stream.
pub(crate) struct Session {
    protocol: Protocol,
    watches: BTreeMap<String, Watch>,
}

impl Session {
    /// A session without subscriptions.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            watches: BTreeMap::new(),
        }
    }

    /// Takes a request in: acks and NACKs are recorded, subscriptions change.
    pub(crate) fn request(&mut self, request: Request) -> Result<Verdict, RequestError> {
        if request.type_url.is_empty() || request.type_url.len() > MAX_NAME {
            return Err(RequestError::NoType);
        }
        check_names(&request.asked)?;
        let url = request.type_url.clone();
        let known = self.watches.contains_key(&url);
        if !known && self.watches.len() >= MAX_TYPES {
            return Err(RequestError::TooManyTypes);
        }
        let verdict = match request.asked {
            Asked::Delta {
                subscribe,
                unsubscribe,
                initial,
            } => match self.watches.get_mut(&url) {
                Some(watch) => delta(
                    watch,
                    &request.nonce,
                    request.error,
                    Change {
                        subscribe,
                        unsubscribe,
                    },
                ),
                None => {
                    self.watches.insert(
                        url.clone(),
                        Watch::delta(&url, subscribe, &unsubscribe, initial),
                    );
                    Verdict {
                        answer: Some(Wanted::All),
                        ..Verdict::default()
                    }
                }
            },
            Asked::Sotw(names) => match self
                .watches
                .get_mut(&url)
                .filter(|_| !request.nonce.is_empty())
            {
                Some(watch) => {
                    let verdict = sotw(watch, &request.nonce, request.error, names);
                    if watch.is_over() {
                        self.watches.remove(&url);
                    }
                    verdict
                }
                None => {
                    self.watches.insert(url.clone(), Watch::sotw(&url, names));
                    Verdict {
                        answer: Some(Wanted::All),
                        ..Verdict::default()
                    }
                }
            },
        };
        let held = self.watches.get(&url).map_or(0, Watch::len);
        if held > MAX_NAMES {
            Err(RequestError::Names)
        } else {
            Ok(verdict)
        }
    }

    /// The answer to a request: everything wanted, whether it changed or not.
    pub(crate) fn answer(
        &mut self,
        url: &str,
        wanted: &Wanted,
        config: &dyn Generate,
        proxy: &Proxy,
    ) -> Option<Response> {
        let watch = self.watches.get_mut(url)?;
        let names = match wanted {
            Wanted::All => watch.names(),
            Wanted::Some(names) => Names::Set(names.clone()),
        };
        let resources = config.generate(proxy, url, &names);
        let removed = if *wanted == Wanted::All {
            watch.take_missing(&resources)
        } else {
            Vec::new()
        };
        watch.hold(&resources);
        Some(watch.send(url, config.version(), resources, self.protocol, removed))
    }

    /// Types subscribed to, in push order: CDS, EDS, LDS, RDS, SDS, then the others.
    pub(crate) fn types(&self) -> Vec<String> {
        let mut types: Vec<String> = self.watches.keys().cloned().collect();
        types.sort_by_cached_key(|url| {
            (
                ResourceType::from_type_url(url).map_or(usize::MAX, |kind| kind as usize),
                url.clone(),
            )
        });
        types
    }

    /// What a change means for one type; `None` when nothing of it differs from what the proxy was sent last.
    ///
    /// `forced` carries names of clusters that were sent again from CDS to EDS: a client that replaces a cluster waits for
    /// its endpoints, even if those are the same.
    pub(crate) fn push(
        &mut self,
        url: &str,
        touched: &Touched,
        forced: &mut BTreeSet<Arc<str>>,
        config: &dyn Generate,
        proxy: &Proxy,
    ) -> Option<Response> {
        let watch = self.watches.get_mut(url)?;
        if !watch.was_sent() {
            return None;
        }
        let endpoints = url == type_url::ENDPOINT;
        let names = if endpoints {
            let names = watch.held_names(|name| touched.covers(url, name) || forced.contains(name));
            if names.is_empty() {
                return None;
            }
            Names::Set(names)
        } else if touched.covers(url, "") {
            watch.names()
        } else {
            return None;
        };
        let mut resources = config.generate(proxy, url, &names);
        let removed = if names == Names::Wildcard {
            watch.take_missing(&resources)
        } else {
            Vec::new()
        };
        let differs = |resource: &Resource| {
            watch.differs(resource) || (endpoints && forced.contains(&resource.name))
        };
        let changed: BTreeSet<Arc<str>> = resources
            .iter()
            .filter(|r| differs(r))
            .map(|r| Arc::clone(&r.name))
            .collect();
        if changed.is_empty() && removed.is_empty() {
            return None;
        }
        if self.protocol == Protocol::Delta || endpoints {
            resources.retain(|resource| changed.contains(&resource.name));
        }
        watch.hold(&resources);
        if url == type_url::CLUSTER {
            forced.extend(resources.iter().map(|resource| Arc::clone(&resource.name)));
        }
        Some(watch.send(url, config.version(), resources, self.protocol, removed))
    }

    /// State of each subscribed type.
    pub(crate) fn status(&self) -> Vec<Status> {
        self.watches
            .iter()
            .map(|(url, watch)| watch.status(url))
            .collect()
    }

    /// Names subscribed to of one type.
    pub(crate) fn names(&self, url: &str) -> Option<Names> {
        self.watches.get(url).map(Watch::names)
    }
}

fn check_names(asked: &Asked) -> Result<(), RequestError> {
    let long = |names: &[String]| names.iter().any(|name| name.len() > MAX_NAME);
    let bad = match asked {
        Asked::Delta {
            subscribe,
            unsubscribe,
            initial,
        } => long(subscribe) || long(unsubscribe) || long(initial),
        Asked::Sotw(names) => long(names),
    };
    if bad {
        Err(RequestError::Names)
    } else {
        Ok(())
    }
}

/// A request of an established delta subscription. A stale nonce makes its ack void; names it adds or removes still count, since
/// the client will not repeat them.
fn delta(watch: &mut Watch, nonce: &str, error: Option<String>, change: Change) -> Verdict {
    let stale = !nonce.is_empty() && !watch.is_latest(nonce);
    let rejected = error.is_some() && !stale;
    if !stale {
        watch.acknowledge(nonce, error, SystemTime::now());
    }
    Verdict {
        answer: watch.change(change),
        stale,
        rejected,
    }
}

/// A request of an established SotW subscription. A stale one is void: the client sends its names again with the newer response.
fn sotw(watch: &mut Watch, nonce: &str, error: Option<String>, names: Vec<String>) -> Verdict {
    if !watch.is_latest(nonce) {
        return Verdict {
            stale: true,
            ..Verdict::default()
        };
    }
    let rejected = error.is_some();
    watch.acknowledge(nonce, error, SystemTime::now());
    let answer = if rejected { None } else { watch.replace(names) };
    Verdict {
        answer,
        stale: false,
        rejected,
    }
}

#[cfg(test)]
mod tests;
