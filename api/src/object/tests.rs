//! Reading files into objects.

use super::*;
use crate::networking::{HttpDelayDuration, StringMatchKind};

const ROUTES: &str = "\
# Routes of reviews.
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata:
  name: reviews
  labels: {app: reviews}
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
      ignore_uri_case: true
    fault:
      delay:
        percentage: {value: 100.0}
        fixedDelay: 7s
    route:
    - destination:
        host: reviews
        subset: v2
      weight: 100
    timeout: 0.5s
";

fn read(text: &str) -> Parsed {
    parse_documents("a.yaml", text, "default")
}

fn lines(parsed: &Parsed) -> Vec<String> {
    parsed.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_virtual_service_is_typed_and_knows_its_lines() {
    let parsed = read(ROUTES);
    assert_eq!(lines(&parsed), Vec::<String>::new());
    let object = &parsed.objects[0];
    assert_eq!(
        object.key,
        ObjectKey::new(Kind::VirtualService, "default", "reviews")
    );
    assert_eq!(object.meta.labels["app"], "reviews");
    let route = &object.spec.as_virtual_service().expect("routes").http[0];
    assert_eq!(
        route.r#match[0].headers["end-user"].kind,
        Some(StringMatchKind::Exact("jason".to_owned()))
    );
    assert!(route.r#match[0].ignore_uri_case);
    let delay = route
        .fault
        .as_ref()
        .and_then(|fault| fault.delay.as_ref())
        .expect("delay");
    assert_eq!(
        delay.http_delay_type,
        Some(HttpDelayDuration::Fixed(crate::Duration::from_secs(7)))
    );
    assert_eq!(route.timeout, Some(crate::Duration::from_millis(500)));
    assert_eq!(
        object.line_of("spec.http[0].route[0].destination.subset"),
        Some((23, 9))
    );
    assert_eq!(
        object.line_of("spec.http[0].match[0].ignoreUriCase"),
        Some((15, 7)),
        "either spelling"
    );
    assert_eq!(object.line_of("spec.http[1]"), None);
    assert_eq!(object.mark_near("spec.http[0].redirect.uri").line, 11);
}

#[test]
fn the_three_versions_read_alike_and_write_back() {
    let objects: Vec<_> = ["v1", "v1beta1", "v1alpha3"]
        .map(|version| read(&ROUTES.replace("v1beta1", version)).objects.remove(0))
        .into();
    assert!(objects.iter().all(|object| object.spec == objects[0].spec));
    let spec = objects[0].spec.as_virtual_service().expect("routes");
    let json = serde_json::to_value(&**spec).expect("json");
    assert_eq!(json["http"][0]["match"][0]["ignoreUriCase"], true);
    assert_eq!(
        json["http"][0]["fault"]["delay"],
        serde_json::json!({"percentage": {"value": 100}, "fixedDelay": "7s"})
    );
    assert_eq!(
        json["http"][0].get("redirect"),
        None,
        "what is not set is not written"
    );
    let again: crate::networking::VirtualService = serde_json::from_value(json).expect("again");
    assert_eq!(again, **spec);
}

#[test]
fn each_mistake_is_named_with_file_line_and_field() {
    for (from, to, said) in [
        (
            "subset: v2",
            "subst: v2",
            "a.yaml:23:9: VirtualService default/reviews: spec.http[0].route[0].destination.subst: unknown field",
        ),
        (
            "weight: 100",
            "weight: lots",
            "a.yaml:24:15: VirtualService default/reviews: spec.http[0].route[0].weight: `lots` is not a whole number",
        ),
        (
            "timeout: 0.5s",
            "timeout: 5",
            "a.yaml:25:14: VirtualService default/reviews: spec.http[0].timeout: invalid type: integer `5`, expected a duration",
        ),
        (
            "fixedDelay: 7s",
            "fixedDelay: 7x",
            "a.yaml:19:21: VirtualService default/reviews: spec.http[0].fault.delay.fixedDelay: `7x` is not a duration: unknown unit `x`",
        ),
        ("exact: jason", "exact: jason, prefix: j", "a.yaml:14:"),
        (
            "          exact: jason",
            "          {exact: jason, prefix: j}",
            "a.yaml:14:11: VirtualService default/reviews: spec.http[0].match[0].headers.end-user: only one of exact, prefix, regex may be set",
        ),
        (
            "subset: v2",
            "subset: 2",
            "invalid type: integer `2`, expected text (put it in quotes)",
        ),
        (
            "ignore_uri_case: true",
            "ignore_uri_case: true\n      ignoreUriCase: true",
            "`ignoreUriCase` is given twice, in two spellings",
        ),
        (
            "  name: reviews",
            "  name: Reviews_1",
            "a.yaml:5:3: VirtualService default/Reviews_1: metadata.name: `Reviews_1` is not a name",
        ),
        (
            "  name: reviews",
            "  nmae: reviews",
            "metadata.nmae: unknown field",
        ),
        (
            "spec:",
            "spce:",
            "a.yaml:7:1: VirtualService default/reviews: spce: unknown field",
        ),
        (
            "VirtualService",
            "VirtualServices",
            "a.yaml:3:1: VirtualServices default/reviews: unknown kind VirtualServices",
        ),
        (
            "kind: VirtualService\n",
            "",
            "a.yaml:2:1: kind: an object needs a kind",
        ),
        ("  hosts:", "\thosts:", "a.yaml:8:"),
        (
            "    route:",
            "    fault: {}\n    route:",
            "a.yaml:20:5: the key `fault` is given twice, first in line 16",
        ),
    ] {
        let parsed = read(&ROUTES.replacen(from, to, 1));
        let said_lines = lines(&parsed);
        assert!(
            said_lines.iter().any(|line| line.contains(said)),
            "{to}: {said_lines:#?}"
        );
        assert!(
            parsed.objects.is_empty(),
            "{to}: an object with an error is not used"
        );
    }
}

#[test]
fn kubernetes_objects_are_typed_with_their_unknown_fields() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Service
  metadata: {name: reviews}
  spec:
    ports: [{port: 9080, name: http, targetPort: http}]
    selector: {app: reviews}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: reviews-v1}
  spec:
    selector: {matchLabels: {app: reviews}}
    template:
      metadata: {labels: {app: reviews}}
      spec:
        volumes: [{name: v, configMap: {name: c, defaultMode: 0644}}]
        containers:
        - name: reviews
          image: x
          imagePulPolicy: Always
          resources: {limits: {cpu: 1, memory: 64Mi}}
";
    let parsed = read(text);
    let line = "a.yaml:22:11: Deployment default/reviews-v1: spec.template.spec.containers[0].imagePulPolicy: \
                unknown field: correct its name or take it out";
    assert_eq!(lines(&parsed), [line]);
    let service = parsed.objects[0].spec.as_service().expect("service");
    assert_eq!(service.metadata.namespace.as_deref(), Some("default"));
    let fixed = read(&text.replace("imagePulPolicy", "imagePullPolicy"));
    assert_eq!(lines(&fixed), Vec::<String>::new());
    let deployment = fixed.objects[1].spec.as_deployment().expect("deployment");
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref())
        .expect("pod");
    assert_eq!(
        pod.volumes
            .as_ref()
            .and_then(|v| v[0].config_map.as_ref())
            .and_then(|c| c.default_mode),
        Some(420)
    );
}

