//! Objects with every field, of which some are replaced at random: what can be read is written and read back alike, and none makes
//! the checks fail.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::networking::{
    DestinationRule, Gateway, ServiceEntry, Sidecar, WorkloadEntry, WorkloadGroup,
};
use crate::object::{ReadOptions, parse_documents, read_text};
use crate::proto;
use crate::validate::validate;

fn pool() -> Value {
    json!({
        "tcp": {"maxConnections": 1, "connectTimeout": "1s", "maxConnectionDuration": "2s", "idleTimeout": "0s",
                "tcpKeepalive": {"probes": 3, "time": "1s", "interval": "1s"}},
        "http": {"http1MaxPendingRequests": 1, "http2MaxRequests": 1, "maxRequestsPerConnection": 1, "maxRetries": 1,
                 "idleTimeout": "1s", "h2UpgradePolicy": "UPGRADE", "useClientProtocol": true, "maxConcurrentStreams": 1,
                 "http2KeepAlive": {"interval": "1s", "timeout": "1s"}},
    })
}

fn destination_rule() -> Value {
    let settings = json!({
        "loadBalancer": {
            "consistentHash": {"httpCookie": {"name": "c", "path": "/", "ttl": "1s", "attributes": [{"name": "a", "value": "b"}]},
                               "maglev": {"tableSize": 7}, "minimumRingSize": 3},
            "localityLbSetting": {"enabled": true, "distribute": [{"from": "r/z/*", "to": {"r/z/s": 40, "r/*": 60}}],
                                  "failover": [{"from": "a", "to": "b"}], "failoverPriority": ["app"]},
            "zoneAwareLbSetting": {"enabled": false, "failover": [{"from": "a", "to": "b"}], "failoverPriority": ["app"],
                                   "minClusterSize": 1},
            "warmup": {"duration": "1s", "minimumPercent": 1.5, "aggression": 2}, "warmupDurationSecs": "1s",
        },
        "connectionPool": pool(),
        "outlierDetection": {"consecutiveErrors": 1, "splitExternalLocalOriginErrors": true, "consecutiveLocalOriginFailures": 1,
                             "consecutiveGatewayErrors": 0, "consecutive5xxErrors": 1, "interval": "1s", "baseEjectionTime": "1s",
                             "maxEjectionPercent": 1, "minHealthPercent": 1, "outlierDetectionHttpErrorCodes": [500]},
        "tls": {"mode": "MUTUAL", "clientCertificate": "c", "privateKey": "k", "caCertificates": "a", "credentialName": "configmap://shop/n",
                "subjectAltNames": ["s"], "sni": "s", "insecureSkipVerify": true, "caCrl": "l"},
    });
    let mut port = settings.clone();
    port["port"] = json!({"number": 80});
    let mut policy = settings.clone();
    policy["portLevelSettings"] = json!([port]);
    policy["tunnel"] = json!({"protocol": "POST", "targetHost": "a.com", "targetPort": 1});
    policy["proxyProtocol"] = json!({"version": "V2"});
    policy["retryBudget"] =
        json!({"percent": 1.5, "minRetryConcurrency": 1, "budgetInterval": "1s"});
    json!({
        "host": "a.com", "trafficPolicy": policy, "subsets": [{"name": "v1", "labels": {"a": "b"}, "trafficPolicy": settings}],
        "exportTo": [".", "b"], "workloadSelector": {"matchLabels": {"a": "b"}},
    })
}

fn server_tls() -> Value {
    json!({
        "httpsRedirect": true, "mode": "SIMPLE", "serverCertificate": "a", "privateKey": "b", "caCertificates": "c", "caCrl": "d",
        "credentialName": "e", "credentialNames": ["f"], "caCertCredentialName": "g",
        "tlsCertificates": [{"serverCertificate": "a", "privateKey": "b", "caCertificates": "c"}],
        "subjectAltNames": ["h"], "verifyCertificateSpki": ["i"], "verifyCertificateHash": ["j"],
        "minProtocolVersion": "TLSV1_0", "maxProtocolVersion": "TLSV1_3", "cipherSuites": ["ALL", "x"], "insecureSkipVerify": false,
    })
}

fn gateway() -> Value {
    json!({
        "selector": {"a": "b"},
        "servers": [{"port": {"number": 443, "protocol": "HTTPS", "name": "a", "targetPort": 1}, "bind": "unix:///s",
                     "hosts": ["ns/*.a.com", "*"], "tls": server_tls(), "defaultEndpoint": "x", "name": "n"}],
    })
}

fn workload_entry() -> Value {
    json!({
        "address": "10.0.0.1", "ports": {"a": 80}, "labels": {"c": "d"}, "network": "n", "locality": "r/z/s", "weight": 3,
        "serviceAccount": "s",
    })
}

fn service_entry() -> Value {
    json!({
        "hosts": ["a.com", "*.b.com"], "addresses": ["10.0.0.0/8"],
        "ports": [{"number": 80, "protocol": "HTTP", "name": "a", "targetPort": 1}], "location": "MESH_INTERNAL",
        "resolution": "STATIC", "endpoints": [workload_entry()], "workloadSelector": {"labels": {"a": "b"}},
        "exportTo": ["~"], "subjectAltNames": ["s"],
    })
}

fn workload_group() -> Value {
    json!({
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "template": workload_entry(),
        "probe": {"initialDelaySeconds": 1, "timeoutSeconds": 1, "periodSeconds": 1, "successThreshold": 1, "failureThreshold": 1,
                  "httpGet": {"path": "/", "port": 80, "host": "h", "scheme": "HTTP", "httpHeaders": [{"name": "a", "value": "b"}]}},
    })
}

