//! The order in which changes become visible.

use envoy_types::pb::envoy::config::cluster::v3::Cluster as WireCluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener as WireListener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use lateen_proxy_model::{AccessLogRef, OriginalDst};
use lateen_xds::json::message_from_json;
use prost::Name;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::wire::context::AccessLogSpec;

fn applier() -> (Arc<State>, Applier) {
    let state = State::new();
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let resolvers = Resolvers::new(Arc::new(Notify::new()));
    let known = (resolvers, Arc::new(Sources::new(true, true)));
    let applier = Applier::new(Arc::clone(&state), Arc::new(logs), false, known);
    (state, applier)
}

fn incoming<M: Message + Name + Default>(name: &str, value: &Value) -> Incoming {
    let message: M = message_from_json(value).expect("valid JSON of the message");
    Incoming {
        name: name.into(),
        version: "1".into(),
        body: message.encode_to_vec().into(),
        is_static: false,
        time_to_live: None,
    }
}

fn cluster(name: &str) -> Incoming {
    incoming::<WireCluster>(
        name,
        &json!({"name": name, "type": "EDS", "eds_cluster_config": {"eds_config":
            {"ads": {}, "initial_fetch_timeout": "0s"}}}),
    )
}

fn endpoints(name: &str, ip: &str) -> Incoming {
    incoming::<ClusterLoadAssignment>(
        name,
        &json!({"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address":
            {"socket_address": {"address": ip, "port_value": 80}}}}]}]}),
    )
}

fn listener(name: &str, routes: &str) -> Incoming {
    incoming::<WireListener>(
        name,
        &json!({"name": name, "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "x", "rds": {"route_config_name": routes, "config_source": {"ads": {}}},
            "http_filters": [{"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}),
    )
}

fn routes(name: &str, cluster: &str) -> Incoming {
    incoming::<RouteConfiguration>(
        name,
        &json!({"name": name, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"prefix": "/"}, "route": {"cluster": cluster}}]}]}),
    )
}

fn target(state: &State, table: &str) -> Option<String> {
    let table = state.routes().value(table)?;
    match &table.hosts[0].routes[0].action {
        lateen_proxy_model::RouteAction::Forward(forward) => match &forward.cluster {
            lateen_proxy_model::ClusterChoice::One(slot) => Some(slot.name().to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn put(applier: &mut Applier, kind: ResourceKind, resources: Vec<Incoming>, now: Instant) {
    let errors = applier.apply(kind, resources, &[], false, now);
    assert!(errors.is_empty(), "{errors:?}");
    if matches!(kind, ResourceKind::Cluster | ResourceKind::Listener) {
        applier.answered(kind, now);
    }
}

use ResourceKind::{Cluster as C, Endpoint as E, Listener as L, Route as R};

#[test]
fn nothing_is_visible_before_what_it_needs() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, C, vec![cluster("a")], now);
    assert!(state.clusters().value("a").is_none());
    assert!(!state.readiness().facts().clusters);
    assert_eq!(applier.wanted().endpoints.len(), 1);
    put(&mut applier, L, vec![listener("l", "r")], now);
    assert!(state.listeners().is_empty());
    put(&mut applier, R, vec![routes("r", "a")], now);
    assert!(
        state.routes().value("r").is_none(),
        "names a waiting cluster"
    );
    put(&mut applier, E, vec![endpoints("a", "10.0.0.1")], now);
    assert!(state.clusters().value("a").is_some());
    assert_eq!(target(&state, "r").as_deref(), Some("a"));
    let at = OriginalDst("10.9.9.9:80".parse().expect("address"));
    assert!(state.listeners().for_destination(at).is_some());
    let facts = state.readiness().facts();
    assert!(facts.clusters && facts.listeners);
}

#[test]
fn a_changed_route_never_names_a_missing_cluster() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, C, vec![cluster("a")], now);
    put(&mut applier, E, vec![endpoints("a", "10.0.0.1")], now);
    put(&mut applier, L, vec![listener("l", "r")], now);
    put(&mut applier, R, vec![routes("r", "a")], now);
    // The control plane replaces a by b: first the clusters, then the routes.
    let removed = ["a".to_owned()];
    let errors = applier.apply(C, vec![cluster("b")], &removed, false, now);
    assert!(errors.is_empty());
    assert!(
        state.clusters().value("a").is_some(),
        "a route still names it"
    );
    put(&mut applier, R, vec![routes("r", "b")], now);
    assert_eq!(
        target(&state, "r").as_deref(),
        Some("a"),
        "b has no endpoints yet"
    );
    put(&mut applier, E, vec![endpoints("b", "10.0.0.2")], now);
    assert_eq!(target(&state, "r").as_deref(), Some("b"));
    applier.flush(now);
    assert!(state.clusters().value("a").is_none());
    assert!(state.endpoints().value("a").is_none());
    assert!(state.resources().accepted(E, "a").is_none());
}

