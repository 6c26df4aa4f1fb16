use super::*;

const ROUTE: &str = "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
";

const SIDECAR: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: walled}
spec: {egress: [{hosts: [./*]}]}
";

fn versions(world: &World, proxy: &Proxy, url: &str) -> Vec<(String, u64)> {
    world
        .all(proxy, url)
        .iter()
        .map(|own| (own.name.to_string(), own.version))
        .collect()
}

#[test]
fn a_route_change_pushes_routes_to_those_who_import_the_host() {
    let mut world = World::new(&[BOOKINFO, ROUTE, SIDECAR]);
    let (sidecar, walled) = (
        productpage(),
        proxy_of("sidecar", "walled", "10.7.7.7", &json!({}), true),
    );
    let clusters = versions(&world, &sidecar, TypeSet::CLUSTER_URL);
    let before = world.config.generate(
        &sidecar,
        TypeSet::ROUTE_URL,
        &Names::Set(BTreeSet::from(["9080".into()])),
    );
    let step = world.apply(&[&ROUTE.replace("v1}", "v3}").replace("/v3", "/v1")]);
    let touched = world.config.affected(&sidecar, &step.affected);
    assert_eq!(touched.types, TypeSet::ROUTES);
    assert!(
        world
            .config
            .affected(&walled, &step.affected)
            .types
            .is_empty()
    );
    assert!(
        world
            .config
            .affected(&router(), &step.affected)
            .types
            .contains(TypeSet::ROUTES),
        "routers import everything"
    );
    let after = world.config.generate(
        &sidecar,
        TypeSet::ROUTE_URL,
        &Names::Set(BTreeSet::from(["9080".into()])),
    );
    assert_ne!(before[0].version, after[0].version);
    assert_eq!(
        clusters,
        versions(&world, &sidecar, TypeSet::CLUSTER_URL),
        "clusters are the very same"
    );
}

#[test]
fn an_endpoint_change_pushes_endpoints_of_that_service() {
    let mut world = World::new(&[BOOKINFO]);
    let sidecar = productpage();
    let reviews = "outbound|9080|v2|reviews.default.svc.cluster.local";
    let details = "outbound|9080||details.default.svc.cluster.local";
    let ask = |world: &World, name: &str| {
        world.config.generate(
            &sidecar,
            TypeSet::ENDPOINT_URL,
            &Names::Set(BTreeSet::from([name.into()])),
        )[0]
        .clone()
    };
    let before = (ask(&world, reviews), ask(&world, details));
    let gone = BOOKINFO
        .split("---\n")
        .find(|doc| doc.contains("name: reviews-1,"))
        .expect("the slice")
        .replace(
            "- {addresses: [10.0.0.12], conditions: {ready: true}",
            "- {addresses: [10.0.0.12], conditions: {ready: true, terminating: true}",
        );
    let step = world.apply(&[&gone]);
    let touched = world.config.affected(&sidecar, &step.affected);
    assert_eq!(touched.types, TypeSet::ENDPOINTS);
    assert!(
        touched.covers(TypeSet::ENDPOINT_URL, reviews)
            && !touched.covers(TypeSet::ENDPOINT_URL, details)
    );
    assert_ne!(ask(&world, reviews).version, before.0.version);
    assert_eq!(
        ask(&world, details).body.as_ptr(),
        before.1.body.as_ptr(),
        "what is not touched is not made again"
    );
    let left = world.endpoints(&sidecar, reviews);
    assert_eq!(
        left["endpoints"],
        Value::Null,
        "an ending endpoint gets no new connections"
    );
}

#[test]
fn proxies_with_equal_traits_share_bytes() {
    let world = World::new(&[BOOKINFO]);
    let (a, b) = (
        world.all(&productpage(), TypeSet::CLUSTER_URL),
        world.all(&reviews(), TypeSet::CLUSTER_URL),
    );
    assert_eq!(a[0].body.as_ptr(), b[0].body.as_ptr());
    assert_eq!(
        World::new(&[BOOKINFO]).all(&productpage(), TypeSet::CLUSTER_URL),
        a,
        "equal content has equal versions"
    );
}

#[test]
fn a_new_service_reaches_its_importers_and_its_own_pods() {
    let mut world = World::new(&[BOOKINFO, SIDECAR]);
    let step = world.apply(&["
apiVersion: v1
kind: Service
metadata: {name: more, namespace: default}
spec: {clusterIP: 10.96.0.99, selector: {app: reviews}, ports: [{name: http, port: 81, targetPort: 8181}]}
"]);
    let touched = world.config.affected(&reviews(), &step.affected);
    assert!(
        touched.types.contains(
            TypeSet::CLUSTERS
                .union(TypeSet::LISTENERS)
                .union(TypeSet::ROUTES)
        )
    );
    assert!(
        world
            .names(&reviews(), TypeSet::CLUSTER_URL)
            .contains(&"inbound|8181||".to_owned())
    );
    let walled = proxy_of("sidecar", "walled", "10.7.7.7", &json!({}), true);
    assert!(
        world
            .config
            .affected(&walled, &step.affected)
            .types
            .is_empty()
    );
}

#[test]
fn the_name_table_lists_services_in_scope() {
    let world = World::new(&[BOOKINFO]);
    let [table] = world
        .all(&productpage(), TypeSet::NAMES_URL)
        .try_into()
        .expect("one");
    let info = &decode(&table)["table"]["reviews.default.svc.cluster.local"];
    assert_eq!(
        *info,
        json!({"ips": ["10.96.0.5"], "registry": "Kubernetes", "shortname": "reviews", "namespace": "default"})
    );
}
