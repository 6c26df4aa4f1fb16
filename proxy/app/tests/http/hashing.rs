//! Consistent hashing: requests of one user go to one endpoint.

use std::time::Duration;

use http::header::{COOKIE, HeaderName, SET_COOKIE};
use lateen_proxy_model::{HashPolicy, HashSubject, LbPolicy, RouteForward};

use crate::mesh::{Mesh, Upstream, cluster, route, run, slot, to};

async fn upstreams() -> [Upstream; 3] {
    [
        Upstream::statuses(&[200]).await,
        Upstream::statuses(&[200]).await,
        Upstream::statuses(&[200]).await,
    ]
}

fn hashed(upstreams: &[Upstream], lb: LbPolicy, subject: HashSubject) -> RouteForward {
    let addresses: Vec<_> = upstreams.iter().map(|one| one.address).collect();
    let mut cluster = cluster(&addresses);
    cluster.lb = lb;
    let mut forward = to(slot(cluster));
    forward.hash = vec![HashPolicy {
        subject,
        terminal: false,
    }];
    forward
}

fn asked(upstreams: &[Upstream]) -> Vec<usize> {
    upstreams.iter().map(Upstream::asked).collect()
}

#[test]
fn a_header_names_the_endpoint() {
    run(|| async {
        for lb in [
            LbPolicy::Maglev { size: 101 },
            LbPolicy::RingHash {
                min: 1024,
                max: 4096,
            },
        ] {
            let upstreams = upstreams().await;
            let subject = HashSubject::Header {
                name: HeaderName::from_static("x-user"),
                rewrite: None,
            };
            let forward = hashed(&upstreams, lb, subject);
            let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
            for _ in 0..6 {
                mesh.get("/", &[("x-user", "somebody")]).await;
            }
            let seen = asked(&upstreams);
            assert_eq!(
                seen.iter().filter(|count| **count == 6).count(),
                1,
                "{seen:?}"
            );
            for user in 0..24 {
                mesh.get("/", &[("x-user", &format!("user {user}"))]).await;
            }
            let seen = asked(&upstreams);
            assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
        }
    });
}

#[test]
fn a_cookie_is_made_and_leads_back() {
    run(|| async {
        let upstreams = upstreams().await;
        let subject = HashSubject::Cookie {
            name: "stick".into(),
            path: "/".into(),
            ttl: Some(Duration::from_secs(60)),
            attributes: "".into(),
        };
        let forward = hashed(&upstreams, LbPolicy::Maglev { size: 101 }, subject);
        let mesh = Mesh::start(vec![route(forward)], |_| {}).await;
        let answer = mesh.get("/", &[]).await;
        let made = answer.headers()[SET_COOKIE].to_str().expect("text");
        assert!(made.ends_with("; Max-Age=60; Path=/; HttpOnly"), "{made}");
        let (pair, _) = made.split_once(';').expect("attributes");
        for _ in 0..5 {
            let answer = mesh.get("/", &[(COOKIE.as_str(), pair)]).await;
            assert!(!answer.headers().contains_key(SET_COOKIE));
        }
        let seen = asked(&upstreams);
        assert_eq!(
            seen.iter().filter(|count| **count == 6).count(),
            1,
            "{seen:?}"
        );
    });
}
