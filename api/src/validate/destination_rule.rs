//! Rules on DestinationRules.

use std::collections::HashSet;

use super::report::Report;
use super::{tls, values};
use crate::host::{is_any_case_label, is_wildcard_domain};
use crate::networking::{
    ConnectionPoolSettings, ConsistentHash, DestinationRule, H2UpgradePolicy, HashAlgorithm,
    HashKey, HttpSettings, LoadBalancerPolicy, LoadBalancerSettings, LocalityLoadBalancerSetting,
    OutlierDetection, TcpSettings, TrafficPolicy,
};

pub(super) fn check(report: &mut Report<'_>, spec: &DestinationRule) {
    if spec.host.is_empty() {
        report.error("spec.host", "a host is needed");
    } else {
        let fits = is_wildcard_domain(&spec.host);
        report.require(
            fits,
            "spec.host",
            format_args!("`{}` is not a host name or a wildcard", spec.host),
        );
    }
    if let Some(policy) = &spec.traffic_policy {
        traffic_policy(report, "spec.trafficPolicy", policy);
    }
    let mut names = HashSet::new();
    for (i, subset) in spec.subsets.iter().enumerate() {
        let field = format!("spec.subsets[{i}]");
        let (at, name) = (format!("{field}.name"), subset.name.as_str());
        report.require(
            is_any_case_label(name),
            &at,
            format_args!("`{name}` is not a subset's name"),
        );
        report.require(
            names.insert(name),
            &at,
            format_args!("the subset `{name}` is given twice"),
        );
        values::label_map(report, &format!("{field}.labels"), &subset.labels);
        if let Some(policy) = &subset.traffic_policy {
            traffic_policy(report, &format!("{field}.trafficPolicy"), policy);
        }
    }
    values::export_to(report, &spec.export_to, false);
    if let Some(selector) = &spec.workload_selector {
        values::selector(
            report,
            "spec.workloadSelector.matchLabels",
            &selector.match_labels,
        );
        let own = spec
            .export_to
            .iter()
            .all(|name| name == "." || name == report.namespace());
        report.require(
            own,
            "spec.exportTo",
            "with a workloadSelector the object counts in its own namespace only",
        );
    }
}

fn traffic_policy(report: &mut Report<'_>, field: &str, policy: &TrafficPolicy) {
    report.require(
        *policy != TrafficPolicy::default(),
        field,
        "an empty policy has no meaning: take it out",
    );
    settings(
        report,
        field,
        (
            &policy.load_balancer,
            &policy.connection_pool,
            &policy.outlier_detection,
        ),
    );
    tls::client(report, &format!("{field}.tls"), policy.tls.as_ref());
    for (i, port) in policy.port_level_settings.iter().enumerate() {
        let at = format!("{field}.portLevelSettings[{i}]");
        match &port.port {
            Some(port) => values::port(report, &format!("{at}.port.number"), port.number),
            None => report.error(&format!("{at}.port"), "a port is needed"),
        }
        settings(
            report,
            &at,
            (
                &port.load_balancer,
                &port.connection_pool,
                &port.outlier_detection,
            ),
        );
        tls::client(report, &format!("{at}.tls"), port.tls.as_ref());
    }
    if let Some(tunnel) = &policy.tunnel {
        let at = format!("{field}.tunnel");
        report.require(
            policy.proxy_protocol.is_none(),
            &at,
            "only one of tunnel and proxyProtocol may be set",
        );
        let known = ["", "CONNECT", "POST"].contains(&tunnel.protocol.as_str());
        report.require(
            known,
            &format!("{at}.protocol"),
            format_args!("`{}` is not CONNECT or POST", tunnel.protocol),
        );
        report.require(
            !tunnel.target_host.is_empty(),
            &format!("{at}.targetHost"),
            "a host is needed",
        );
        values::port(report, &format!("{at}.targetPort"), tunnel.target_port);
    }
}

type Settings<'a> = (
    &'a Option<LoadBalancerSettings>,
    &'a Option<ConnectionPoolSettings>,
    &'a Option<OutlierDetection>,
);

