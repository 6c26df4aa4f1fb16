//! What several services want of one address and port, and the listener that comes of it.

use std::collections::BTreeMap;

use lateen_api::protocol::Protocol;

use super::l4::Chain;
use super::{handshake_timeout, service_listener, unknown_target};
use crate::filters::{self, Direction};
use crate::manager::{Http, Routes, manager};
use crate::pb::listener::{FilterChain, FilterChainMatch, Listener};
use crate::policy::Policy;
use crate::tcp;
use crate::view::View;
use crate::wire::{flag, number};

/// Listeners in the making, by address and port.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    by_bind: BTreeMap<(String, u16), Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Name of the routes, and whether gRPC-Web is bridged.
    http: Option<(String, bool)>,
    chains: Vec<Chain>,
    /// Applications connect to it themselves.
    bound: bool,
    /// Its protocol speaks first or breaks beside others (MongoDB, MySQL).
    exclusive: bool,
}

/// Where a service port listens.
#[derive(Debug, Clone)]
pub(super) struct Bind {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) bound: bool,
}

impl Wanted {
    /// A port that speaks HTTP, with routes of this name.
    pub(super) fn http(&mut self, bind: &Bind, routes: &str, grpc_web: bool) {
        let entry = self.entry(bind);
        if entry.exclusive {
            return;
        }
        let held = entry
            .http
            .get_or_insert_with(|| (routes.to_owned(), grpc_web));
        held.1 |= grpc_web;
    }

    /// Chains of a port that carries bytes. A chain whose match is taken by an older service is left out.
    pub(super) fn tcp(&mut self, bind: &Bind, protocol: Protocol, chains: Vec<Chain>) {
        let exclusive = matches!(protocol, Protocol::Mongo | Protocol::MySql);
        let entry = self.entry(bind);
        let occupied = entry.http.is_some() || !entry.chains.is_empty();
        if entry.exclusive || (exclusive && occupied) {
            return;
        }
        entry.exclusive = exclusive;
        for chain in chains {
            if !entry.chains.iter().any(|held| held.same_match(&chain)) {
                entry.chains.push(chain);
            }
        }
    }

    /// The listeners, by address and port.
    pub(super) fn finish(self, view: &View) -> Vec<Listener> {
        self.by_bind
            .into_iter()
            .filter(|(_, entry)| entry.http.is_some() || !entry.chains.is_empty())
            .map(|((address, port), entry)| entry.finish(view, &address, port))
            .collect()
    }

    fn entry(&mut self, bind: &Bind) -> &mut Entry {
        let key = (bind.address.clone(), bind.port);
        self.by_bind.entry(key).or_insert_with(|| Entry {
            http: None,
            chains: Vec::new(),
            bound: bind.bound,
            exclusive: false,
        })
    }
}

impl Entry {
    fn finish(self, view: &View, address: &str, port: u16) -> Listener {
        let mut listener = service_listener(view, format!("{address}_{port}"), address, port);
        if self.bound {
            listener.max_connections_to_accept_per_socket_event = number(1);
        } else {
            listener.bind_to_port = flag(false);
        }
        let by_name = self
            .chains
            .iter()
            .any(|chain| !chain.server_names.is_empty());
        let takes_all = self.chains.iter().any(Chain::takes_all);
        let shared = !self.chains.is_empty() || !self.bound;
        if let Some((routes, grpc_web)) = &self.http {
            let stat_prefix = format!("outbound_{address}_{port}");
            let http = Http {
                direction: Direction::Outbound,
                stat_prefix,
                routes: Routes::Named(routes.clone()),
                grpc_web: *grpc_web,
            };
            let chain = FilterChain {
                filter_chain_match: shared.then(|| detected(view)),
                filters: vec![manager(view, http)],
                transport_socket_connect_timeout: handshake_timeout(),
                ..Default::default()
            };
            listener.filter_chains.push(chain);
        }
        if by_name {
            listener.listener_filters.push(filters::tls_inspector(None));
        }
        if self.http.is_some() && shared {
            listener
                .listener_filters
                .push(filters::http_inspector(None));
        }
        listener
            .filter_chains
            .extend(self.chains.into_iter().map(Chain::finish));
        if !takes_all && (self.http.is_none() || shared) {
            listener.default_filter_chain = Some(pass_through(view));
        }
        listener
    }
}

/// Plain HTTP, by its first bytes.
fn detected(view: &View) -> FilterChainMatch {
    let mut protocols = vec!["http/1.1".to_owned(), "h2c".to_owned()];
    if view.traits.http10 {
        protocols.insert(0, "http/1.0".into());
    }
    FilterChainMatch {
        transport_protocol: "raw_buffer".into(),
        application_protocols: protocols,
        ..Default::default()
    }
}

/// Takes what no other chain does.
fn pass_through(view: &View) -> FilterChain {
    FilterChain {
        name: "PassthroughFilterChain".into(),
        filters: tcp::filters(
            view,
            Direction::Outbound,
            Protocol::Tcp,
            &unknown_target(view),
            &Policy::default(),
        ),
        ..Default::default()
    }
}