fn sidecar() -> Value {
    let port = json!({"number": 80, "protocol": "HTTP", "name": "a", "targetPort": 1});
    json!({
        "workloadSelector": {"labels": {"a": "b"}},
        "ingress": [{"port": port, "bind": "::1", "captureMode": "NONE", "defaultEndpoint": "127.0.0.1:80", "tls": server_tls(),
                     "connectionPool": pool()}],
        "egress": [{"port": port, "bind": "unix:///s", "captureMode": "IPTABLES", "hosts": ["./*", "~a/b.com", "shop/x.com"]}],
        "inboundConnectionPool": pool(),
        "outboundTrafficPolicy": {"mode": "ALLOW_ANY", "egressProxy": {"host": "a.com", "subset": "s", "port": {"number": 1}}},
    })
}

/// Replaces the value that is `steps` steps from the root, counted over everything below it.
fn replace(value: &mut Value, steps: &mut usize, by: &Value) {
    if *steps == 0 {
        *value = by.clone();
        *steps = usize::MAX;
        return;
    }
    *steps -= 1;
    let below: Vec<&mut Value> = match value {
        Value::Object(map) => map.values_mut().collect(),
        Value::Array(list) => list.iter_mut().collect(),
        _ => Vec::new(),
    };
    for child in below {
        replace(child, steps, by);
        if *steps == usize::MAX {
            return;
        }
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "*",
        "*.",
        "*x.com",
        "*.a.com",
        "a.com",
        "a",
        "A",
        ".",
        "..",
        "~",
        "/",
        "~/",
        "a/",
        "/a",
        "*/*",
        "a/b/c/d",
        "%",
        "::1",
        "::1%e",
        "10.0.0.1",
        "10.0.0.0/33",
        "unix://",
        "unix:///",
        "unix://@",
        "configmap://",
        "configmap:///",
        ":",
        ":0",
        "[::1]:80",
        "0s",
        "1ms",
        "-1s",
        "1us",
        "é*",
        "TCP",
        "HTTPS",
        "UDP",
        "MUTUAL",
        "PASSTHROUGH",
        "ISTIO_MUTUAL",
        "NONE",
        "DNS",
        "DYNAMIC_DNS",
        "DNS_ROUND_ROBIN",
    ];
    let numbers = [
        0_i64,
        1,
        -1,
        2,
        100,
        101,
        65535,
        65536,
        4_294_967_295,
        i64::MAX,
        i64::MIN,
    ];
    prop_oneof![
        proptest::sample::select(texts.to_vec()).prop_map(Value::from),
        proptest::sample::select(numbers.to_vec()).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        Just(Value::Null),
        Just(json!({})),
        Just(json!([])),
        Just(json!([{}, null, ""])),
    ]
}

fn document(kind: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": kind,
        "metadata": {"name": "a", "labels": {"istio.io/use-waypoint": "w"}}, "spec": spec,
    })
}

/// Reads what is left of a sample after some replacements, and judges it.
fn judge_mutated<T>(kind: &str, mut sample: Value, changes: Vec<(usize, Value)>)
where
    T: proto::Value + serde::Serialize + serde::de::DeserializeOwned + std::fmt::Debug + PartialEq,
{
    for (mut steps, by) in changes {
        replace(&mut sample, &mut steps, &by);
    }
    let Ok(read) = serde_json::from_value::<T>(sample.clone()) else {
        return;
    };
    let written = serde_json::to_value(&read).expect("JSON");
    let again: T =
        serde_json::from_value(written.clone()).unwrap_or_else(|e| panic!("{written}: {e}"));
    assert_eq!(again, read, "{written}");
    let options = ReadOptions {
        namespace: "shop",
        strict: false,
    };
    let parsed = read_text(
        "a.json",
        &document(kind, sample).to_string().into(),
        options,
    );
    for object in &parsed.objects {
        for fault in validate(object) {
            assert!(!fault.field.is_empty() && !fault.message.is_empty());
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<(usize, Value)>> {
    prop::collection::vec((0_usize..170, leaf()), 0..8)
}

#[test]
fn samples_have_no_field_that_is_not_known() {
    for (kind, sample) in [
        ("DestinationRule", destination_rule()),
        ("Gateway", gateway()),
        ("ServiceEntry", service_entry()),
        ("Sidecar", sidecar()),
        ("WorkloadEntry", workload_entry()),
        ("WorkloadGroup", workload_group()),
    ] {
        let parsed = parse_documents("a.json", &document(kind, sample).to_string(), "shop");
        assert_eq!(parsed.problems, [], "{kind}");
    }
}

proptest! {
    #[test]
    fn destination_rules(changes in changes()) {
        judge_mutated::<DestinationRule>("DestinationRule", destination_rule(), changes);
    }

    #[test]
    fn gateways(changes in changes()) {
        judge_mutated::<Gateway>("Gateway", gateway(), changes);
    }

    #[test]
    fn service_entries(changes in changes()) {
        judge_mutated::<ServiceEntry>("ServiceEntry", service_entry(), changes);
    }

    #[test]
    fn sidecars(changes in changes()) {
        judge_mutated::<Sidecar>("Sidecar", sidecar(), changes);
    }

    #[test]
    fn workload_entries(changes in changes()) {
        judge_mutated::<WorkloadEntry>("WorkloadEntry", workload_entry(), changes);
    }

    #[test]
    fn workload_groups(changes in changes()) {
        judge_mutated::<WorkloadGroup>("WorkloadGroup", workload_group(), changes);
    }
}
