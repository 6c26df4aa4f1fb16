use super::*;

fn world(http: &str) -> World {
    let rule = format!(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: default}}
spec:
  hosts: [reviews]
  http:
{http}
"
    );
    World::new(&[BOOKINFO, &rule])
}

fn routes(http: &str) -> Value {
    world(http).host(
        &productpage(),
        "9080",
        "reviews.default.svc.cluster.local:9080",
    )["routes"]
        .clone()
}

#[test]
fn a_service_without_rules() {
    let world = World::new(&[BOOKINFO]);
    let host = world.host(
        &productpage(),
        "9080",
        "reviews.default.svc.cluster.local:9080",
    );
    assert_eq!(
        host["domains"],
        json!([
            "reviews.default.svc.cluster.local",
            "reviews.default.svc.cluster.local.",
            "reviews",
            "reviews.default",
            "reviews.default.svc",
            "10.96.0.5"
        ])
    );
    assert_eq!(host["include_request_attempt_count"], true);
    let route = &host["routes"][0];
    assert_eq!(route["name"], "default");
    assert_eq!(
        route["decorator"]["operation"],
        "reviews.default.svc.cluster.local:9080/*"
    );
    assert_eq!(route["route"]["timeout"], "0s");
    let retry = &route["route"]["retry_policy"];
    assert_eq!(
        retry["retry_on"],
        "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
    );
    assert_eq!(
        (
            &retry["num_retries"],
            &retry["host_selection_retry_max_attempts"]
        ),
        (&json!(2), &json!("5"))
    );
    assert_eq!(
        retry["retry_host_predicate"][0]["name"],
        "envoy.retry_host_predicates.previous_hosts"
    );
    let table = world.routes(&productpage(), "9080");
    assert_eq!(
        (
            &table["ignore_port_in_host_matching"],
            &table["validate_clusters"]
        ),
        (&json!(true), &json!(false))
    );
    assert_eq!(names_of(&table["virtual_hosts"]).last(), Some(&"allow_any"));
    let unused = world.routes(&productpage(), "4444");
    assert_eq!(names_of(&unused["virtual_hosts"]), ["allow_any"]);
    let other = proxy_of("sidecar", "elsewhere", "10.9.9.9", &json!({}), true);
    let host = world.host(&other, "9080", "reviews.default.svc.cluster.local:9080");
    assert_eq!(
        host["domains"][2], "reviews.default",
        "no bare name from another namespace"
    );
}

#[test]
fn weights() {
    let routes = routes(
        "
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v2}, weight: 0}
    - {destination: {host: reviews, subset: v3}, weight: 50}
",
    );
    assert_eq!(
        routes[0]["route"]["weighted_clusters"]["clusters"],
        json!([
            {"name": "outbound|9080|v1|reviews.default.svc.cluster.local", "weight": 50},
            {"name": "outbound|9080|v3|reviews.default.svc.cluster.local", "weight": 50},
        ])
    );
    assert_eq!(
        routes[0]["metadata"]["filter_metadata"]["istio"]["config"],
        "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews"
    );
    assert_eq!(routes[0]["decorator"]["operation"], "reviews:9080/*");
}

#[test]
fn matches() {
    let routes = routes(
        "
  - name: jason
    match:
    - headers: {end-user: {exact: jason}}
      withoutHeaders: {x-skip: {prefix: y}, x-no: {}}
      uri: {prefix: /api}
      method: {exact: GET}
      authority: {regex: '.*[.]com'}
      queryParams: {q: {exact: '1'}}
      ignoreUriCase: true
    - {uri: {exact: /x}, port: 1}
    - {uri: {regex: '/r.*'}, sourceLabels: {app: productpage}, sourceNamespace: default}
    - {uri: {exact: /y}, sourceLabels: {app: other}}
    - {uri: {regex: '('}}
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
  - route: [{destination: {host: reviews, subset: v3}}]
",
    );
    assert_eq!(routes.as_array().map(Vec::len), Some(3), "{routes:#}");
    let first = &routes[0]["match"];
    assert_eq!(
        (&first["prefix"], &first["case_sensitive"]),
        (&json!("/api"), &json!(false))
    );
    assert_eq!(
        first["headers"],
        json!([
            {"name": "end-user", "string_match": {"exact": "jason"}},
            {"name": "x-no", "present_match": true, "invert_match": true},
            {"name": "x-skip", "string_match": {"prefix": "y"}, "invert_match": true, "treat_missing_header_as_empty": true},
            {"name": ":method", "string_match": {"exact": "GET"}},
            {"name": ":authority", "string_match": {"safe_regex": {"regex": ".*[.]com"}}},
        ])
    );
    assert_eq!(
        first["query_parameters"],
        json!([{"name": "q", "string_match": {"exact": "1"}}])
    );
    assert_eq!(routes[0]["name"], "jason");
    assert_eq!(
        routes[0]["decorator"]["operation"],
        "reviews.default.svc.cluster.local:9080/api*"
    );
    assert_eq!(routes[1]["match"]["safe_regex"], json!({"regex": "/r.*"}));
    assert_eq!(
        routes[2]["route"]["cluster"],
        "outbound|9080|v1|reviews.default.svc.cluster.local"
    );
}

