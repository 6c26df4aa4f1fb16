//! Joins, precedence between declarations, and what changes touch.

use std::collections::BTreeSet;
use std::sync::Arc;

use lateen_api::mesh::MeshConfig;
use lateen_api::object::{Object, ObjectKey, parse_documents};
use lateen_controlplane_model::affected::{Affected, Reach, TypeSet};
use lateen_controlplane_model::change::{Batch, Change};
use lateen_controlplane_model::endpoint::Health;
use lateen_controlplane_model::snapshot::Mesh;

use super::*;

const HOST: &str = "reviews.shop.svc.cluster.local";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, labels: {app: reviews}}
spec:
  clusterIP: 10.96.0.5
  selector: {app: reviews}
  ports: [{name: http, port: 9080, targetPort: web}]
";

const POD: &str = "
apiVersion: v1
kind: Pod
metadata:
  name: reviews-v1-abc12-x
  namespace: shop
  labels: {app: reviews, version: v1, pod-template-hash: abc12, security.istio.io/tlsMode: istio}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: reviews-v1-abc12, uid: u, controller: true}]
spec:
  serviceAccountName: bookinfo-reviews
  nodeName: n1
  containers: [{name: app, ports: [{name: web, containerPort: 9080}]}]
status: {podIP: 10.0.0.7, phase: Running, conditions: [{type: Ready, status: 'True'}]}
";

const SLICE: &str = "
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: shop, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 9080, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.7], conditions: {ready: true}, targetRef: {kind: Pod, name: reviews-v1-abc12-x, namespace: shop}}
";

fn index() -> Index {
    let mesh = Mesh {
        config: MeshConfig::default(),
        domain: "cluster.local".into(),
    };
    Index::new(
        Settings {
            started: "t0".into(),
            cluster: "Kubernetes".into(),
        },
        mesh,
    )
}

fn objects(yaml: &str) -> Vec<Object> {
    let parsed = parse_documents("test.yaml", yaml, "default");
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    parsed.objects
}

fn apply(index: &mut Index, yaml: &[&str]) -> Option<Step> {
    let changes = yaml
        .iter()
        .flat_map(|text| objects(text))
        .map(|object| Change::Apply(Arc::new(object)))
        .collect();
    index.apply(&Batch {
        changes,
        synced: true,
    })
}

fn delete(index: &mut Index, yaml: &str) -> Option<Step> {
    let keys: Vec<ObjectKey> = objects(yaml).into_iter().map(|object| object.key).collect();
    index.apply(&Batch {
        changes: keys.into_iter().map(Change::Delete).collect(),
        synced: true,
    })
}

fn types(affected: &Affected) -> TypeSet {
    affected.types()
}

#[test]
fn a_service_is_joined_with_its_pods() {
    let mut index = index();
    let step = apply(&mut index, &[SLICE, POD, SERVICE]).expect("a first step");
    assert_eq!(step.affected, Affected::everything());
    assert_eq!(&*step.snapshot.version, "t0/1");
    let service = step
        .snapshot
        .services
        .value("shop", HOST)
        .expect("the service");
    let endpoints = step.snapshot.endpoints_of(service).expect("endpoints");
    let endpoint = &endpoints.list[0];
    assert_eq!(&*endpoint.workload.workload, "reviews-v1");
    assert_eq!(endpoint.workload.canonical_name(), "reviews");
    assert!(endpoint.workload.mtls);
    assert_eq!(
        endpoints.accounts,
        BTreeSet::from([("shop".into(), "bookinfo-reviews".into())])
    );
}

#[test]
fn nothing_is_published_before_the_sources_are_synced() {
    let mut index = index();
    let changes = objects(SERVICE)
        .into_iter()
        .map(|object| Change::Apply(Arc::new(object)))
        .collect();
    assert!(
        index
            .apply(&Batch {
                changes,
                synced: false
            })
            .is_none()
    );
    assert!(
        index
            .apply(&Batch {
                changes: vec![],
                synced: true
            })
            .is_some()
    );
    assert!(
        index
            .apply(&Batch {
                changes: vec![],
                synced: true
            })
            .is_none(),
        "nothing changed"
    );
}

#[test]
fn an_endpoint_change_touches_endpoints_of_its_service_alone() {
    let mut index = index();
    let before = apply(&mut index, &[SERVICE, POD, SLICE])
        .expect("first")
        .snapshot;
    let step =
        apply(&mut index, &[&SLICE.replace("ready: true", "ready: false")]).expect("a change");
    let [cause] = step.affected.causes.as_slice() else {
        panic!("{:?}", step.affected)
    };
    assert_eq!(cause.types, TypeSet::NONE);
    assert_eq!(cause.endpoints, BTreeSet::from([HOST.into()]));
    assert!(matches!(&cause.reach, Reach::Importers(imports) if &*imports[0].host == HOST));
    assert!(
        before.services.same(&step.snapshot.services),
        "services are shared"
    );
    assert!(Arc::ptr_eq(
        &before.virtual_services,
        &step.snapshot.virtual_services
    ));
    let list = &step
        .snapshot
        .endpoints
        .value("shop", HOST)
        .expect("endpoints")
        .list;
    assert_eq!(list[0].health, Health::Unhealthy);
    let ending = SLICE.replace("ready: true", "ready: true, terminating: true");
    let step = apply(&mut index, &[&ending]).expect("a change");
    assert_eq!(
        step.snapshot
            .endpoints
            .value("shop", HOST)
            .expect("endpoints")
            .list[0]
            .health,
        Health::Terminating
    );
    assert!(
        apply(&mut index, &[&ending]).is_none(),
        "the same slice again is no change"
    );
}

