//! Clusters without lists of endpoints, tunnels, and what stands before them.

use lateen_proxy_model::{AddressFamily, ConnectionFilter, ForwardHost};

use super::*;

fn dns_cache(more: &Value) -> Value {
    let mut cache = json!({"name": "c", "dns_lookup_family": "V4_ONLY"});
    for (key, value) in more.as_object().expect("object") {
        cache[key] = value.clone();
    }
    cache
}

fn forward_cluster(cache: &Value, more: &Value) -> Value {
    let mut cluster = json!({"name": "f", "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.dynamic_forward_proxy", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig",
        "dns_cache_config": cache}}});
    for (key, value) in more.as_object().expect("object") {
        cluster[key] = value.clone();
    }
    cluster
}

fn tls() -> Value {
    json!({"name": "tls", "typed_config": {"@type":
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}})
}

fn options(more: Value) -> Value {
    let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let mut options = more;
    options["@type"] = format!("type.googleapis.com/{kind}").into();
    json!({kind: options})
}

#[test]
fn a_forward_proxy_names_and_verifies_servers_by_the_host() {
    let state = State::new();
    let plain = build_cluster(&state, &forward_cluster(&dns_cache(&json!({})), &json!({})));
    let plain = plain.expect("supported").cluster;
    let ClusterKind::Forward { cache, port: 80 } = &plain.kind else {
        panic!("{:?}", plain.kind);
    };
    assert_eq!(
        (cache.settings.max_hosts, cache.settings.max_pending),
        (1024, 1024)
    );
    let secured = json!({"transport_socket": tls()});
    let secured = build_cluster(&state, &forward_cluster(&dns_cache(&json!({})), &secured));
    let secured = secured.expect("supported").cluster;
    let own = secured.transports[0].tls.as_ref().expect("TLS");
    assert!(own.auto_sni && own.auto_san);
    let ClusterKind::Forward {
        cache: other,
        port: 443,
    } = &secured.kind
    else {
        panic!("{:?}", secured.kind);
    };
    assert!(Arc::ptr_eq(cache, other));
}

#[test]
fn what_a_forward_proxy_cannot_do_is_refused() {
    let state = State::new();
    let held = build_cluster(&state, &forward_cluster(&dns_cache(&json!({})), &json!({})));
    let held = held.expect("supported");
    let place = "cluster_type.typed_config.dns_cache_config";
    for (cache, more, path) in [
        (json!({"max_hosts": 5}), json!({}), format!("{place}.name")),
        (
            json!({"name": "d", "max_hosts": 0}),
            json!({}),
            format!("{place}.max_hosts"),
        ),
        (
            json!({"name": "d", "dns_min_refresh_rate": "0.5s"}),
            json!({}),
            format!("{place}.dns_min_refresh_rate"),
        ),
        (
            json!({"name": "d", "key_value_config": {"config": {"name": "x"}}}),
            json!({}),
            format!("{place}.key_value_config"),
        ),
        (
            json!({}),
            json!({"lb_policy": "ROUND_ROBIN"}),
            "lb_policy".to_owned(),
        ),
        (
            json!({}),
            json!({"transport_socket": tls(), "typed_extension_protocol_options": options(
            json!({"upstream_http_protocol_options": {"auto_sni": true},
                "explicit_http_config": {"http_protocol_options": {}}}))}),
            "upstream_http_protocol_options".to_owned(),
        ),
    ] {
        let refused = build_cluster(&state, &forward_cluster(&dns_cache(&cache), &more));
        let refused = refused.err().expect("refused");
        assert_eq!(refused.path, path, "{refused}");
    }
    drop(held);
    // Nobody holds the cache any more: it may be another.
    let changed = forward_cluster(&dns_cache(&json!({"max_hosts": 5})), &json!({}));
    assert!(build_cluster(&state, &changed).is_ok());
}

#[test]
fn clusters_are_made_of_others() {
    let state = State::new();
    let made = build_cluster(
        &state,
        &json!({"name": "a", "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": {"name": "envoy.clusters.aggregate", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig",
        "clusters": ["b", "c"]}}, "upstream_connection_options": {"happy_eyeballs_config": {
        "first_address_family_version": "V6", "first_address_family_count": 2}}}),
    );
    let made = made.expect("supported").cluster;
    let ClusterKind::Aggregate { clusters } = &made.kind else {
        panic!("{:?}", made.kind);
    };
    assert!(clusters.iter().map(|one| &**one.name()).eq(["b", "c"]));
    assert_eq!(made.options.first_family, (Some(AddressFamily::V6), 2));
}

#[test]
fn the_protocol_is_agreed_on_by_tls_alone() {
    let state = State::new();
    let auto = options(json!({"auto_config": {"http2_protocol_options": {}}}));
    let mut value = json!({"name": "a", "typed_extension_protocol_options": auto});
    let refused = build_cluster(&state, &value).err().expect("refused");
    assert_eq!(refused.path, "transport_socket");
    value["transport_socket"] = tls();
    let made = build_cluster(&state, &value).expect("supported");
    assert_eq!(made.cluster.http, HttpProtocol::Auto);
}