#[test]
#[allow(clippy::too_many_lines)] // One route with everything on it.
fn timeouts_retries_faults_and_rewrites() {
    let routes = routes("
  - match: [{uri: {prefix: /a}}]
    timeout: 0.5s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: '5xx,429'}
    fault: {delay: {percentage: {value: 12.5}, fixedDelay: 7s}, abort: {percentage: {value: 100}, httpStatus: 500}}
    rewrite: {uri: /b, authority: other.com}
    mirror: {host: details}
    mirrorPercentage: {value: 10}
    headers: {request: {set: {x-a: '1'}, add: {x-b: '2'}, remove: [x-c]}, response: {add: {x-d: '3'}}}
    corsPolicy: {allowOrigins: [{exact: 'https://a.com'}], allowMethods: [GET, POST], maxAge: 24h, allowCredentials: true}
    route: [{destination: {host: reviews, subset: v1}, headers: {request: {set: {host: v1.example.com, x-e: '5'}}}}]
  - retries: {attempts: 0}
    route: [{destination: {host: reviews}}]
");
    let route = &routes[0];
    let action = &route["route"];
    assert_eq!(
        (&action["timeout"], &action["max_grpc_timeout"]),
        (&json!("0.500s"), &json!("0.500s"))
    );
    assert_eq!(
        action["retry_policy"]["retry_on"],
        "5xx,retriable-status-codes"
    );
    assert_eq!(
        action["retry_policy"]["retriable_status_codes"],
        json!([429])
    );
    assert_eq!(
        (
            &action["retry_policy"]["num_retries"],
            &action["retry_policy"]["per_try_timeout"]
        ),
        (&json!(3), &json!("2s"))
    );
    assert_eq!(action["prefix_rewrite"], "/b");
    assert_eq!(
        action["host_rewrite_literal"], "v1.example.com",
        "the destination's host wins"
    );
    let mirror = &action["request_mirror_policies"][0];
    assert_eq!(
        mirror["cluster"],
        "outbound|9080||details.default.svc.cluster.local"
    );
    assert_eq!(
        mirror["runtime_fraction"]["default_value"],
        json!({"numerator": 100_000, "denominator": "MILLION"})
    );
    assert_eq!(
        (
            &mirror["trace_sampled"],
            &mirror["disable_shadow_host_suffix_append"]
        ),
        (&json!(false), &json!(true))
    );
    let fault = &route["typed_per_filter_config"]["envoy.filters.http.fault"];
    assert_eq!(
        fault["delay"],
        json!({"fixed_delay": "7s", "percentage": {"numerator": 125_000, "denominator": "MILLION"}})
    );
    assert_eq!(fault["abort"]["http_status"], 500);
    let cors = &route["typed_per_filter_config"]["envoy.filters.http.cors"];
    assert_eq!(
        (
            &cors["allow_methods"],
            &cors["max_age"],
            &cors["forward_not_matching_preflights"]
        ),
        (&json!("GET,POST"), &json!("86400"), &json!(true))
    );
    let added: Vec<&str> = route["request_headers_to_add"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|h| h["header"]["key"].as_str())
        .collect();
    assert_eq!(added, ["x-e", "x-a", "x-b"]);
    assert_eq!(
        route["request_headers_to_add"][1]["append_action"],
        "OVERWRITE_IF_EXISTS_OR_ADD"
    );
    assert_eq!(route["request_headers_to_remove"], json!(["x-c"]));
    assert_eq!(routes[1]["route"]["retry_policy"], Value::Null);
}