#[test]
fn a_new_identity_behind_a_service_touches_clusters_too() {
    let mut index = index();
    apply(&mut index, &[SERVICE, POD, SLICE]);
    let step = apply(&mut index, &[&POD.replace("bookinfo-reviews", "other")]).expect("a change");
    assert_eq!(
        types(&step.affected),
        TypeSet::CLUSTERS.union(TypeSet::ENDPOINTS)
    );
}

const ROUTE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http:
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 50}
    - {destination: {host: reviews, subset: v3}, weight: 50}
";

#[test]
fn a_route_change_touches_routes_alone() {
    let mut index = index();
    apply(&mut index, &[SERVICE, ROUTE]);
    let step = apply(&mut index, &[&ROUTE.replace("weight: 50", "weight: 20")]).expect("a change");
    let [cause] = step.affected.causes.as_slice() else {
        panic!("{:?}", step.affected)
    };
    assert_eq!(cause.types, TypeSet::ROUTES);
    assert!(
        matches!(&cause.reach, Reach::Importers(imports) if imports.iter().all(|i| &*i.host == HOST))
    );
    let bound = step.snapshot.virtual_services.bound("mesh", "shop");
    assert_eq!(
        bound[0].spec.http[0].route[0]
            .destination
            .as_ref()
            .map(|d| d.host.as_str()),
        Some(HOST)
    );
    let step = delete(&mut index, ROUTE).expect("a change");
    assert!(
        step.snapshot
            .virtual_services
            .bound("mesh", "shop")
            .is_empty()
    );
    assert_eq!(
        types(&step.affected),
        TypeSet::ALL.without(TypeSet::NONE),
        "restricted importers may lose a destination"
    );
}

#[test]
fn a_destination_rule_touches_clusters_and_endpoints_of_its_host() {
    let rule = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
";
    let mut index = index();
    apply(&mut index, &[SERVICE]);
    let step = apply(&mut index, &[rule]).expect("a change");
    assert_eq!(
        types(&step.affected),
        TypeSet::CLUSTERS.union(TypeSet::ENDPOINTS)
    );
    assert!(apply(&mut index, &[rule]).is_none());
}

#[test]
fn a_kubernetes_service_keeps_its_host_and_both_give_endpoints() {
    let entry = format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: squatter, namespace: shop}}
spec:
  hosts: [{HOST}]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  endpoints: [{{address: 192.0.2.9}}]
"
    );
    let mut index = index();
    let step = apply(&mut index, &[&entry, SERVICE, SLICE]).expect("first");
    let service = step
        .snapshot
        .services
        .value("shop", HOST)
        .expect("a service");
    assert_eq!(service.registry, Registry::Kubernetes);
    assert_eq!(
        step.snapshot.endpoints_of(service).map(|e| e.list.len()),
        Some(2)
    );
    let step = delete(&mut index, SERVICE).expect("a change");
    let service = step
        .snapshot
        .services
        .value("shop", HOST)
        .expect("the entry's service");
    assert_eq!(service.registry, Registry::ServiceEntry);
}

#[test]
fn entries_pick_workloads_and_refuse_what_they_cannot_do() {
    let entry = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: vms, namespace: shop}
spec:
  hosts: [vm.example.com]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  workloadSelector: {labels: {app: vm}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1, namespace: shop}
spec: {address: 192.0.2.1, labels: {app: vm}, serviceAccount: vm, weight: 3}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dynamic, namespace: shop}
spec:
  hosts: ['*.example.org']
  resolution: DYNAMIC_DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
";
    let mut index = index();
    let step = apply(&mut index, &[entry]).expect("first");
    let service = step
        .snapshot
        .services
        .value("shop", "vm.example.com")
        .expect("a service");
    let list = &step.snapshot.endpoints_of(service).expect("endpoints").list;
    assert_eq!(
        (list.len(), list[0].port, list[0].weight),
        (1, 8080, Some(3))
    );
    assert_eq!(step.snapshot.rejections.len(), 1);
    let explained = index.explain(&step.snapshot.rejections[0]).to_string();
    assert!(
        explained
            .starts_with("test.yaml:22:3: ServiceEntry shop/dynamic: spec.resolution: DYNAMIC_DNS"),
        "{explained}"
    );
    assert_eq!(
        step.snapshot.rejections[0].to_string(),
        "ServiceEntry shop/dynamic: spec.resolution: DYNAMIC_DNS is not supported: use DNS with each host, or NONE"
    );
}

#[test]
fn peer_policies_touch_inbound_listeners_of_their_namespace() {
    let policy = "
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: STRICT}}
";
    let mut index = index();
    apply(&mut index, &[SERVICE]);
    let step = apply(&mut index, &[policy]).expect("a change");
    let listeners = step
        .affected
        .causes
        .iter()
        .find(|cause| cause.types == TypeSet::LISTENERS)
        .expect("listeners");
    assert_eq!(listeners.reach, Reach::Namespace("shop".into()));
}
