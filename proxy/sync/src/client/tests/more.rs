//! State of the world, files, times.

use std::fs;
use std::path::Path;

use envoy_types::pb::google::protobuf as wkt;

use super::*;
use crate::source::PathSource;

fn configured(state: &Arc<State>, dynamic: Dynamic) -> Client {
    let logs = |_: AccessLogSpec| Ok(AccessLogRef(0));
    let config = ClientConfig {
        node: Node {
            id: "n".into(),
            ..Node::default()
        },
        last_good: None,
        reject_fragment: false,
        dynamic: Some(dynamic),
    };
    Client::new(Arc::clone(state), Arc::new(logs), config)
}

/// A client that follows one scripted server by the state of the world.
fn sotw_client(state: &Arc<State>, connector: Arc<InMemory>) -> Client {
    let mut client = client(state, None);
    let lines = vec![Line {
        connector,
        backoff: Some((Duration::from_millis(1), Duration::from_millis(2))),
        max_message: None,
    }];
    client.open_lines(ADS, None, (Variant::Sotw, true), lines);
    client
}

impl SotwTalk {
    async fn expect(&mut self, kind: ResourceKind) -> DiscoveryRequest {
        let request = self.requests.recv().await.expect("the stream lives");
        assert_eq!(request.type_url, type_of(kind).type_url(), "{request:?}");
        request
    }

    fn send(&self, kind: ResourceKind, version: &str, resources: Vec<Resource>) {
        let packed = |one: Resource| match one.ttl {
            Some(_) => any::pack(&one),
            None => one.resource.expect("a resource"),
        };
        let response = DiscoveryResponse {
            version_info: version.into(),
            type_url: type_of(kind).type_url().into(),
            nonce: format!("n{version}"),
            resources: resources.into_iter().map(packed).collect(),
            ..DiscoveryResponse::default()
        };
        let _ = self.responses.send(Ok(response));
    }
}

