//! What is found wrong, by its text and place.

use super::*;
use crate::object::parse_documents;

const SERVICES: &str = "\
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
";

fn problems(files: &[(&str, &str)], complete: bool) -> Vec<String> {
    let mut objects = Vec::new();
    for (name, text) in files {
        let parsed = parse_documents(name, text, "default");
        assert_eq!(parsed.problems, [], "{text}");
        objects.extend(parsed.objects);
    }
    let options = CheckOptions {
        complete,
        ..CheckOptions::default()
    };
    check_all(&objects, options)
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn route(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r}}\nspec:\n  hosts: [reviews]\n  http:\n{http}"
    )
}

#[test]
fn a_route_must_lead_somewhere() {
    let to = |destination: &str| route(&format!("  - route:\n    - destination: {destination}\n"));
    for (destination, complete, said) in [
        ("{host: reviews, subset: v2}", true, None),
        (
            "{host: reviews.default.svc.cluster.local, subset: v1, port: {number: 9080}}",
            true,
            None,
        ),
        (
            "{host: reviews, subset: v9}",
            false,
            Some(
                "r.yaml:8:36: VirtualService default/r: spec.http[0].route[0].destination.subset: \
                  reviews.default.svc.cluster.local has no subset `v9`: DestinationRule default/reviews (s.yaml:6) defines v1, v2",
            ),
        ),
        (
            "{host: ratings, subset: v1}",
            true,
            Some(
                "ratings.default.svc.cluster.local has no subset `v1`: no DestinationRule has this host",
            ),
        ),
        ("{host: ratings, subset: v1}", false, None),
        (
            "{host: ratings}",
            true,
            Some(
                "spec.http[0].route[0].destination.host: no Service or ServiceEntry has the host ratings.default.svc.cluster.local",
            ),
        ),
        (
            "{host: reviews, port: {number: 80}}",
            true,
            Some(
                "destination.port.number: reviews.default.svc.cluster.local has no port 80, but 9080",
            ),
        ),
    ] {
        let found = problems(
            &[("s.yaml", SERVICES), ("r.yaml", &to(destination))],
            complete,
        );
        match said {
            Some(said) => assert!(
                found.iter().any(|line| line.contains(said)),
                "{destination}: {found:#?}"
            ),
            None => assert_eq!(found, Vec::<String>::new(), "{destination}"),
        }
    }
}

#[test]
fn a_gateway_and_a_delegate_must_exist() {
    let text = route("  - {delegate: {name: d, namespace: other}}\n")
        .replace("  hosts:", "  gateways: [mesh, edge]\n  hosts:");
    let found = problems(&[("r.yaml", &text)], true);
    assert_eq!(
        found,
        [
            "r.yaml:5:20: VirtualService default/r: spec.gateways[1]: there is no Gateway default/edge",
            "r.yaml:8:6: VirtualService default/r: spec.http[0].delegate: there is no VirtualService other/d without hosts to delegate to",
        ]
    );
    assert_eq!(problems(&[("r.yaml", &text)], false), Vec::<String>::new());
}

#[test]
fn the_same_object_in_two_files_names_both() {
    let found = problems(&[("a.yaml", SERVICES), ("b.yaml", SERVICES)], true);
    assert_eq!(
        found,
        [
            "b.yaml:1:1: Service default/reviews: is given twice, first at a.yaml:1: take one out",
            "b.yaml:6:1: DestinationRule default/reviews: is given twice, first at a.yaml:6: take one out",
        ]
    );
}
