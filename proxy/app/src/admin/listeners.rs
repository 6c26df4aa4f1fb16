//! The page `listeners`: names and addresses.

use std::fmt::Write;

use lateen_proxy_state::State;
use serde_json::{Value, json};

use super::socket_address;

/// `<name>::<address>` a line.
pub(super) fn as_text(state: &State) -> String {
    let mut out = String::new();
    for listener in state.listeners().iter() {
        if let Some(pipe) = &listener.socket.pipe {
            let _ = writeln!(out, "{}::{}", listener.name, pipe.path.display());
            continue;
        }
        for address in listener.addresses() {
            let _ = writeln!(out, "{}::{address}", listener.name);
        }
    }
    out
}

/// `envoy.admin.v3.Listeners`.
pub(super) fn as_json(state: &State) -> Value {
    let statuses: Vec<Value> = state
        .listeners()
        .iter()
        .map(|listener| {
            let local = match &listener.socket.pipe {
                Some(pipe) => json!({ "pipe": { "path": pipe.path.display().to_string() } }),
                None => socket_address(listener.address),
            };
            let mut status = json!({ "name": *listener.name, "local_address": local });
            if !listener.additional.is_empty() {
                let more: Vec<Value> = listener
                    .additional
                    .iter()
                    .map(|address| socket_address(*address))
                    .collect();
                status["additional_local_addresses"] = more.into();
            }
            status
        })
        .collect();
    json!({ "listener_statuses": statuses })
}
