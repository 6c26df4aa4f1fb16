//! How long the analyzers take, for a look by hand: `cargo test --release -p lateen-controlplane-analyze -- --ignored --nocapture speed`.

use std::fmt::Write as _;
use std::time::Instant;

use lateen_controlplane_analyze::{Cluster, analyzers};

use crate::support::files;

/// A mesh of services with all that goes with each, 20 services a namespace; `with` says what else each service has.
fn mesh(services: usize) -> String {
    let mut yaml = String::new();
    for number in 0..services {
        let space = number / 20;
        if number % 20 == 0 {
            let _ = writeln!(
                yaml,
                "{{apiVersion: v1, kind: Namespace, metadata: {{name: n{space}, labels: {{istio-injection: enabled}}}}}}\n---"
            );
        }
        let _ = write!(
            yaml,
            "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: s{number}, namespace: n{space}}}, spec: {{selector: {{}}, template: {{metadata: {{labels: {{app: s{number}, tier: web}}}}, spec: {{containers: [{{name: a, image: b}}]}}}}}}}}
---
{{apiVersion: v1, kind: Service, metadata: {{name: s{number}, namespace: n{space}}}, spec: {{selector: {{app: s{number}, tier: web}}, ports: [{{name: http, port: 80}}]}}}}
---
{{apiVersion: v1, kind: Pod, metadata: {{name: s{number}, namespace: n{space}, labels: {{app: s{number}, tier: web}}, annotations: {{sidecar.istio.io/logLevel: info}}}}, spec: {{containers: [{{name: istio-proxy, image: b}}]}}}}
---
{{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {{name: s{number}, namespace: n{space}}}, spec: {{workloadSelector: {{labels: {{app: s{number}, tier: web}}}}}}}}
---
{{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {{name: s{number}, namespace: n{space}}}, spec: {{selector: {{matchLabels: {{app: s{number}}}}}, rules: [{{from: [{{source: {{namespaces: [n{space}, gone]}}}}]}}]}}}}
---
"
        );
    }
    yaml
}

#[test]
#[ignore = "prints times"]
fn speed() {
    for services in [200, 2_000, 20_000] {
        let input = files(&mesh(services));
        let count = input.objects.len();
        let cluster = Cluster::new(input);
        let start = Instant::now();
        let mut total = 0;
        for analyzer in analyzers::istio() {
            let start = Instant::now();
            let mut messages = Default::default();
            (analyzer.run)(&cluster, &[], &mut messages);
            let found = messages.into_vec(|_| true).len();
            total += found;
            if start.elapsed().as_millis() > 5 {
                eprintln!("  {}: {found} in {:?}", analyzer.name, start.elapsed());
            }
        }
        eprintln!("{count} objects, {total} messages: {:?}", start.elapsed());
    }
}
