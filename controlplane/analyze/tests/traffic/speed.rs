//! How long the analyzers take, for a look by hand: `cargo test --release -p lateen-controlplane-analyze -- --ignored --nocapture routing`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lateen_controlplane_analyze::{Analyzer, Cluster, analyzers};

use super::support::files;

/// What each service has.
const SERVICE: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: SERVICE, namespace: SPACE}
spec:
  selector: {matchLabels: {app: SERVICE}}
  template: {metadata: {labels: {app: SERVICE, version: v1}}, spec: {containers: [{name: app, ports: [{containerPort: 8080}]}]}}
---
apiVersion: v1
kind: Service
metadata: {name: SERVICE, namespace: SPACE}
spec: {selector: {app: SERVICE}, ports: [{name: http, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: SERVICE, namespace: SPACE}
spec:
  hosts: [SERVICE]
  http: [{match: [{uri: {prefix: /api}}], route: [{destination: {host: SERVICE, subset: v1}}], timeout: 10s, retries: {attempts: 1, perTryTimeout: 1s}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge-SERVICE, namespace: SPACE}
spec:
  hosts: [SERVICE.example.com]
  gateways: [gateways/edge, SERVICE]
  http: [{route: [{destination: {host: SERVICE, subset: v1}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: SERVICE, namespace: SPACE}
spec: {host: SERVICE, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: SERVICE, namespace: SPACE}
spec: {selector: {app: SERVICE}, servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*.example.com']}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: SERVICE, namespace: SPACE}
spec: {hosts: ['*.SERVICE.example.org'], ports: [{number: 443, name: tls, protocol: TLS}], exportTo: ['.']}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: SERVICE, namespace: SPACE}
spec: {workloadSelector: {labels: {app: SERVICE}}, egress: [{hosts: [./NEXT.SPACE.svc.cluster.local]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: SERVICE, namespace: SPACE}
spec: {selector: {matchLabels: {app: SERVICE}}, mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: SERVICE, namespace: SPACE}
spec:
  selector: {matchLabels: {app: SERVICE}}
  rules: [{from: [{source: {namespaces: [SPACE]}}], to: [{operation: {methods: [GET, POST], ports: ['8080']}}]}]
---
";

const EDGE: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: gateways}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*.example.com']}]}
";

/// A mesh of services, 20 a namespace, each of which calls the next one.
fn mesh(services: usize) -> String {
    let mut text = String::new();
    for number in 0..services {
        let names = [
            ("SERVICE", format!("s{number}")),
            ("NEXT", format!("s{}", number + 1)),
            ("SPACE", format!("n{}", number / 20)),
        ];
        let mut service = SERVICE.to_owned();
        for (word, name) in names {
            service = service.replace(word, &name);
        }
        text.push_str(&service);
    }
    let _ = write!(text, "{EDGE}");
    text
}

fn time(cluster: &Cluster, all: Vec<Analyzer>) -> Duration {
    let start = Instant::now();
    for analyzer in all {
        let start = Instant::now();
        let mut messages = Default::default();
        (analyzer.run)(cluster, &[], &mut messages);
        if start.elapsed().as_millis() > 2 {
            let found = messages.into_vec(|_| true).len();
            eprintln!("  {}: {found} in {:?}", analyzer.name, start.elapsed());
        }
    }
    start.elapsed()
}

#[test]
#[ignore = "prints times"]
fn speed_of_routing() {
    for services in [100, 1_000, 10_000] {
        let input = files(&mesh(services), "");
        let count = input.objects.len();
        let cluster = Cluster::new(input);
        eprintln!("Istio's: {:?}", time(&cluster, analyzers::istio()));
        eprintln!("own: {:?}", time(&cluster, analyzers::own()));
        eprintln!("{count} objects");
    }
}