fn tcp_listener(filters: &[Value], proxy: &Value) -> Value {
    let mut tcp = json!({"@type":
        "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "t", "cluster": "c"});
    for (key, value) in proxy.as_object().expect("object") {
        tcp[key] = value.clone();
    }
    let mut all: Vec<Value> = filters.to_vec();
    all.push(tcp);
    let all: Vec<Value> = all
        .iter()
        .map(|it| json!({"name": "f", "typed_config": it}))
        .collect();
    json!({"name": "l", "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "listener_filters": [{"name": "s", "typed_config": {"@type":
        "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc",
        "mark": 1337}}],
        "filter_chains": [{"filters": all}]})
}

#[test]
fn tcp_goes_through_tunnels_and_is_looked_at() {
    let state = State::new();
    let sni = json!({"@type":
        "type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
        "dns_cache_config": dns_cache(&json!({}))});
    let mongo = json!({"@type":
        "type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy",
        "stat_prefix": "m", "delay": {"percentage": {"numerator": 5}, "fixed_delay": "1s"}});
    let proxy = json!({"upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 9,
        "tunneling_config": {"hostname": "%REQUESTED_SERVER_NAME%:443", "use_post": true,
        "post_path": "/p", "headers_to_add": [{"header": {"key": "a", "value": "b"}}]}});
    let made = build_listener(&state, &tcp_listener(&[sni, mongo], &proxy)).expect("supported");
    let listener = made.listener;
    let filter = &listener.filters.entries[0].filter;
    assert!(matches!(filter, ListenerFilter::OriginalSrc(1337)));
    let chain = listener.chains.all().next().expect("a chain");
    let kinds = chain.filters.iter().map(|entry| match &entry.filter {
        ConnectionFilter::ForwardProxy(proxy) => proxy.port.to_string(),
        ConnectionFilter::Mongo(mongo) => mongo.commands.join(" "),
        other => panic!("{other:?}"),
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["443", "delete insert update"]);
    let NetworkFilter::Tcp(proxy) = &chain.filter else {
        panic!("no TCP proxy");
    };
    assert_eq!(proxy.early_data, Some(9));
    let tunnel = proxy.tunnel.as_ref().expect("a tunnel");
    assert_eq!(tunnel.post.as_ref().expect("POST").as_str(), "/p");
}

#[test]
fn what_tunnels_cannot_do_is_refused() {
    let state = State::new();
    for (proxy, path) in [
        (json!({"tunneling_config": {}}), "tunneling_config.hostname"),
        (
            json!({"tunneling_config": {"hostname": "a:1", "post_path": "/a"}}),
            "tunneling_config.post_path",
        ),
        (
            json!({"tunneling_config": {"hostname": "a:1", "request_id_header": "a"}}),
            "tunneling_config.request_id_header",
        ),
        (
            json!({"upstream_connect_mode": "ON_DOWNSTREAM_DATA"}),
            "max_early_data_bytes",
        ),
    ] {
        let refused = build_listener(&state, &tcp_listener(&[], &proxy));
        let refused = refused.err().expect("refused");
        assert!(refused.path.ends_with(path), "{refused}");
    }
}

#[test]
fn routes_end_connect_and_choose_hosts() {
    let state = State::new();
    let table = |action: Value| {
        json!({"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [
            {"match": {"connect_matcher": {}}, "route": action, "typed_per_filter_config": {"f": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.dynamic_forward_proxy.v3.PerRouteConfig",
            "host_rewrite_header": "x-host"}}}]}]})
    };
    let made = build_routes(
        &state,
        &table(json!({"cluster": "c", "upgrade_configs": [
        {"upgrade_type": "CONNECT", "connect_config": {"allow_post": true,
        "proxy_protocol_config": {"version": "V2"}}}]})),
    );
    let made = made.expect("supported");
    let route = &made.hosts[0].routes[0];
    let setting = route.overrides.find("f").expect("set").config.as_ref();
    let Some(FilterOverride::ForwardProxy(ForwardHost::Header(name))) = setting else {
        panic!("{setting:?}");
    };
    assert_eq!(name, "x-host");
    let RouteAction::Forward(forward) = &route.action else {
        panic!("no forwarding");
    };
    let end = forward.connect.expect("CONNECT ends here");
    assert!(end.post && end.upstream.proxy_protocol == Some(2));
    let refused = build_routes(
        &state,
        &table(json!({"cluster": "c", "upgrade_configs": [
        {"upgrade_type": "websocket", "connect_config": {}}]})),
    );
    let refused = refused.unwrap_err();
    assert!(
        refused.path.ends_with("upgrade_configs[0].connect_config"),
        "{refused}"
    );
}