#[test]
fn documents_without_content_are_skipped_and_json_is_read() {
    let parsed = read(
        "---\n# nothing\n---\n{\"apiVersion\": \"v1\", \"kind\": \"Namespace\", \"metadata\": {\"name\": \"a\"}}\n---\n",
    );
    assert_eq!(lines(&parsed), Vec::<String>::new());
    assert_eq!(
        parsed.objects[0].key,
        ObjectKey::new(Kind::Namespace, "", "a")
    );
}

#[test]
fn every_other_kind_reads_what_it_writes() {
    let text = include_str!("testdata/kinds.yaml");
    let parsed = read(text);
    assert_eq!(lines(&parsed), Vec::<String>::new());
    let kinds: Vec<_> = parsed
        .objects
        .iter()
        .map(|object| object.key.kind)
        .collect();
    assert_eq!(
        kinds,
        [
            Kind::DestinationRule,
            Kind::Gateway,
            Kind::ServiceEntry,
            Kind::WorkloadEntry,
            Kind::Sidecar,
            Kind::PeerAuthentication,
            Kind::VirtualService
        ]
    );
    for object in &parsed.objects {
        let source = object
            .source
            .as_ref()
            .and_then(|source| source.node().get("spec").cloned())
            .expect("spec");
        let written: serde_json::Value = crate::yaml::read(&source).expect("tree");
        let again = match &object.spec {
            Spec::DestinationRule(spec) => serde_json::to_value(&**spec),
            Spec::Gateway(spec) => serde_json::to_value(&**spec),
            Spec::ServiceEntry(spec) => serde_json::to_value(&**spec),
            Spec::WorkloadEntry(spec) => serde_json::to_value(&**spec),
            Spec::Sidecar(spec) => serde_json::to_value(&**spec),
            Spec::PeerAuthentication(spec) => serde_json::to_value(&**spec),
            Spec::VirtualService(spec) => serde_json::to_value(&**spec),
            other => panic!("{other:?}"),
        };
        assert_eq!(again.expect("json"), written, "{}", object.key);
    }
}
