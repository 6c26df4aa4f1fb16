//! The samples are fine.

use std::path::Path;

use lateen_controlplane_analyze::analyzers::{istio, own};
use lateen_controlplane_analyze::{ClusterInput, Options, analyze};

use super::support::{codes, objects};

/// Sets of files that are applied together.
const SETS: [&[&str]; 3] = [
    &[
        "bookinfo/platform/kube/bookinfo.yaml",
        "bookinfo/networking/bookinfo-gateway.yaml",
        "bookinfo/networking/destination-rule-all-mtls.yaml",
        "bookinfo/networking/virtual-service-all-v1.yaml",
    ],
    &[
        "bookinfo/platform/kube/bookinfo.yaml",
        "bookinfo/networking/bookinfo-gateway.yaml",
        "bookinfo/networking/destination-rule-all.yaml",
        "bookinfo/networking/virtual-service-reviews-80-20.yaml",
        "bookinfo/networking/virtual-service-ratings-test-delay.yaml",
    ],
    &["httpbin/httpbin.yaml", "curl/curl.yaml"],
];

/// What is reported of the samples with reason: their namespace has no label that asks for sidecars; the default gateway's Service does
/// not lead to port 8080; and the subset of `productpage` counts for sidecars only, but there is no other one.
const EXPECTED: [&str; 4] = ["IST0102", "IST0103", "IST0140", "IST0162"];

#[test]
fn the_samples_raise_no_alarm() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples");
    for set in SETS {
        let mut input = ClusterInput {
            files_only: true,
            ..Default::default()
        };
        for file in set {
            let text = std::fs::read_to_string(samples.join(file)).expect("a sample");
            input.objects.extend(objects(&text));
        }
        let mut messages = analyze(vec![input], &Options::default()).messages;
        messages.retain(|message| !EXPECTED.contains(&message.code.id));
        assert_eq!(
            codes(&messages),
            Vec::<String>::new(),
            "{set:?} {messages:#?}"
        );
    }
    assert!(istio().len() + own().len() > 1);
}
