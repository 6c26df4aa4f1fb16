use std::collections::BTreeMap;

use bytes::Bytes;
use lateen_controlplane_model::affected::{Affected, Hosts, TypeSet};
use lateen_controlplane_model::generate::Rejection;
use serde_json::Map;

use super::*;

/// A configuration of named resources a type; EDS and RDS answer unknown names too, as the contract says.
#[derive(Default)]
struct Fake {
    version: String,
    resources: BTreeMap<&'static str, BTreeMap<String, u64>>,
}

impl Fake {
    fn new(version: &str, list: &[(&'static str, &[(&str, u64)])]) -> Self {
        let resources = list
            .iter()
            .map(|(url, named)| {
                (
                    *url,
                    named.iter().map(|(n, v)| ((*n).to_owned(), *v)).collect(),
                )
            })
            .collect();
        Self {
            version: version.to_owned(),
            resources,
        }
    }
}

impl Generate for Fake {
    fn version(&self) -> &str {
        &self.version
    }

    fn generate(&self, _: &Proxy, url: &str, names: &Names) -> Vec<Resource> {
        let empty = BTreeMap::new();
        let there = self.resources.get(url).unwrap_or(&empty);
        let resource = |name: &str, version: u64| Resource {
            name: name.into(),
            body: Bytes::from(version.to_string()),
            version,
        };
        match names {
            Names::Wildcard => there
                .iter()
                .map(|(name, version)| resource(name, *version))
                .collect(),
            Names::Set(names) => {
                let by_name = matches!(url, type_url::ENDPOINT | type_url::ROUTE);
                let found = names.iter().filter_map(|name| match there.get(&**name) {
                    Some(version) => Some(resource(name, *version)),
                    None => by_name.then(|| resource(name, 999)),
                });
                found.collect()
            }
        }
    }

    fn affected(&self, _: &Proxy, _: &Affected) -> Touched {
        Touched::everything()
    }

    fn rejections(&self) -> Arc<[Rejection]> {
        Arc::new([])
    }
}

fn proxy() -> Proxy {
    Proxy::parse(
        "sidecar~10.0.0.1~a.b~b.svc.cluster.local",
        Map::new(),
        "",
        "",
    )
    .expect("proxy")
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A session with what its tests say again and again.
struct Bench {
    session: Session,
    config: Fake,
    proxy: Proxy,
}

impl Bench {
    fn new(protocol: Protocol, config: Fake) -> Self {
        Self {
            session: Session::new(protocol),
            config,
            proxy: proxy(),
        }
    }

    fn step(
        &mut self,
        url: &str,
        nonce: &str,
        error: Option<&str>,
        asked: Asked,
    ) -> (Verdict, Option<Response>) {
        let request = Request {
            type_url: url.to_owned(),
            nonce: nonce.to_owned(),
            error: error.map(str::to_owned),
            asked,
        };
        let verdict = self.session.request(request).expect("request");
        let response = verdict
            .answer
            .as_ref()
            .and_then(|wanted| self.session.answer(url, wanted, &self.config, &self.proxy));
        (verdict, response)
    }

    fn delta(
        &mut self,
        url: &str,
        nonce: &str,
        subscribe: &[&str],
        unsubscribe: &[&str],
    ) -> Option<Response> {
        let asked = Asked::Delta {
            subscribe: owned(subscribe),
            unsubscribe: owned(unsubscribe),
            initial: Vec::new(),
        };
        self.step(url, nonce, None, asked).1
    }

    fn sotw(&mut self, url: &str, nonce: &str, names: &[&str]) -> Option<Response> {
        self.step(url, nonce, None, Asked::Sotw(owned(names))).1
    }

    fn push(&mut self, touched: &Touched) -> Vec<Response> {
        let mut forced = BTreeSet::new();
        let types = self.session.types();
        types
            .iter()
            .filter_map(|url| {
                self.session
                    .push(url, touched, &mut forced, &self.config, &self.proxy)
            })
            .collect()
    }

    fn state(&self, url: &str) -> State {
        self.session
            .status()
            .into_iter()
            .find(|status| status.type_url == url)
            .map_or(State::NotSent, |status| status.state)
    }
}

fn names(response: &Response) -> Vec<&str> {
    response
        .resources
        .iter()
        .map(|resource| &*resource.name)
        .collect()
}

const CDS: &str = type_url::CLUSTER;
const EDS: &str = type_url::ENDPOINT;
const LDS: &str = type_url::LISTENER;
const RDS: &str = type_url::ROUTE;
const SDS: &str = type_url::SECRET;

#[test]
fn first_delta_requests_are_answered_whole() {
    let config = Fake::new("v1", &[(CDS, &[("a", 1), ("b", 2)]), (RDS, &[("80", 1)])]);
    let mut bench = Bench::new(Protocol::Delta, config);
    let response = bench.delta(CDS, "", &[], &[]).expect("wildcard");
    assert_eq!(names(&response), ["a", "b"]);
    assert!(response.nonce.starts_with("v1") && response.nonce.len() == "v1".len() + 36);
    assert_eq!(
        names(&bench.delta(LDS, "", &["*"], &[]).expect("empty but there")),
        Vec::<&str>::new()
    );
    assert_eq!(
        names(
            &bench
                .delta(RDS, "", &["80", "unknown"], &[])
                .expect("by name")
        ),
        ["80", "unknown"]
    );
    assert!(
        bench
            .delta("type.googleapis.com/some.Unknown", "", &[], &[])
            .expect("unknown type")
            .resources
            .is_empty()
    );
    assert!(
        bench
            .delta(SDS, "", &["kubernetes://x"], &[])
            .expect("no such secret")
            .resources
            .is_empty()
    );
}

#[test]
fn acks_nacks_and_stale_nonces() {
    let mut bench = Bench::new(Protocol::Delta, Fake::new("v1", &[(CDS, &[("a", 1)])]));
    let first = bench.delta(CDS, "", &[], &[]).expect("answer");
    assert_eq!(bench.state(CDS), State::Stale);
    assert!(
        bench.delta(CDS, &first.nonce, &[], &[]).is_none(),
        "an ack is not answered"
    );
    assert_eq!(bench.state(CDS), State::Synced);
    bench.config = Fake::new("v2", &[(CDS, &[("a", 2)])]);
    let second = bench.push(&Touched::everything()).remove(0);
    let empty = || Asked::Delta {
        subscribe: vec![],
        unsubscribe: vec![],
        initial: vec![],
    };
    let (verdict, response) = bench.step(CDS, &second.nonce, Some("bad cluster"), empty());
    assert!(
        verdict.rejected && response.is_none(),
        "a NACK is recorded, not answered"
    );
    assert_eq!(bench.state(CDS), State::Error);
    assert_eq!(
        bench.session.status()[0].error.as_deref(),
        Some("bad cluster")
    );
    assert!(
        bench.push(&Touched::everything()).is_empty(),
        "no resend until the configuration changes"
    );
    bench.config = Fake::new("v3", &[(CDS, &[("a", 3)])]);
    let third = bench.push(&Touched::everything()).remove(0);
    let (verdict, response) = bench.step(CDS, &second.nonce, None, empty());
    assert!(verdict.stale && response.is_none());
    assert_eq!(
        bench.state(CDS),
        State::Error,
        "a stale ack changes nothing"
    );
    bench.delta(CDS, &third.nonce, &[], &[]);
    assert_eq!(bench.state(CDS), State::Synced);
}

#[test]
fn delta_names_come_and_go() {
    let config = Fake::new("v1", &[(EDS, &[("a", 1), ("b", 2), ("c", 3)])]);
    let mut bench = Bench::new(Protocol::Delta, config);
    let first = bench.delta(EDS, "", &["a"], &[]).expect("answer");
    let second = bench
        .delta(EDS, &first.nonce, &["a", "b"], &[])
        .expect("the new name alone");
    assert_eq!(names(&second), ["b"]);
    assert!(bench.delta(EDS, "", &["a"], &[]).is_none(), "already held");
    assert!(bench.delta(EDS, "", &[], &["a"]).is_none(), "unsubscribe");
    assert_eq!(
        names(&bench.delta(EDS, "", &["a"], &[]).expect("again")),
        ["a"]
    );
    assert_eq!(
        names(&bench.delta(EDS, "", &["b"], &["b"]).expect("both at once")),
        ["b"]
    );
    let stale = bench
        .delta(EDS, "stale", &["c"], &[])
        .expect("names of a stale request count");
    assert_eq!(names(&stale), ["c"]);
}

#[test]
fn listeners_are_sent_again_on_a_star() {
    let mut bench = Bench::new(Protocol::Delta, Fake::new("v1", &[(LDS, &[("l", 1)])]));
    bench.delta(LDS, "", &[], &[]);
    assert_eq!(
        names(&bench.delta(LDS, "", &["*"], &[]).expect("all")),
        ["l"]
    );
}

#[test]
fn a_reconnect_learns_what_is_gone() {
    let mut bench = Bench::new(Protocol::Delta, Fake::new("v1", &[(CDS, &[("a", 1)])]));
    let asked = Asked::Delta {
        subscribe: vec![],
        unsubscribe: vec![],
        initial: owned(&["a", "old"]),
    };
    let response = bench.step(CDS, "", None, asked).1.expect("answer");
    assert_eq!(
        (names(&response), response.removed.clone()),
        (vec!["a"], owned(&["old"]))
    );
    let asked = Asked::Delta {
        subscribe: owned(&["x"]),
        unsubscribe: vec![],
        initial: owned(&["y"]),
    };
    let response = bench.step(EDS, "", None, asked).1.expect("answer");
    assert_eq!(
        (names(&response), response.removed.clone()),
        (vec!["x", "y"], vec![])
    );
}

#[test]
fn a_push_sends_what_differs_in_order() {
    let one = "outbound|80||one";
    let two = "outbound|80||two";
    let all = |version, cluster, endpoint, listener| {
        Fake::new(
            version,
            &[
                (CDS, &[(one, cluster), (two, 1)]),
                (EDS, &[(one, 1), (two, endpoint)]),
                (LDS, &[("l", listener)]),
                (RDS, &[("80", 1)]),
            ],
        )
    };
    let mut bench = Bench::new(Protocol::Delta, all("v1", 1, 1, 1));
    bench.delta(RDS, "", &["80"], &[]);
    bench.delta(LDS, "", &[], &[]);
    bench.delta(EDS, "", &[one, two], &[]);
    bench.delta(CDS, "", &[], &[]);
    assert!(
        bench.push(&Touched::everything()).is_empty(),
        "nothing changed"
    );

    bench.config = all("v2", 1, 2, 1);
    let only_two = Touched {
        types: TypeSet::ENDPOINTS,
        endpoints: Hosts::Some([Arc::from("two")].into()),
    };
    let pushed = bench.push(&only_two);
    assert_eq!(
        (pushed.len(), pushed[0].type_url.as_str(), names(&pushed[0])),
        (1, EDS, vec![two])
    );

    bench.config = all("v3", 2, 2, 2);
    let pushed = bench.push(&Touched {
        types: TypeSet::CLUSTERS.union(TypeSet::LISTENERS),
        endpoints: Hosts::None,
    });
    let sent: Vec<(&str, Vec<&str>)> = pushed
        .iter()
        .map(|response| (response.type_url.as_str(), names(response)))
        .collect();
    assert_eq!(
        sent,
        [(CDS, vec![one]), (EDS, vec![one]), (LDS, vec!["l"])],
        "a replaced cluster gets its endpoints again"
    );

    bench.config = Fake::new("v4", &[(CDS, &[(two, 1)]), (LDS, &[("l", 2)])]);
    let pushed = bench.push(&Touched {
        types: TypeSet::CLUSTERS,
        endpoints: Hosts::None,
    });
    assert_eq!(
        (pushed.len(), pushed[0].removed.clone()),
        (1, owned(&[one]))
    );
}

#[test]
fn sotw_sends_clusters_whole_and_names_by_need() {
    let mut bench = Bench::new(
        Protocol::Sotw,
        Fake::new(
            "v1",
            &[(CDS, &[("a", 1), ("b", 1)]), (EDS, &[("a", 1), ("b", 1)])],
        ),
    );
    let clusters = bench.sotw(CDS, "", &[]).expect("whole");
    assert!(bench.sotw(CDS, &clusters.nonce, &[]).is_none());
    let first = bench.sotw(EDS, "", &["a"]).expect("a");
    let second = bench
        .sotw(EDS, &first.nonce, &["a", "b"])
        .expect("added names");
    assert_eq!(names(&second), ["b"]);
    assert!(bench.sotw(EDS, &first.nonce, &["a"]).is_none(), "stale");
    assert!(
        bench.sotw(EDS, &second.nonce, &["b"]).is_none(),
        "removals alone"
    );
    bench.config = Fake::new(
        "v2",
        &[(CDS, &[("a", 1), ("b", 2)]), (EDS, &[("a", 1), ("b", 1)])],
    );
    let pushed = bench.push(&Touched::everything());
    let sent: Vec<(&str, Vec<&str>)> = pushed
        .iter()
        .map(|response| (response.type_url.as_str(), names(response)))
        .collect();
    assert_eq!(sent, [(CDS, vec!["a", "b"]), (EDS, vec!["b"])]);
    assert!(
        bench.sotw(EDS, &pushed[1].nonce, &[]).is_none(),
        "an empty list gives the subscription up"
    );
    assert!(bench.session.names(EDS).is_none());
    assert_eq!(
        names(&bench.sotw(EDS, "", &["a"]).expect("a new one")),
        ["a"]
    );
    assert_eq!(
        names(
            &bench
                .sotw(CDS, "", &[])
                .expect("an empty nonce starts over")
        ),
        ["a", "b"]
    );
}

#[test]
fn sotw_removed_clusters_are_missing_from_the_whole() {
    let mut bench = Bench::new(
        Protocol::Sotw,
        Fake::new("v1", &[(CDS, &[("a", 1), ("b", 1)])]),
    );
    bench.sotw(CDS, "", &[]);
    bench.config = Fake::new("v2", &[(CDS, &[("a", 1)])]);
    let pushed = bench.push(&Touched::everything());
    assert_eq!((names(&pushed[0]), pushed[0].removed.len()), (vec!["a"], 0));
}

#[test]
fn floods_are_refused() {
    let mut session = Session::new(Protocol::Delta);
    let request = |url: String, subscribe: Vec<String>| Request {
        type_url: url,
        nonce: String::new(),
        error: None,
        asked: Asked::Delta {
            subscribe,
            unsubscribe: vec![],
            initial: vec![],
        },
    };
    assert_eq!(
        session.request(request(String::new(), vec![])),
        Err(RequestError::NoType)
    );
    assert_eq!(
        session.request(request("t".into(), vec!["x".repeat(MAX_NAME + 1)])),
        Err(RequestError::Names)
    );
    let many = (0..=MAX_NAMES).map(|i| i.to_string()).collect();
    assert_eq!(
        session.request(request(EDS.into(), many)),
        Err(RequestError::Names)
    );
    for i in 1..MAX_TYPES {
        assert!(session.request(request(format!("type{i}"), vec![])).is_ok());
    }
    assert_eq!(
        session.request(request("one more".into(), vec![])),
        Err(RequestError::TooManyTypes)
    );
}