fn settings(report: &mut Report<'_>, field: &str, (balancer, pool, outlier): Settings<'_>) {
    if let Some(balancer) = balancer {
        load_balancer(report, &format!("{field}.loadBalancer"), balancer);
    }
    if let Some(pool) = pool {
        connection_pool(report, &format!("{field}.connectionPool"), pool);
    }
    if let Some(outlier) = outlier {
        outlier_detection(report, &format!("{field}.outlierDetection"), outlier);
    }
}

/// Limits and times of connections.
pub(super) fn connection_pool(report: &mut Report<'_>, field: &str, pool: &ConnectionPoolSettings) {
    report.require(
        pool.tcp.is_some() || pool.http.is_some(),
        field,
        "one of tcp and http is needed",
    );
    if let Some(tcp) = &pool.tcp {
        tcp_pool(report, &format!("{field}.tcp"), tcp);
    }
    if let Some(http) = &pool.http {
        http_pool(report, &format!("{field}.http"), http);
    }
}

fn tcp_pool(report: &mut Report<'_>, field: &str, tcp: &TcpSettings) {
    values::not_negative(
        report,
        &format!("{field}.maxConnections"),
        tcp.max_connections,
    );
    values::duration(
        report,
        &format!("{field}.connectTimeout"),
        tcp.connect_timeout,
    );
    values::duration(
        report,
        &format!("{field}.maxConnectionDuration"),
        tcp.max_connection_duration,
    );
    if let Some(keepalive) = &tcp.tcp_keepalive {
        values::duration(
            report,
            &format!("{field}.tcpKeepalive.time"),
            keepalive.time,
        );
        values::duration(
            report,
            &format!("{field}.tcpKeepalive.interval"),
            keepalive.interval,
        );
    }
}

fn http_pool(report: &mut Report<'_>, field: &str, http: &HttpSettings) {
    for (name, number) in [
        ("http1MaxPendingRequests", http.http1_max_pending_requests),
        ("http2MaxRequests", http.http2_max_requests),
        ("maxRequestsPerConnection", http.max_requests_per_connection),
        ("maxRetries", http.max_retries),
        ("maxConcurrentStreams", http.max_concurrent_streams),
    ] {
        values::not_negative(report, &format!("{field}.{name}"), number);
    }
    values::duration(report, &format!("{field}.idleTimeout"), http.idle_timeout);
    let both = http.use_client_protocol && http.h2_upgrade_policy == H2UpgradePolicy::Upgrade;
    report.require(
        !both,
        &format!("{field}.useClientProtocol"),
        "excludes h2UpgradePolicy UPGRADE",
    );
    if let Some(keep_alive) = &http.http2_keep_alive {
        let at = format!("{field}.http2KeepAlive");
        let whole = keep_alive.interval.is_some() && keep_alive.timeout.is_some();
        report.require(whole, &at, "both interval and timeout are needed");
        values::duration(report, &format!("{at}.interval"), keep_alive.interval);
        values::duration(report, &format!("{at}.timeout"), keep_alive.timeout);
    }
}

fn outlier_detection(report: &mut Report<'_>, field: &str, outlier: &OutlierDetection) {
    values::duration(report, &format!("{field}.interval"), outlier.interval);
    values::duration(
        report,
        &format!("{field}.baseEjectionTime"),
        outlier.base_ejection_time,
    );
    values::int_percent(
        report,
        &format!("{field}.maxEjectionPercent"),
        outlier.max_ejection_percent,
    );
    values::int_percent(
        report,
        &format!("{field}.minHealthPercent"),
        outlier.min_health_percent,
    );
    let local = outlier.consecutive_local_origin_failures.unwrap_or(0);
    let split = local == 0 || outlier.split_external_local_origin_errors;
    report.require(
        split,
        &format!("{field}.consecutiveLocalOriginFailures"),
        "needs splitExternalLocalOriginErrors",
    );
    if outlier.consecutive_errors != 0 {
        report.warning(
            &format!("{field}.consecutiveErrors"),
            "is deprecated: use consecutive5xxErrors or consecutiveGatewayErrors",
        );
    }
}

