//! What a control plane sends: bytes of clusters, endpoints, listeners, routes, secrets and filters, compiled and used.
//!
//! With `LATEEN_SEEDS=FROM:TO` the resources of the bootstraps in the folder FROM are written to the folder TO first.
#![no_main]

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderMap;
use lateen_proxy_balance::Balancer;
use lateen_proxy_model::{
    Balance, Choice, Connection, NoTemplates, OriginalDst, Permit, RequestView, Slot, Transport,
};
use lateen_proxy_route::{ByName, Decision, decide, find};
use lateen_proxy_state::{ResourceKind, State};
use lateen_proxy_sync::fuzzing::{resources, seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(
    init: write_seeds(),
    |bytes: &[u8]| {
        let Some(found) = split(bytes) else {
            return;
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let _inside = runtime.enter();
        let (state, _) = resources(&found);
        for (_, body) in &found {
            use_all(&state, &name_of(body));
        }
    }
);

/// Kind, length and message of each resource; the last one takes what is left.
fn split(mut bytes: &[u8]) -> Option<Vec<(ResourceKind, &[u8])>> {
    let mut found = Vec::new();
    while let [kind, more, low, high, rest @ ..] = bytes {
        let kind = ResourceKind::ALL[usize::from(*kind) % ResourceKind::ALL.len()];
        let length = usize::from(u16::from_le_bytes([*low, *high]));
        let length = match more {
            0 => rest.len(),
            _ => length.min(rest.len()),
        };
        let (body, rest) = rest.split_at(length);
        found.push((kind, body));
        bytes = rest;
        if found.len() == 4 {
            break;
        }
    }
    (!found.is_empty()).then_some(found)
}

/// The text in the first field of a message.
fn name_of(body: &[u8]) -> String {
    let [0x0a, length, rest @ ..] = body else {
        return String::new();
    };
    let text = rest.get(..usize::from(*length)).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

fn use_all(state: &Arc<State>, name: &str) {
    let mut headers = HeaderMap::new();
    headers.insert("x-user", "ann".parse().expect("a value"));
    headers.insert("cookie", "a=b; c=d".parse().expect("a value"));
    if let Some(cluster) = state.clusters().value(name) {
        let slot = Slot::filled(name, Arc::clone(&cluster));
        let balancer = Balancer::new(7, Box::new(|| 1_000));
        for hash in [None, Some(0), Some(u64::MAX)] {
            let choice = Choice {
                hash,
                original_dst: Some(SocketAddr::from(([127, 0, 0, 1], 80))),
                headers: Some(&headers),
                selection_attempts: 2,
                ..Choice::default()
            };
            let _ = balancer.choose(&slot, &cluster, &choice);
        }
    }
    if let Some(table) = state.routes().value(name) {
        for (authority, path) in [("a.test", "/"), ("b.test:80", "/x/y?z=1"), ("*", "*")] {
            let request = RequestView::of_head("GET", authority, path, &headers);
            let found = find(&table, &request, false, 42);
            let lookup = |name: &str| Slot::new(name);
            let by_name = ByName::new(&lookup);
            let permit = Permit::granted(None);
            if let Decision::Forward(target) = decide(permit, &found, &request, 42, &by_name) {
                let _ = target.rewrite_path(path, &headers, &NoTemplates);
                target.finish_response(&mut headers.clone(), &NoTemplates);
            }
        }
    }
    if let Some(listener) = state.listeners().named(name) {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let _ = listener.chains.find(&Connection {
            destination: OriginalDst(address),
            source: address,
            direct_source: address,
            transport: Transport::Tls,
            server_name: Some("a.test"),
            application: &[b"h2".to_vec()],
        });
    }
}

fn write_seeds() {
    let Ok(places) = std::env::var("LATEEN_SEEDS") else {
        return;
    };
    let (from, to) = places.split_once(':').expect("FROM:TO");
    let mut count = 0;
    for file in fs::read_dir(from).expect("a folder of bootstraps").flatten() {
        let Ok(text) = fs::read_to_string(file.path()) else {
            continue;
        };
        for (kind, body) in seeds(&text) {
            let place = ResourceKind::ALL.iter().position(|known| *known == kind);
            let kind = place.and_then(|place| u8::try_from(place).ok()).expect("a kind");
            let input = [&[kind, 0, 0, 0], &body[..]].concat();
            fs::write(format!("{to}/seed-{count}"), input).expect("written");
            count += 1;
        }
    }
}
