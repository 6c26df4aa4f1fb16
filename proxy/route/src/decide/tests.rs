use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, uri::Scheme};
use lateen_proxy_model::{
    DirectResponse, HeaderMutations, HostRewrite, Overrides, PathMatcher, PathRewrite, Percentage,
    Redirect, RequireTls, RouteMatch, Slot,
};
use regex::Regex;

use super::*;
use crate::find::find;

fn prefix(value: &str) -> PathMatcher {
    PathMatcher::Prefix {
        value: value.into(),
        ignore_case: false,
    }
}

fn on(path: PathMatcher) -> RouteMatch {
    RouteMatch {
        path,
        headers: Vec::new(),
        query: Vec::new(),
        fraction: None,
        grpc: false,
    }
}

fn forward(cluster: ClusterChoice) -> RouteForward {
    RouteForward {
        subset: None,
        high: false,
        cluster,
        cluster_not_found: StatusCode::SERVICE_UNAVAILABLE,
        timeout: Some(Duration::from_secs(3)),
        grpc_timeout_max: Some(Duration::ZERO),
        idle_timeout: None,
        retry: None,
        path_rewrite: None,
        host_rewrite: None,
        mirrors: Vec::new(),
        hash: Vec::new(),
        rate_limits: None,
        upgrades: Vec::new(),
    }
}

fn route(matches: RouteMatch, action: RouteAction) -> Arc<Route> {
    Arc::new(Route {
        name: "r".into(),
        matches,
        action,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: Overrides::NONE,
        cors: None,
        tracing: None,
    })
}

fn table(routes: Vec<Arc<Route>>) -> RouteTable {
    RouteTable {
        hosts: vec![Arc::new(VirtualHost {
            routes,
            ..VirtualHost::default()
        })],
        any: Some(0),
        ..RouteTable::default()
    }
}

fn one(name: &str) -> ClusterChoice {
    ClusterChoice::One(Slot::new(name))
}

fn view<'a>(authority: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView::of_head("GET", authority, path, headers)
}

fn run<'a>(table: &'a RouteTable, request: &RequestView<'_>, random: u64) -> Decision<'a> {
    let found = find(table, request, false, random);
    decide(Permit::granted(None), &found, request, random)
}

fn cluster_of(decision: &Decision<'_>) -> Option<String> {
    match decision {
        Decision::Forward(target) => Some(target.cluster.name().to_string()),
        _ => None,
    }
}

#[test]
fn the_first_route_that_holds_wins() {
    let to = |name| RouteAction::Forward(Box::new(forward(one(name))));
    let mut half = on(prefix("/half"));
    half.fraction = Some(Percentage(500_000));
    let table = table(vec![
        route(
            on(PathMatcher::Exact {
                value: "/a".into(),
                ignore_case: false,
            }),
            to("exact"),
        ),
        route(half, to("half")),
        route(on(prefix("/")), to("rest")),
    ]);
    let headers = HeaderMap::new();
    let found = |path: &str, random| cluster_of(&run(&table, &view("h", path, &headers), random));
    assert_eq!(found("/a?x=1", 0).as_deref(), Some("exact"));
    assert_eq!(found("/ab", 0).as_deref(), Some("rest"));
    assert_eq!(found("/half", 0).as_deref(), Some("half"));
    assert_eq!(found("/half", u64::MAX).as_deref(), Some("rest"));
}