#[test]
fn a_removed_cluster_does_not_stay_for_ever() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, C, vec![cluster("a")], now);
    put(&mut applier, E, vec![endpoints("a", "10.0.0.1")], now);
    let held = state.clusters().slot("a");
    applier.apply(C, Vec::new(), &["a".to_owned()], false, now);
    assert!(held.load().is_some());
    let due = applier.deadline().expect("a deadline");
    applier.flush(due);
    assert!(held.load().is_none());
    assert_eq!(applier.deadline(), None);
}

#[test]
fn a_refused_resource_keeps_its_version_from_before_and_the_others_are_applied() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, C, vec![cluster("a")], now);
    put(&mut applier, E, vec![endpoints("a", "10.0.0.1")], now);
    let bad = incoming::<WireCluster>(
        "a",
        &json!({"name": "a", "type": "STATIC", "lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}),
    );
    let errors = applier.apply(C, vec![bad, cluster("b")], &[], false, now);
    assert_eq!(
        errors,
        ["Cluster \"a\": lb_policy: LOAD_BALANCING_POLICY_CONFIG is not supported"]
    );
    assert!(state.clusters().value("a").is_some());
    assert!(applier.wanted().endpoints.contains("b"));
    let rejected = state.resources().rejections(C);
    assert_eq!(&*rejected[0].0, "a");
    let renamed = Incoming {
        name: "other".into(),
        ..cluster("a")
    };
    let errors = applier.apply(C, vec![renamed], &[], false, now);
    assert_eq!(errors.len(), 1);
}

#[test]
fn a_full_answer_removes_what_it_does_not_hold() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, C, vec![cluster("a"), cluster("b")], now);
    put(
        &mut applier,
        E,
        vec![endpoints("a", "10.0.0.1"), endpoints("b", "10.0.0.2")],
        now,
    );
    let before = state.clusters().value("a");
    applier.apply(C, vec![cluster("a")], &[], true, now);
    applier.flush(now);
    assert!(state.clusters().value("b").is_none());
    let after = state.clusters().value("a");
    assert!(
        before
            .zip(after)
            .is_some_and(|(one, two)| Arc::ptr_eq(&one, &two)),
        "an unchanged resource is not built anew"
    );
}

#[test]
fn a_cluster_whose_endpoints_are_unknown_to_the_server_becomes_visible() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, C, vec![cluster("a")], now);
    applier.apply(E, Vec::new(), &["a".to_owned()], false, now);
    assert!(state.clusters().value("a").is_some());
}

#[test]
fn refused_routes_do_not_keep_their_listener_away() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, L, vec![listener("l", "r")], now);
    let bad = incoming::<RouteConfiguration>("r", &json!({"name": "r", "vhds": {}}));
    let errors = applier.apply(R, vec![bad], &[], false, now);
    assert_eq!(errors, ["Route \"r\": vhds: not supported by this proxy"]);
    assert_eq!(state.listeners().len(), 1);
    put(&mut applier, R, vec![routes("r", "a")], now);
    assert_eq!(target(&state, "r").as_deref(), Some("a"));
    applier.apply(L, Vec::new(), &["l".to_owned()], false, now);
    assert!(state.listeners().is_empty() && state.routes().value("r").is_none());
    assert!(applier.wanted().routes.is_empty());
}

