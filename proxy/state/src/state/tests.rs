use std::net::SocketAddr;

use lateen_proxy_model::{
    ChainTable, ListenSocket, ListenerBind, ListenerFilters, OriginalDst, TrafficDirection,
};

use super::*;

fn listener(name: &str, address: &str) -> Listener {
    Listener {
        name: name.into(),
        fingerprint: 0,
        address: address.parse().expect("address"),
        additional: Vec::new(),
        bind: ListenerBind::HandOver,
        direction: TrafficDirection::Outbound,
        socket: ListenSocket::default(),
        filters: ListenerFilters::default(),
        limit: None,
        chains: ChainTable::default(),
        exempt: Default::default(),
        access_log: Vec::new(),
    }
}

fn names(list: &[Arc<Listener>]) -> Vec<String> {
    list.iter().map(|one| one.name.to_string()).collect()
}

#[test]
fn a_destination_finds_its_exact_listener_before_the_wildcard() {
    let state = State::new();
    state.update_listeners(
        vec![
            listener("0.0.0.0_80", "0.0.0.0:80"),
            listener("10.0.0.1_80", "10.0.0.1:80"),
            listener("::_81", "[::]:81"),
        ],
        &[] as &[&str],
    );
    let listeners = state.listeners();
    let found = |address: &str| {
        let address: SocketAddr = address.parse().expect("address");
        listeners
            .for_destination(OriginalDst(address))
            .map(|one| one.name.to_string())
    };
    assert_eq!(found("10.0.0.1:80").as_deref(), Some("10.0.0.1_80"));
    assert_eq!(
        found("[::ffff:10.0.0.1]:80").as_deref(),
        Some("10.0.0.1_80")
    );
    assert_eq!(found("10.0.0.2:80").as_deref(), Some("0.0.0.0_80"));
    assert_eq!(found("[fd00::1]:80"), None);
    assert_eq!(found("10.0.0.2:81").as_deref(), Some("::_81"));
    assert_eq!(found("10.0.0.2:82"), None);
}

#[tokio::test]
async fn followers_see_the_sum_of_what_they_missed() {
    let state = State::new();
    let mut watch = state.watch_listeners();
    state.update_listeners(
        vec![listener("a", "0.0.0.0:1"), listener("b", "0.0.0.0:2")],
        &[] as &[&str],
    );
    let first = watch.next().await.expect("state lives");
    assert_eq!(names(&first.added), ["a", "b"]);
    state.update_listeners(vec![listener("b", "0.0.0.0:3")], &["a"]);
    state.update_listeners(vec![listener("c", "0.0.0.0:4")], &[] as &[&str]);
    let second = watch.next().await.expect("state lives");
    assert_eq!(names(&second.added), ["c"]);
    assert_eq!(names(&second.changed), ["b"]);
    assert_eq!(names(&second.removed), ["a"]);
    drop(state);
    assert!(watch.next().await.is_none());
}