#[test]
fn redirects_and_direct_responses() {
    let routes = routes(
        "
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, authority: a.com, redirectCode: 308, scheme: https, port: 8443}
  - match: [{uri: {prefix: /teapot}}]
    directResponse: {status: 418, body: {string: short}}
  - route: [{destination: {host: reviews}}]
",
    );
    assert_eq!(
        routes[0]["redirect"],
        json!({
            "host_redirect": "a.com", "path_redirect": "/new", "port_redirect": 8443, "response_code": "PERMANENT_REDIRECT", "scheme_redirect": "https",
        })
    );
    assert_eq!(
        routes[1]["direct_response"],
        json!({"status": 418, "body": {"inline_string": "short"}})
    );
}

#[test]
fn consistent_hashing_reaches_the_route() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details, namespace: default}
spec: {host: details, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
";
    let world = World::new(&[BOOKINFO, rule]);
    let host = world.host(
        &productpage(),
        "9080",
        "details.default.svc.cluster.local:9080",
    );
    assert_eq!(
        host["routes"][0]["route"]["hash_policy"],
        json!([{"header": {"header_name": "x-user"}}])
    );
    let cluster = world.cluster(
        &productpage(),
        "outbound|9080||details.default.svc.cluster.local",
    );
    assert_eq!(cluster["lb_policy"], "RING_HASH");
    assert_eq!(cluster["ring_hash_lb_config"]["minimum_ring_size"], "1024");
}

#[test]
fn hosts_nobody_knows_and_rules_that_compete() {
    let rules = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default, creationTimestamp: '2026-01-01T00:00:00Z'}
spec: {hosts: [nobody.example.com, reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: default, creationTimestamp: '2026-02-01T00:00:00Z'}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v2}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: c, namespace: default}
spec: {hosts: ['*.default.svc.cluster.local'], http: [{name: wild, route: [{destination: {host: details}}]}]}
";
    let world = World::new(&[BOOKINFO, rules]);
    let table = world.routes(&productpage(), "9080");
    assert!(
        !names_of(&table["virtual_hosts"])
            .iter()
            .any(|name| name.starts_with("nobody")),
        "only on port 80"
    );
    let reviews = world.host(
        &productpage(),
        "9080",
        "reviews.default.svc.cluster.local:9080",
    );
    assert_eq!(
        reviews["routes"][0]["route"]["cluster"],
        "outbound|9080|v1|reviews.default.svc.cluster.local",
        "the oldest wins"
    );
    let ratings = world.host(
        &productpage(),
        "9080",
        "ratings.default.svc.cluster.local:9080",
    );
    assert_eq!(
        ratings["routes"][0]["name"], "wild",
        "a wildcard takes what no closer rule has"
    );
    let eighty = world.routes(&productpage(), "80");
    assert!(
        names_of(&eighty["virtual_hosts"]).contains(&"nobody.example.com:80"),
        "{eighty:#}"
    );
}

#[test]
fn what_cannot_be_done_is_told() {
    let world = world(
        "
  - match: [{uri: {regex: '('}}, {headers: {'@request.auth.claims.sub': {exact: a}}}]
    route: [{destination: {host: reviews, subset: v9}}]
  - fault: {abort: {http2Error: X, percentage: {value: 1}}}
    route: [{destination: {host: reviews}}]
",
    );
    let told: Vec<String> = world
        .config
        .rejections()
        .iter()
        .map(ToString::to_string)
        .collect();
    let about = |field: &str| {
        told.iter()
            .any(|text| text.starts_with(&format!("VirtualService default/reviews: {field}: ")))
    };
    for field in [
        "spec.http[0].match[0].uri.regex",
        "spec.http[0].match[1].headers.@request.auth.claims.sub",
        "spec.http[0].route[0].destination.subset",
        "spec.http[1].fault.abort.http2Error",
    ] {
        assert!(about(field), "{field} in {told:#?}");
    }
}
