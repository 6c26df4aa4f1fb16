//! DestinationRules: connection pools, outlier detection and load balancing.

use super::cases::judge_within;

const KIND: &str = "DestinationRule";
const POOL: &str = "{host: a.com, trafficPolicy: {connectionPool: @}}";

fn judge_balancer(at: &str, cases: &[super::cases::Case<'_>]) {
    let around = format!("{{host: a.com, trafficPolicy: {{loadBalancer: {at}}}}}");
    judge_within(KIND, &around, "spec.trafficPolicy.loadBalancer", cases);
}

#[test]
fn pools_have_limits_and_times() {
    judge_within(
        KIND,
        POOL,
        "spec.trafficPolicy.connectionPool",
        &[
            ("{}", &["E : sets nothing"]),
            ("{tcp: {}}", &[]),
            ("{http: {}}", &[]),
            (
                "{tcp: {maxConnections: -1}}",
                &["E .tcp.maxConnections: negative"],
            ),
            ("{tcp: {maxConnections: 0}}", &[]),
            (
                "{tcp: {connectTimeout: 1ms, maxConnectionDuration: 1s}}",
                &[],
            ),
            (
                "{tcp: {connectTimeout: 0s}}",
                &["E .tcp.connectTimeout: too short"],
            ),
            (
                "{tcp: {connectTimeout: 1500us}}",
                &["E .tcp.connectTimeout: whole milliseconds"],
            ),
            (
                "{tcp: {maxConnectionDuration: 1us}}",
                &["E .tcp.maxConnectionDuration: too short"],
            ),
            ("{tcp: {idleTimeout: 0s}}", &[]),
            ("{tcp: {idleTimeout: 999us}}", &[]),
            ("{tcp: {idleTimeout: -5s}}", &[]),
            ("{tcp: {idleTimeout: 2ms}}", &[]),
            (
                "{tcp: {idleTimeout: 1500us}}",
                &["E .tcp.idleTimeout: whole milliseconds"],
            ),
            (
                "{tcp: {tcpKeepalive: {probes: 3, time: 1s, interval: 1s}}}",
                &[],
            ),
            (
                "{tcp: {tcpKeepalive: {time: 0s}}}",
                &["E .tcp.tcpKeepalive.time: too short"],
            ),
            (
                "{tcp: {tcpKeepalive: {interval: 0s}}}",
                &["E .tcp.tcpKeepalive.interval: too short"],
            ),
        ],
    );
}

#[test]
fn http_pools_have_limits_and_times() {
    judge_within(
        KIND,
        POOL,
        "spec.trafficPolicy.connectionPool",
        &[
            (
                "{http: {http1MaxPendingRequests: -1, http2MaxRequests: -1, maxRequestsPerConnection: -1, maxRetries: -1, maxConcurrentStreams: -1}}",
                &[
                    "E .http.http1MaxPendingRequests: negative",
                    "E .http.http2MaxRequests: negative",
                    "E .http.maxRequestsPerConnection: negative",
                    "E .http.maxRetries: negative",
                    "E .http.maxConcurrentStreams: negative",
                ],
            ),
            ("{http: {idleTimeout: 1s}}", &[]),
            (
                "{http: {idleTimeout: 0s}}",
                &["E .http.idleTimeout: too short"],
            ),
            (
                "{http: {h2UpgradePolicy: UPGRADE, useClientProtocol: true}}",
                &["E .http.useClientProtocol: contradicts"],
            ),
            (
                "{http: {h2UpgradePolicy: DO_NOT_UPGRADE, useClientProtocol: true}}",
                &[],
            ),
            ("{http: {http2KeepAlive: {interval: 1s, timeout: 1s}}}", &[]),
            (
                "{http: {http2KeepAlive: {interval: 1s}}}",
                &["E .http.http2KeepAlive.timeout: is needed"],
            ),
            (
                "{http: {http2KeepAlive: {timeout: 0s}}}",
                &[
                    "E .http.http2KeepAlive.interval: is needed",
                    "E .http.http2KeepAlive.timeout: too short",
                ],
            ),
        ],
    );
}

#[test]
fn outlier_detection_has_shares_and_times() {
    judge_within(
        KIND,
        "{host: a.com, trafficPolicy: {outlierDetection: @}}",
        "spec.trafficPolicy.outlierDetection",
        &[
            ("{}", &[]),
            (
                "{consecutiveErrors: 5}",
                &["W .consecutiveErrors: deprecated"],
            ),
            (
                "{consecutiveErrors: -5}",
                &["W .consecutiveErrors: deprecated"],
            ),
            (
                "{consecutive5xxErrors: 5, consecutiveGatewayErrors: 0}",
                &[],
            ),
            (
                "{consecutiveLocalOriginFailures: 1}",
                &["E .consecutiveLocalOriginFailures: splitExternalLocalOriginErrors"],
            ),
            ("{consecutiveLocalOriginFailures: 0}", &[]),
            (
                "{consecutiveLocalOriginFailures: 1, splitExternalLocalOriginErrors: true}",
                &[],
            ),
            ("{maxEjectionPercent: 100, minHealthPercent: 0}", &[]),
            ("{maxEjectionPercent: 101}", &["E .maxEjectionPercent: 101"]),
            ("{minHealthPercent: -1}", &["E .minHealthPercent: -1"]),
            ("{interval: 1ms, baseEjectionTime: 1ms}", &[]),
            ("{interval: 0s}", &["E .interval: too short"]),
            (
                "{baseEjectionTime: 1ns}",
                &["E .baseEjectionTime: too short"],
            ),
            ("{outlierDetectionHttpErrorCodes: [1]}", &[]),
        ],
    );
}

#[test]
fn hashes_have_cookies_rings_and_tables() {
    judge_balancer(
        "{consistentHash: @}",
        &[
            ("{}", &[]),
            ("{httpHeaderName: 'any thing'}", &[]),
            ("{httpCookie: {name: a, ttl: -1s}}", &[]),
            (
                "{httpCookie: {}}",
                &["E .consistentHash.httpCookie.name: needs a name"],
            ),
            (
                "{httpCookie: {name: a, attributes: [{name: b}, {name: B}]}}",
                &[],
            ),
            (
                "{httpCookie: {name: a, attributes: [{name: b}, {}, {name: b}]}}",
                &[
                    "E .consistentHash.httpCookie.attributes[1].name: needs a name",
                    "E .consistentHash.httpCookie.attributes[2].name: twice",
                ],
            ),
            (
                "{useSourceIp: true, minimumRingSize: 1}",
                &["W .consistentHash.minimumRingSize: deprecated"],
            ),
            (
                "{minimumRingSize: 1, ringHash: {}}",
                &[
                    "W .consistentHash.minimumRingSize: deprecated",
                    "E .consistentHash.minimumRingSize: excludes",
                ],
            ),
            ("{minimumRingSize: 0, maglev: {tableSize: 2}}", &[]),
            (
                "{maglev: {}}",
                &["E .consistentHash.maglev.tableSize: 0 is not a prime"],
            ),
            ("{maglev: {tableSize: 1}}", &[]),
            ("{maglev: {tableSize: 65537}}", &[]),
            (
                "{maglev: {tableSize: 65536}}",
                &["E .consistentHash.maglev.tableSize: 65536"],
            ),
            (
                "{maglev: {tableSize: 25}}",
                &["E .consistentHash.maglev.tableSize: 25"],
            ),
            ("{maglev: {tableSize: 4999999}}", &[]),
            (
                "{maglev: {tableSize: 5000011}}",
                &["E .consistentHash.maglev.tableSize: 5000011"],
            ),
            (
                "{maglev: {tableSize: '18446744073709551557'}}",
                &["E .consistentHash.maglev.tableSize: 18446744073709551557"],
            ),
        ],
    );
}

#[test]
fn a_warmup_has_a_duration() {
    judge_balancer(
        "{warmup: @}",
        &[
            ("{}", &["E .warmup.duration: is needed"]),
            ("{duration: 0s}", &["E .warmup.duration: too short"]),
            ("{duration: 1s, minimumPercent: 100, aggression: 0.1}", &[]),
            (
                "{duration: 1s, minimumPercent: 100.1}",
                &["E .warmup.minimumPercent: 100.1"],
            ),
            ("{duration: 1s, minimumPercent: -3}", &[]),
            (
                "{duration: 1s, aggression: 0}",
                &["E .warmup.aggression: not above 0"],
            ),
        ],
    );
    judge_balancer(
        "@",
        &[
            ("{warmupDurationSecs: 0s}", &[]),
            (
                "{backendUtilization: {weightUpdatePeriod: 0s, errorUtilizationPenaltyPercent: -1}}",
                &[],
            ),
        ],
    );
}

#[test]
fn failover_needs_outlier_detection() {
    judge_balancer(
        "@",
        &[
            (
                "{localityLbSetting: {}, zoneAwareLbSetting: {}}",
                &["E : exclude each other"],
            ),
            (
                "{localityLbSetting: {failover: [{from: a, to: b}]}}",
                &["W .localityLbSetting: outlierDetection"],
            ),
            (
                "{localityLbSetting: {failoverPriority: [topology.kubernetes.io/zone]}}",
                &["W .localityLbSetting: outlierDetection"],
            ),
            (
                "{zoneAwareLbSetting: {failover: [{from: a, to: b}]}}",
                &["W .zoneAwareLbSetting: outlierDetection"],
            ),
            (
                "{zoneAwareLbSetting: {failoverPriority: [app]}}",
                &["W .zoneAwareLbSetting: outlierDetection"],
            ),
            (
                "{zoneAwareLbSetting: {enabled: true, minClusterSize: 0}}",
                &[],
            ),
            (
                "{localityLbSetting: {failover: [{from: a, to: a}], distribute: [{from: a, to: {b: 1}}]}}",
                &["E .localityLbSetting: exclude each other"],
            ),
        ],
    );
}

#[test]
fn failover_is_between_regions() {
    judge_within(
        KIND,
        "{host: a.com, trafficPolicy: {outlierDetection: {}, loadBalancer: {localityLbSetting: @}}}",
        "spec.trafficPolicy.loadBalancer.localityLbSetting",
        &[
            (
                "{failover: [{from: a, to: b}, {from: a, to: b}], failoverPriority: [app]}",
                &[],
            ),
            (
                "{failover: [{from: a, to: b}], failoverPriority: [app, topology.istio.io/subzone, topology.kubernetes.io/region, topology.kubernetes.io/zone]}",
                &[
                    "E .failoverPriority[1]: already seen to",
                    "E .failoverPriority[2]: already seen to",
                    "E .failoverPriority[3]: already seen to",
                ],
            ),
            ("{failoverPriority: [topology.istio.io/subzone]}", &[]),
            (
                "{failover: [{from: a, to: a}]}",
                &["E .failover[0]: cannot take over from itself"],
            ),
            (
                "{failover: [{from: a/b, to: c}]}",
                &["E .failover[0].from: `a/b` is not a region"],
            ),
            (
                "{failover: [{from: a, to: 'c*'}]}",
                &["E .failover[0].to: `c*` is not a region"],
            ),
        ],
    );
    judge_within(
        KIND,
        "{host: a.com, trafficPolicy: {outlierDetection: {}, loadBalancer: {zoneAwareLbSetting: @}}}",
        "spec.trafficPolicy.loadBalancer.zoneAwareLbSetting",
        &[
            (
                "{failover: [{from: a, to: b}], failoverPriority: [app]}",
                &[],
            ),
            (
                "{failoverPriority: [topology.istio.io/subzone]}",
                &["E .failoverPriority[0]: already seen to"],
            ),
            (
                "{failover: [{from: a, to: a}]}",
                &["E .failover[0]: cannot take over from itself"],
            ),
        ],
    );
}

#[test]
fn shares_of_localities_are_100_together() {
    judge_balancer(
        "{localityLbSetting: {distribute: [{from: a, to: @}]}}",
        &[
            ("{a/b/*: 80, a/c/*: 20}", &[]),
            ("{x: 100}", &[]),
            ("{}", &["E .localityLbSetting.distribute[0].to: 0 together"]),
            (
                "{x: 99}",
                &["E .localityLbSetting.distribute[0].to: 99 together"],
            ),
            (
                "{x: 0, y: 100}",
                &["E .localityLbSetting.distribute[0].to.x: 0 is not a share"],
            ),
            (
                "{x: 4294967295, y: 101}",
                &[
                    "E .localityLbSetting.distribute[0].to.x: 4294967295",
                    "E .localityLbSetting.distribute[0].to.y: 101",
                    "E .localityLbSetting.distribute[0].to: 4294967396",
                ],
            ),
            (
                "{r: 50, r/z: 50}",
                &["E .localityLbSetting.distribute[0].to[\"r/z\"]: overlaps"],
            ),
        ],
    );
}

#[test]
fn localities_do_not_overlap() {
    let overlap: &[&str] = &["E .localityLbSetting.distribute[1].from: overlaps"];
    let empty: &[&str] = &["E .localityLbSetting.distribute[1].from: empty part"];
    let star: &[&str] = &["E .localityLbSetting.distribute[1].from: at the end"];
    for (first, second, said) in [
        ("r", "q", &[] as &[&str]),
        ("r/z", "r/y", &[]),
        ("r/z/s", "r/z/t", &[]),
        ("r/z", "r/*", &[]),
        ("r/z/s", "r/z/*", &[]),
        ("r/z/s", "r/*", &[]),
        ("r/z", "*", &[]),
        ("r", "r*", &[]),
        ("r", "r", overlap),
        ("r/z", "r/z", overlap),
        ("r/z/s", "r/z/s", overlap),
        ("r", "r/z", overlap),
        ("r", "r/z/s", overlap),
        ("r/*", "r/z", overlap),
        ("r/*", "r/*", overlap),
        ("r/z/*", "r/z/s", overlap),
        ("r/z", "r/z/s", overlap),
        ("r/z", "r", overlap),
        ("r/*", "r", overlap),
        ("r/z/s", "r", overlap),
        ("r/z/s", "r/z", overlap),
        ("*", "r", overlap),
        ("*", "*", overlap),
        ("r", "", empty),
        ("r", "q/", empty),
        ("r", "q//s", empty),
        ("r", "/z", empty),
        ("r", "*/z", star),
        ("r", "q**", star),
        ("r", "q/*/s", star),
    ] {
        let around = format!(
            "{{localityLbSetting: {{distribute: [{{from: '{first}', to: {{x: 100}}}}, {{from: '{second}', to: {{x: 100}}}}]}}}}"
        );
        judge_balancer("@", &[(&around, said)]);
    }
}
