//! The page `listeners`: names and addresses.

use std::fmt::Write;
use std::net::SocketAddr;

use lateen_proxy_listen::{Place, Sockets};
use lateen_proxy_state::State;
use serde_json::{Value, json};

use super::socket_address;

/// `<name>::<address>` a line.
pub(super) fn as_text(state: &State, sockets: &Sockets) -> String {
    let mut out = String::new();
    for listener in state.listeners().iter() {
        if let Some(pipe) = &listener.socket.pipe {
            let _ = writeln!(out, "{}::{}", listener.name, pipe.path.display());
            continue;
        }
        for address in listener.addresses() {
            let _ = writeln!(out, "{}::{}", listener.name, bound(sockets, *address));
        }
    }
    out
}

/// `envoy.admin.v3.Listeners`.
pub(super) fn as_json(state: &State, sockets: &Sockets) -> Value {
    let statuses: Vec<Value> = state
        .listeners()
        .iter()
        .map(|listener| {
            let local = match &listener.socket.pipe {
                Some(pipe) => json!({ "pipe": { "path": pipe.path.display().to_string() } }),
                None => socket_address(bound(sockets, listener.address)),
            };
            let mut status = json!({ "name": *listener.name, "local_address": local });
            if !listener.additional.is_empty() {
                let more: Vec<Value> = listener
                    .additional
                    .iter()
                    .map(|address| socket_address(bound(sockets, *address)))
                    .collect();
                status["additional_local_addresses"] = more.into();
            }
            status
        })
        .collect();
    json!({ "listener_statuses": statuses })
}

/// Where a listener is bound: the kernel chooses where its address has no port.
fn bound(sockets: &Sockets, address: SocketAddr) -> SocketAddr {
    let bound = sockets.bound(&Place::Tcp(address));
    bound.unwrap_or(address)
}
