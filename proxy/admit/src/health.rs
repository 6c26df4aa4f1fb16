//! Health checks of the proxy itself, as Envoy's health check filter answers them.

use std::sync::atomic::Ordering::Relaxed;

use lateen_proxy_model::{Cluster, Health, HealthFilter, RequestView};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthVerdict {
    /// It is no check.
    Other,
    /// A check that goes on to the upstream.
    Pass,
    /// A check that ends here well; the details of the answer.
    Well(&'static str),
    /// A check that ends here badly; the details of the answer.
    Unwell(&'static str),
    /// A check that ends here badly because somebody asked for that.
    Failing,
}

/// Judges a request.
pub fn health(filter: &HealthFilter, request: &RequestView<'_>) -> HealthVerdict {
    if !filter.headers.iter().all(|header| header.matches(request)) {
        return HealthVerdict::Other;
    }
    if filter.pass_through {
        return HealthVerdict::Pass;
    }
    if filter.failing.load(Relaxed) {
        return HealthVerdict::Failing;
    }
    for (cluster, percent) in &filter.clusters {
        let Some(cluster) = cluster.load_full() else {
            return HealthVerdict::Unwell("health_check_failed_no_cluster_found");
        };
        let (well, all) = counts(&cluster);
        if all == 0 {
            if *percent > 0.0 {
                return HealthVerdict::Unwell("health_check_failed_cluster_empty");
            }
            continue;
        }
        if 100.0 * (well as f64) < (all as f64) * percent {
            return HealthVerdict::Unwell("health_check_failed_cluster_unhealthy");
        }
    }
    HealthVerdict::Well("health_check_ok")
}

/// Endpoints that may be chosen, and all.
fn counts(cluster: &Cluster) -> (usize, usize) {
    let set = cluster.endpoints().and_then(|slot| slot.load_full());
    let endpoints = || set.iter().flat_map(|set| set.iter());
    let well = endpoints().filter(|one| matches!(one.health, Health::Healthy | Health::Degraded));
    (well.count(), endpoints().count())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use http::{HeaderMap, HeaderValue};
    use lateen_proxy_model::{
        HeaderMatcher, HeaderSubject, HeaderTest, NoFacts, Slot, StringMatcher,
    };

    use super::*;

    #[test]
    fn checks_are_told_apart_and_judged() {
        let failing = Arc::new(AtomicBool::new(false));
        let mut filter = HealthFilter {
            pass_through: false,
            headers: vec![HeaderMatcher {
                name: HeaderSubject::Path,
                test: HeaderTest::Value(StringMatcher::Exact {
                    value: "/hc".into(),
                    ignore_case: false,
                }),
                invert: false,
                missing_as_empty: false,
            }],
            clusters: Vec::new(),
            failing: Arc::clone(&failing),
            own_cluster: HeaderValue::from_static("own"),
        };
        let headers = HeaderMap::new();
        let of = |filter: &HealthFilter, path: &str| {
            let request = RequestView {
                method: "GET",
                scheme: "http",
                authority: "a",
                path,
                headers: &headers,
                facts: &NoFacts,
            };
            health(filter, &request)
        };
        assert_eq!(of(&filter, "/"), HealthVerdict::Other);
        assert_eq!(of(&filter, "/hc"), HealthVerdict::Well("health_check_ok"));
        failing.store(true, Relaxed);
        assert_eq!(of(&filter, "/hc"), HealthVerdict::Failing);
        failing.store(false, Relaxed);
        filter.clusters = vec![(Slot::new("gone"), 0.0)];
        assert!(matches!(of(&filter, "/hc"), HealthVerdict::Unwell(_)));
        filter.pass_through = true;
        assert_eq!(of(&filter, "/hc"), HealthVerdict::Pass);
    }
}
