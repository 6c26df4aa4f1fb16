use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{StatusCode, uri::Scheme};
use lateen_proxy_model::{
    AppendAction, DirectResponse, HeaderMutations, HeaderRule, HeaderText, HostRewrite,
    NoTemplates, Overrides, PathMatcher, PathRewrite, Percentage, Redirect, RequireTls, RouteMatch,
    Slot, WeightedDraw,
};
use regex::Regex;

use super::*;
use crate::find::find;
use crate::finish::NewHost;

fn prefix(value: &str) -> PathMatcher {
    PathMatcher::Prefix {
        value: value.into(),
        ignore_case: false,
    }
}

fn on(path: PathMatcher) -> RouteMatch {
    RouteMatch::on(path)
}

fn forward(cluster: ClusterChoice) -> RouteForward {
    RouteForward {
        timeout: Some(Duration::from_secs(3)),
        grpc_timeout_max: Some(Duration::ZERO),
        ..RouteForward::to(cluster)
    }
}

fn names() -> &'static ByName<'static> {
    Box::leak(Box::new(ByName::new(&|name| Slot::new(name))))
}

fn rule(name: &'static str, value: &'static str) -> HeaderMutations {
    let rule = HeaderRule {
        name: HeaderName::from_static(name),
        text: HeaderText::Literal(HeaderValue::from_static(value)),
        action: AppendAction::AppendOrAdd,
        keep_empty: false,
    };
    HeaderMutations::new(Vec::new(), vec![rule])
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
        metadata: None,
    })
}

fn route_with(forward: RouteForward) -> Route {
    Arc::into_inner(route(
        on(prefix("/")),
        RouteAction::Forward(Box::new(forward)),
    ))
    .expect("just made")
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
    decide(Permit::granted(None), &found, request, random, names())
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
        cluster: NamedCluster::Fixed(Slot::new(name)),
        weight,
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        host_rewrite: None,
        overrides: None,
    };
    let choice = ClusterChoice::Weighted {
        clusters: vec![candidate("v1", 80), candidate("v2", 20)],
        total: 100,
        draw: WeightedDraw::Random,
    };
    let first = (0..1000_u64)
        .filter(|step| {
            let random = step * (u64::from(u32::MAX) / 1000);
            matches!(choose_cluster(&choice, random),
                Some((Chosen::Slot(slot), _)) if &**slot.name() == "v1")
        })
        .count();
    assert!((799..=801).contains(&first), "{first}");
    for (value, wanted) in [(0, "v1"), (79, "v1"), (80, "v2"), (99, "v2"), (179, "v1")] {
        let fixed = fixed_draw(u64::MAX, value, 100);
        let chosen = choose_cluster(&choice, fixed);
        assert!(
            matches!(chosen, Some((Chosen::Slot(slot), _)) if &**slot.name() == wanted),
            "{value}"
        );
        assert_eq!(fixed >> 32, u64::from(u32::MAX));
    }
}

#[test]
fn a_header_may_name_the_cluster() {
    let choice = ClusterChoice::Header(HeaderName::from_static("x-cluster"));
    let table = table(vec![route(
        on(prefix("/")),
        RouteAction::Forward(Box::new(forward(choice))),
    )]);
    let mut headers = HeaderMap::new();
    headers.insert("x-cluster", HeaderValue::from_static("named"));
    let decision = run(&table, &view("h", "/", &headers), 0);
    assert_eq!(cluster_of(&decision).as_deref(), Some("named"));
}

#[test]
fn the_order_of_levels_is_the_tables() {
    for (last, wanted) in [(false, ["r", "h", "t"]), (true, ["t", "h", "r"])] {
        let mut table = table(vec![]);
        let mut own = route_with(forward(one("c")));
        own.request_headers = rule("x", "r");
        table.hosts = vec![Arc::new(VirtualHost {
            routes: vec![Arc::new(own)],
            request_headers: rule("x", "h"),
            ..VirtualHost::default()
        })];
        table.request_headers = rule("x", "t");
        table.most_specific_last = last;
        let mut headers = HeaderMap::new();
        let Decision::Forward(target) = run(&table, &view("h", "/", &headers), 0) else {
            panic!("not forwarded");
        };
        target.finish_request("/", &mut headers, &NoTemplates);
        let got: Vec<_> = headers.get_all("x").iter().cloned().collect();
        assert_eq!(got, wanted);
    }
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
        rewrite: None,
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
        decide(Permit::granted(None), &found, &request, 0, names()),
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
            format: None,
        }),
        request_headers: HeaderMutations::default(),
        response_headers: HeaderMutations::default(),
        overrides: Overrides::NONE,
        cors: None,
        tracing: None,
        metadata: None,
    };
    direct.response_headers = rule("x-r", "1");
    let table = table(vec![Arc::new(direct)]);
    let headers = HeaderMap::new();
    let Decision::Answer(answer) = run(&table, &view("h", "/", &headers), 0) else {
        panic!("no answer");
    };
    let mut out = HeaderMap::new();
    answer.finish_response(&mut out, &NoTemplates);
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
        let rewritten = target.finish_request(before, &mut headers, &NoTemplates);
        assert_eq!(rewritten.path.as_deref(), Some(after));
        assert!(matches!(rewritten.host, Some(NewHost::Value(host)) if host == "other"));
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
        Decision::Forward(target) => {
            target
                .times(&view("h", "/", headers), false, false, None)
                .total
        }
        _ => None,
    };
    assert_eq!(timeout(&headers), Some(Duration::from_secs(3)));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-timeout", HeaderValue::from_static("5S"));
    assert_eq!(timeout(&headers), Some(Duration::from_secs(5)));
}