fn load_balancer(report: &mut Report<'_>, field: &str, balancer: &LoadBalancerSettings) {
    if let Some(LoadBalancerPolicy::ConsistentHash(hash)) = &balancer.lb_policy {
        consistent_hash(report, &format!("{field}.consistentHash"), hash);
    }
    let both = balancer.locality_lb_setting.is_some() && balancer.zone_aware_lb_setting.is_some();
    report.require(
        !both,
        field,
        "only one of localityLbSetting and zoneAwareLbSetting may be set",
    );
    if let Some(locality) = &balancer.locality_lb_setting {
        locality_setting(report, &format!("{field}.localityLbSetting"), locality);
    }
    if let Some(warmup) = &balancer.warmup {
        let at = format!("{field}.warmup");
        report.require(
            warmup.duration.is_some(),
            &format!("{at}.duration"),
            "a duration is needed",
        );
        values::duration(report, &format!("{at}.duration"), warmup.duration);
        let percent = warmup.minimum_percent.unwrap_or(10.0);
        report.require(
            (0.0..=100.0).contains(&percent),
            &format!("{at}.minimumPercent"),
            "must be 0 to 100",
        );
        report.require(
            warmup.aggression.unwrap_or(1.0) > 0.0,
            &format!("{at}.aggression"),
            "must be above 0",
        );
    }
}

fn consistent_hash(report: &mut Report<'_>, field: &str, hash: &ConsistentHash) {
    report.require(hash.hash_key.is_some(), field, "what is hashed is needed: httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName");
    match &hash.hash_key {
        Some(HashKey::HttpCookie(cookie)) => {
            report.require(
                !cookie.name.is_empty(),
                &format!("{field}.httpCookie.name"),
                "a cookie needs a name",
            );
        }
        Some(HashKey::HttpHeaderName(name)) => {
            report.require(
                values::is_header_name(name),
                &format!("{field}.httpHeaderName"),
                format_args!("`{name}` is not a header's name"),
            );
        }
        _ => {}
    }
    if let Some(HashAlgorithm::Maglev(maglev)) = &hash.hash_algorithm
        && maglev.table_size != 0
    {
        let fits = maglev.table_size < 5_000_011 && is_prime(maglev.table_size);
        report.require(
            fits,
            &format!("{field}.maglev.tableSize"),
            format_args!("{} is not a prime below 5000011", maglev.table_size),
        );
    }
    let twice = hash.minimum_ring_size != 0 && hash.hash_algorithm.is_some();
    report.require(
        !twice,
        &format!("{field}.minimumRingSize"),
        "only one of minimumRingSize, ringHash and maglev may be set",
    );
}

fn is_prime(number: u64) -> bool {
    number > 1
        && (2..)
            .take_while(|divisor| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

fn locality_setting(report: &mut Report<'_>, field: &str, setting: &LocalityLoadBalancerSetting) {
    let both = !setting.distribute.is_empty() && !setting.failover.is_empty();
    report.require(
        !both,
        field,
        "only one of distribute and failover may be set",
    );
    for (i, distribute) in setting.distribute.iter().enumerate() {
        let at = format!("{field}.distribute[{i}].to");
        let total: u64 = distribute.to.values().map(|share| u64::from(*share)).sum();
        report.require(
            total == 100,
            &at,
            format_args!("the shares are {total} together, not 100"),
        );
        let fits = distribute
            .to
            .values()
            .all(|share| (1..=100).contains(share));
        report.require(fits, &at, "each share must be 1 to 100");
    }
    for (i, failover) in setting.failover.iter().enumerate() {
        let at = format!("{field}.failover[{i}]");
        report.require(
            failover.from != failover.to,
            &at,
            "from and to are the same region",
        );
        let plain = !failover.from.contains(['/', '*']) && !failover.to.contains(['/', '*']);
        report.require(plain, &at, "regions are named without zones and `*`");
    }
}