#[test]
fn weights_share_requests() {
    let candidate = |name: &str, weight| WeightedCluster {
        subset: None,
        cluster: Slot::new(name),
        weight,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        host_rewrite: None,
        overrides: None,
    };
    let choice = ClusterChoice::Weighted {
        clusters: vec![candidate("v1", 80), candidate("v2", 20)],
        total: 100,
    };
    let first = (0..1000_u64)
        .filter(|step| {
            let random = step * (u64::from(u32::MAX) / 1000);
            choose_cluster(&choice, random).is_some_and(|(slot, _)| &**slot.name() == "v1")
        })
        .count();
    assert!((799..=801).contains(&first), "{first}");
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn redirects_follow_envoys_rules() {
    let base = Redirect {
        host: None,
        port: None,
        scheme: None,
        https: false,
        path: None,
        prefix: None,
        strip_query: false,
        status: StatusCode::MOVED_PERMANENTLY,
    };
    let cases = [
        (
            Redirect {
                host: Some("new".into()),
                ..base.clone()
            },
            "h:80",
            "/old/x?q=1",
            "http://new/old/x?q=1",
        ),
        (
            Redirect {
                https: true,
                ..base.clone()
            },
            "h:80",
            "/old/x",
            "https://h/old/x",
        ),
        (
            Redirect {
                https: true,
                ..base.clone()
            },
            "h:8080",
            "/old/x",
            "https://h:8080/old/x",
        ),
        (
            Redirect {
                scheme: Some(Scheme::HTTPS),
                port: Some(8443),
                ..base.clone()
            },
            "[::1]:80",
            "/old",
            "https://[::1]:8443/old",
        ),
        (
            Redirect {
                path: Some("/p".into()),
                ..base.clone()
            },
            "h",
            "/old?q=1",
            "http://h/p?q=1",
        ),
        (
            Redirect {
                path: Some("/p?z=2".into()),
                strip_query: true,
                ..base.clone()
            },
            "h",
            "/old?q=1",
            "http://h/p?z=2",
        ),
        (
            Redirect {
                prefix: Some("/new".into()),
                strip_query: true,
                ..base.clone()
            },
            "h",
            "/old/x?q=1",
            "http://h/new/x",
        ),
    ];
    let headers = HeaderMap::new();
    for (redirect, authority, path, wanted) in cases {
        let table = table(vec![route(
            on(prefix("/old")),
            RouteAction::Redirect(redirect),
        )]);
        let Decision::Answer(answer) = run(&table, &view(authority, path, &headers), 0) else {
            panic!("no answer for {path}");
        };
        assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
        assert_eq!(answer.location.expect("location"), wanted);
    }
}

#[test]
fn plain_text_is_sent_to_https() {
    let mut table = table(vec![]);
    table.hosts[0] = Arc::new(VirtualHost {
        require_tls: RequireTls::All,
        ..VirtualHost::default()
    });
    let headers = HeaderMap::new();
    let Decision::Answer(answer) = run(&table, &view("h:80", "/a?b", &headers), 0) else {
        panic!("no answer");
    };
    assert_eq!(answer.location.expect("location"), "https://h:80/a?b");
    let request = view("h:80", "/a?b", &headers);
    let found = find(&table, &request, true, 0);
    assert!(matches!(
        decide(Permit::granted(None), &found, &request, 0),
        Decision::NotFound
    ));
}

#[test]
fn fixed_answers_carry_their_body_and_headers() {
    let mut direct = Route {
        name: "d".into(),
        matches: on(prefix("/")),
        action: RouteAction::Direct(DirectResponse {
            status: StatusCode::BAD_GATEWAY,
            body: Bytes::from_static(b"no"),
        }),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: Overrides::NONE,
        cors: None,
        tracing: None,
    };
    direct.response_headers.set.push((
        HeaderName::from_static("x-r"),
        HeaderValue::from_static("1"),
    ));
    let table = table(vec![Arc::new(direct)]);
    let headers = HeaderMap::new();
    let Decision::Answer(answer) = run(&table, &view("h", "/", &headers), 0) else {
        panic!("no answer");
    };
    let mut out = HeaderMap::new();
    answer.finish_response(&mut out);
    assert_eq!(
        (answer.status, &answer.body[..]),
        (StatusCode::BAD_GATEWAY, &b"no"[..])
    );
    assert_eq!(out["x-r"], "1");
}

#[test]
fn rewrites_keep_the_query_and_the_old_path() {
    let cases = [
        (
            prefix("/api/"),
            PathRewrite::Prefix("/".into()),
            "/api/x?q=1",
            "/x?q=1",
        ),
        (
            PathMatcher::SegmentPrefix {
                value: "/api".into(),
                ignore_case: false,
            },
            PathRewrite::Prefix("".into()),
            "/api",
            "/",
        ),
        (
            prefix("/"),
            PathRewrite::Regex {
                pattern: Regex::new("/s/([^/]+)").expect("valid"),
                replacement: "/t/${1}".into(),
            },
            "/s/a/b?q",
            "/t/a/b?q",
        ),
    ];
    for (path, rewrite, before, after) in cases {
        let mut action = forward(one("c"));
        action.path_rewrite = Some(rewrite);
        action.host_rewrite = Some(HostRewrite::Literal(HeaderValue::from_static("other")));
        let table = table(vec![route(
            on(path),
            RouteAction::Forward(Box::new(action)),
        )]);
        let mut headers = HeaderMap::new();
        let Decision::Forward(target) = run(&table, &view("h", before, &headers), 0) else {
            panic!("not forwarded: {before}");
        };
        let rewritten = target.finish_request(before, &mut headers);
        assert_eq!(rewritten.path.as_deref(), Some(after));
        assert!(matches!(rewritten.host, Some(HostRewrite::Literal(host)) if host == "other"));
        assert_eq!(headers["x-envoy-original-path"], before);
    }
}

#[test]
fn grpc_requests_may_bring_their_timeout() {
    let table = table(vec![route(
        on(prefix("/")),
        RouteAction::Forward(Box::new(forward(one("c")))),
    )]);
    let mut headers = HeaderMap::new();
    let timeout = |headers: &HeaderMap| match run(&table, &view("h", "/", headers), 0) {
        Decision::Forward(target) => target.timeout(&view("h", "/", headers)),
        _ => None,
    };
    assert_eq!(timeout(&headers), Some(Duration::from_secs(3)));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-timeout", HeaderValue::from_static("5S"));
    assert_eq!(timeout(&headers), Some(Duration::from_secs(5)));
}