#[test]
fn a_secret_from_the_control_plane_fills_its_slot() {
    use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
    let (state, mut applier) = applier();
    let now = Instant::now();
    let name = "kubernetes://credential";
    let own = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("generated");
    let secret = incoming::<Secret>(
        name,
        &json!({"name": name, "tls_certificate": {
            "certificate_chain": {"inline_string": own.cert.pem()},
            "private_key": {"inline_string": own.signing_key.serialize_pem()}}}),
    );
    let slot = state.secrets().identity(name);
    put(&mut applier, ResourceKind::Secret, vec![secret], now);
    assert_eq!(slot.load_full().expect("filled").chain.len(), 1);
    let bad = incoming::<Secret>(
        name,
        &json!({"name": name, "tls_certificate": {"certificate_chain": {"inline_string": "x"}}}),
    );
    let errors = applier.apply(ResourceKind::Secret, vec![bad], &[], false, now);
    assert!(errors[0].contains("tls_certificate.certificate_chain: holds no certificate"));
    assert!(slot.load().is_some(), "the certificate from before stays");
}

fn discovered(name: &str, early: bool) -> Incoming {
    let fault = |status: u32| {
        json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
            "abort": {"http_status": status, "percentage": {"numerator": 100}}})
    };
    let mut discovery = json!({"config_source": {"ads": {}, "initial_fetch_timeout": "3s"},
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"]});
    if early {
        discovery["default_config"] = fault(500);
        discovery["apply_default_config_without_warming"] = true.into();
    }
    incoming::<WireListener>(
        name,
        &json!({"name": name, "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "x", "route_config": {"name": "r"},
            "http_filters": [{"name": "own", "config_discovery": discovery}, {"name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}),
    )
}

fn extension(kind: &str) -> Incoming {
    use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    incoming::<TypedExtensionConfig>(
        "own",
        &json!({"name": "own", "typed_config": {"@type": kind}}),
    )
}

#[test]
fn a_listener_waits_for_its_discovered_filters() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    let kind = ResourceKind::Extension;
    put(&mut applier, L, vec![discovered("l", false)], now);
    assert!(applier.wanted().extensions.contains("own"));
    assert!(state.listeners().is_empty());
    let errors = applier.apply(kind, vec![extension("cors.v3.Cors")], &[], false, now);
    assert!(errors[0].contains("is none of type_urls"), "{errors:?}");
    assert_eq!(state.listeners().len(), 1, "a refusal is not waited on");
    assert!(state.extensions().value("own").is_none());
    let fault = extension("fault.v3.HTTPFault");
    put(&mut applier, kind, vec![fault], now);
    assert!(state.extensions().value("own").is_some());
    applier.apply(kind, Vec::new(), &["own".to_owned()], false, now);
    assert!(state.extensions().value("own").is_none(), "no default");
    applier.apply(L, Vec::new(), &["l".to_owned()], false, now);
    assert!(applier.wanted().extensions.is_empty());
}

#[test]
fn a_default_is_in_force_without_waiting_or_after_it() {
    let (state, mut applier) = applier();
    let now = Instant::now();
    put(&mut applier, L, vec![discovered("l", true)], now);
    assert_eq!(state.listeners().len(), 1);
    assert!(state.extensions().value("own").is_some(), "the default");
    put(&mut applier, L, vec![discovered("other", false)], now);
    assert_eq!(state.listeners().len(), 2, "it was given up already");
    let (state, mut applier) = self::applier();
    put(&mut applier, L, vec![discovered("l", false)], now);
    let due = applier.deadline().expect("a deadline");
    assert_eq!(due, now + Duration::from_secs(3));
    applier.flush(due);
    assert_eq!(state.listeners().len(), 1);
    let counts = state.readiness().counts(ResourceKind::Extension);
    assert_eq!(counts.timeout, 1);
}
