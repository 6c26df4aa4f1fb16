use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::{Settings, SettingsError};
use crate::{Source, node};
use lateen_xds::node::NodeType;

#[derive(Default)]
struct Fake {
    vars: HashMap<String, String>,
    files: HashMap<String, String>,
}

impl Fake {
    fn pod() -> Self {
        let mut fake = Self::default();
        for (name, value) in [
            ("POD_NAME", "reviews-v1-7d9-x"),
            ("POD_NAMESPACE", "shop"),
            ("INSTANCE_IP", "10.1.0.7"),
            ("SERVICE_ACCOUNT", "bookinfo-reviews"),
            (
                "PROXY_CONFIG",
                "{\"terminationDrainDuration\":\"23s\",\"concurrency\":2}\n",
            ),
            (
                "ISTIO_META_POD_PORTS",
                "[\n    {\"containerPort\":9080,\"protocol\":\"TCP\"}\n]",
            ),
            ("ISTIO_META_WORKLOAD_NAME", "reviews-v1"),
            ("ISTIO_METAJSON_EXTRA", "{\"DNS_CAPTURE\":\"false\"}"),
        ] {
            fake.vars.insert(name.into(), value.into());
        }
        let labels = "app=\"reviews\"\npod-template-hash=\"7d9\"\nistio-locality=\"eu.eu-1\"\n";
        fake.files
            .insert("/etc/istio/pod/labels".into(), labels.into());
        fake
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }
}

impl Source for Fake {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn vars(&self) -> Vec<(String, String)> {
        self.vars.clone().into_iter().collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(&path.display().to_string());
        text.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(&path.display().to_string())
    }
}

#[test]
fn an_injected_pod_gives_settings_and_a_node() {
    let source = Fake::pod();
    let settings = Settings::read(&source).expect("settings");
    assert_eq!(
        settings.spiffe_id(),
        "spiffe://cluster.local/ns/shop/sa/bookinfo-reviews"
    );
    assert_eq!(settings.discovery_address, "istiod.istio-system.svc:15012");
    assert_eq!(settings.drain.termination, Duration::from_secs(23));
    assert_eq!(settings.drain.drain, Duration::from_secs(45));
    assert_eq!(settings.concurrency, Some(2));
    assert_eq!(settings.state_dir, Path::new("/etc/istio/proxy"));

    let node = node(&source, &settings, NodeType::Sidecar, "", "0.1.0").expect("node");
    assert_eq!(
        node.id.to_string(),
        "sidecar~10.1.0.7~reviews-v1-7d9-x.shop~shop.svc.cluster.local"
    );
    assert_eq!(node.cluster, "reviews.shop");
    let locality = node.locality.as_ref().expect("locality");
    assert_eq!(
        (
            locality.region.as_str(),
            locality.zone.as_str(),
            locality.sub_zone.as_str()
        ),
        ("eu", "eu-1", "")
    );
    let metadata = node.metadata.to_json();
    assert_eq!(
        metadata["LABELS"],
        json!({"app": "reviews", "istio-locality": "eu.eu-1"})
    );
    assert_eq!(metadata["PROXY_CONFIG"]["concurrency"], 2);
    assert_eq!(metadata["WORKLOAD_NAME"], "reviews-v1");
    assert_eq!(metadata["DNS_CAPTURE"], "false");
    assert_eq!(metadata["INSTANCE_IPS"], "10.1.0.7");
    assert!(
        metadata["POD_PORTS"]
            .as_str()
            .is_some_and(|text| text.contains("9080")),
        "ports stay text"
    );
}

#[test]
fn what_cannot_be_used_is_named() {
    let cases = [
        (Fake::pod().with("PROXY_CONFIG", "[]"), "PROXY_CONFIG"),
        (Fake::pod().with("CA_ADDR", "istiod"), "CA_ADDR"),
        (Fake::pod().with("INSTANCE_IP", "ten"), "INSTANCE_IP"),
        (
            Fake::pod().with("PROXY_CONFIG", r#"{"drainDuration":"soon"}"#),
            "drainDuration",
        ),
        (
            Fake::pod().with("SECRET_GRACE_PERIOD_RATIO", "2"),
            "SECRET_GRACE_PERIOD_RATIO",
        ),
        (
            Fake::pod().with("PILOT_CERT_PROVIDER", "vault"),
            "PILOT_CERT_PROVIDER",
        ),
        (Fake::pod().with("CA_ROOT_CA", "SYSTEM"), "CA_ROOT_CA"),
        (
            Fake::pod().with("ISTIO_KUBE_APP_PROBERS", "{"),
            "ISTIO_KUBE_APP_PROBERS",
        ),
        (
            Fake::pod().with("ISTIO_PROMETHEUS_ANNOTATIONS", "{"),
            "ISTIO_PROMETHEUS_ANNOTATIONS",
        ),
    ];
    for (source, name) in cases {
        let error = Settings::read(&source).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    let missing = Settings::read(&Fake::default()).expect_err("no pod");
    assert!(matches!(missing, SettingsError::Missing { .. }));
}