async fn until(state: &State, test: impl Fn(&State) -> bool) {
    let waiting = async {
        while !test(state) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("in time");
}

#[tokio::test]
async fn the_state_of_the_world_is_followed() {
    let state = State::new();
    let (connector, _delta, mut streams) = planes();
    let mut client = sotw_client(&state, connector);
    let running = tokio::spawn(async move { client.serve().await });
    let mut talk = streams.recv().await.expect("a stream");
    let first = talk.expect(C).await;
    assert!(first.node.is_some() && first.resource_names.is_empty());
    assert!(talk.expect(L).await.node.is_none());
    talk.send(C, "1", vec![cluster("a"), cluster("b")]);
    let ack = talk.expect(C).await;
    assert_eq!((&*ack.version_info, &*ack.response_nonce), ("1", "n1"));
    assert_eq!(talk.expect(E).await.resource_names, ["a", "b"]);
    talk.send(E, "1", vec![endpoints("a")]);
    talk.expect(E).await;
    talk.send(E, "2", vec![endpoints("b")]);
    assert_eq!(talk.expect(E).await.version_info, "2");
    assert!(state.clusters().value("a").is_some() && state.clusters().value("b").is_some());

    // One is refused: the others of the answer are applied, and the version in use is told.
    let bad = resource::<Cluster>(
        "a",
        &json!({"name": "a", "lb_policy": "LOAD_BALANCING_POLICY_CONFIG"}),
    );
    talk.send(C, "2", vec![bad, cluster("c")]);
    let nack = talk.expect(C).await;
    assert_eq!((&*nack.version_info, &*nack.response_nonce), ("1", "n2"));
    let detail = nack.error_detail.expect("refused").message;
    assert!(detail.starts_with("Cluster \"a\": "), "{detail}");
    assert!(state.clusters().value("a").is_some(), "from before");
    let asked = talk.expect(E).await;
    assert_eq!(asked.resource_names, ["a", "c"], "b is gone");
    assert!(state.clusters().value("b").is_none());

    drop(talk);
    let mut talk = streams.recv().await.expect("a new stream");
    let again = talk.expect(C).await;
    assert_eq!((&*again.version_info, &*again.response_nonce), ("1", ""));
    assert_eq!(talk.expect(E).await.resource_names, ["a", "c"]);
    running.abort();
}

#[tokio::test]
async fn resources_end_with_their_time_unless_they_show_a_sign_of_life() {
    let state = State::new();
    let (connector, mut streams) = plane();
    let running = tokio::spawn(client(&state, None).run(connector));
    let mut talk = streams.recv().await.expect("a stream");
    talk.expect(C).await;
    talk.expect(L).await;
    let mortal = |name: &str, millis: i32, whole: bool| {
        let mut one = cluster(name);
        one.ttl = Some(wkt::Duration {
            seconds: 0,
            nanos: millis * 1_000_000,
        });
        if !whole {
            one.resource = None;
        }
        one
    };
    talk.send(C, "1", vec![mortal("a", 300, true), mortal("b", 300, true)]);
    talk.expect(C).await;
    talk.expect(E).await;
    let signs = vec![mortal("a", 999, false)];
    talk.send(C, "2", signs);
    assert!(talk.expect(C).await.error_detail.is_none());
    until(&state, |state| state.resources().accepted(C, "b").is_none()).await;
    assert!(state.resources().accepted(C, "a").is_some());
    until(&state, |state| state.resources().accepted(C, "a").is_none()).await;
    running.abort();
}

#[tokio::test]
async fn an_answer_that_names_a_resource_twice_is_refused_whole() {
    let state = State::new();
    let (connector, mut streams) = plane();
    let running = tokio::spawn(client(&state, None).run(connector));
    let mut talk = streams.recv().await.expect("a stream");
    talk.expect(C).await;
    talk.expect(L).await;
    talk.send(C, "1", vec![cluster("a"), cluster("b"), cluster("a")]);
    let nack = talk.expect(C).await.error_detail.expect("refused");
    assert_eq!(nack.message, "Cluster \"a\": given twice");
    assert!(state.resources().names(C).is_empty());
    running.abort();
}

fn file(path: &Path, watched: Option<&Path>) -> Option<(Source, Option<Duration>)> {
    let source = PathSource {
        path: path.to_owned(),
        watched: watched.map(ToOwned::to_owned),
    };
    Some((Source::Path(source), Some(Duration::from_secs(15))))
}

/// Replaces a file as a whole.
fn put(path: &Path, value: &Value) {
    let other = path.with_extension("new");
    fs::write(&other, value.to_string()).expect("written");
    fs::rename(other, path).expect("renamed");
}

fn typed(kind: &str, mut value: Value) -> Value {
    value["@type"] = format!("type.googleapis.com/envoy.config.{kind}").into();
    value
}

#[tokio::test]
async fn files_are_followed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let one = |port: u16| {
        typed(
            "cluster.v3.Cluster",
            json!({ "name": "a", "type": "EDS", "connect_timeout": format!("{port}s"),
            "eds_cluster_config": { "service_name": "local", "eds_config": { "path_config_source": { "path": path("eds.json") } } } }),
        )
    };
    let hosts = |port: u16| {
        typed(
            "endpoint.v3.ClusterLoadAssignment",
            json!({ "cluster_name": "local", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": { "socket_address": { "address": "10.0.0.1", "port_value": port } } } }] }] }),
        )
    };
    put(
        &path("cds.json"),
        &json!({ "version_info": "1", "resources": [one(1)] }),
    );
    put(
        &path("eds.json"),
        &json!({ "version_info": "1", "resources": [hosts(80)] }),
    );
    let state = State::new();
    let dynamic = Dynamic {
        clusters: file(&path("cds.json"), None),
        ..Dynamic::default()
    };
    let mut client = configured(&state, dynamic);
    let faults = client.static_faults(StaticResources::default());
    assert!(faults.is_empty());
    let running = tokio::spawn(client.run_bootstrap());
    let port = |state: &State| {
        let cluster = state.clusters().value("a")?;
        let set = cluster.endpoints()?.load_full()?;
        set.iter().next().map(|one| one.address.port())
    };
    until(&state, |state| port(state) == Some(80)).await;
    assert_eq!(state.readiness().counts(C).success, 1);

    put(
        &path("eds.json"),
        &json!({ "version_info": "2", "resources": [hosts(81)] }),
    );
    until(&state, |state| port(state) == Some(81)).await;

    // A file that cannot be read, and one with a resource that is refused, leave what is there.
    put(&path("cds.json"), &json!("nonsense"));
    until(&state, |state| state.readiness().counts(C).failure == 1).await;
    put(
        &path("cds.json"),
        &json!({ "resources": [{ "@type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "l" }] }),
    );
    until(&state, |state| state.readiness().counts(C).rejected == 1).await;
    assert!(port(&state).is_some());
    put(
        &path("cds.json"),
        &json!({ "version_info": "4", "resources": [] }),
    );
    until(&state, |state| state.clusters().value("a").is_none()).await;
    assert_eq!(
        state.readiness().control_plane().versions[C as usize],
        "4".into()
    );
    running.abort();
}

#[tokio::test]
async fn what_does_not_come_is_not_waited_for_longer_than_said() {
    let state = State::new();
    let mut client = configured(
        &state,
        Dynamic {
            ads: Some(ApiSource {
                variant: Variant::Delta,
                servers: vec![crate::source::Server {
                    target: crate::source::Target::Address("127.0.0.1:1".into()),
                    metadata: Vec::new(),
                    backoff: None,
                    max_message: None,
                }],
                node_once: true,
            }),
            listeners: Some((Source::Ads, Some(Duration::from_millis(50)))),
            ..Dynamic::default()
        },
    );
    let held = resource::<Listener>(
        "l",
        &json!({"name": "l", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x", "rds": {"route_config_name": "r", "config_source": {"ads": {}, "initial_fetch_timeout": "0.05s"}},
        "http_filters": [{"name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}]}),
    );
    let mut resources = StaticResources::default();
    resources.of(L).push(Incoming {
        name: "l".into(),
        version: "".into(),
        body: held.resource.expect("a body").value.into(),
        is_static: true,
        time_to_live: None,
    });
    assert_eq!(client.static_faults(resources), Vec::<String>::new());
    assert!(state.listeners().is_empty() && !state.readiness().facts().listeners);
    let running = tokio::spawn(client.run_bootstrap());
    until(&state, |state| state.listeners().len() == 1).await;
    until(&state, |state| state.readiness().facts().listeners).await;
    assert_eq!(state.readiness().counts(ResourceKind::Route).timeout, 1);
    assert_eq!(state.readiness().counts(L).timeout, 1);
    running.abort();
}
