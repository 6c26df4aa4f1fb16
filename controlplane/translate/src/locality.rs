//! Which endpoints are near: priorities for failover, weights for distribution.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::networking::{
    LoadBalancerSettings, LocalityDistribute, LocalityLoadBalancerSetting,
};
use lateen_controlplane_model::endpoint::Workload;
use lateen_controlplane_model::proxy::Labels;
use lateen_controlplane_model::service::{Distribution, Service};

use crate::endpoint::locality_setting;
use crate::view::View;

/// Labels by which `trafficDistribution` prefers endpoints, most general first.
const SAME_ZONE: [&str; 4] = [
    "topology.istio.io/network",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
];
const SAME_NODE: [&str; 5] = [
    "topology.istio.io/network",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
    "kubernetes.io/hostname",
];

/// Where an endpoint is.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    locality: &'a str,
    labels: &'a Labels,
    network: &'a str,
    node: &'a str,
}

/// How a client ranks places.
#[derive(Debug)]
pub(crate) struct Preference<'a> {
    client: Client<'a>,
    failover: Option<Failover<'a>>,
    distribute: Option<&'a LocalityDistribute>,
}

#[derive(Debug)]
struct Client<'a> {
    locality: &'a str,
    labels: &'a Labels,
    network: &'a str,
    node: &'a str,
}

#[derive(Debug)]
enum Failover<'a> {
    /// By region, zone and subzone, with regions to prefer.
    Locality(Option<&'a LocalityLoadBalancerSetting>),
    /// By leading labels that agree.
    Labels(Vec<&'a str>, Option<&'a LocalityLoadBalancerSetting>),
}

impl<'a> Place<'a> {
    /// Where a workload is.
    pub(crate) fn of(workload: &'a Workload) -> Self {
        Self {
            locality: &workload.locality,
            labels: &workload.labels,
            network: &workload.network,
            node: &workload.node,
        }
    }
}

/// The preference of a view for a service. Failover needs outlier detection, or a service that asks for near endpoints.
pub(crate) fn preference<'a>(
    view: &'a View,
    service: &'a Service,
    settings: Option<&'a LoadBalancerSettings>,
    with_outlier: bool,
) -> Preference<'a> {
    let client = Client {
        locality: &view.traits.locality,
        labels: &view.traits.labels,
        network: &view.traits.network,
        node: view.traits.node.as_deref().unwrap_or_default(),
    };
    let own = settings.and_then(|settings| settings.locality_lb_setting.as_ref());
    let forced = match service.distribution {
        Distribution::Any => None,
        _ if own.is_some() => None,
        Distribution::SameZone => Some(SAME_ZONE.to_vec()),
        Distribution::SameNode => Some(SAME_NODE.to_vec()),
    };
    let setting = locality_setting(view, service, settings);
    let distribute = setting.and_then(|setting| {
        setting
            .distribute
            .iter()
            .find(|rule| locality_matches(&view.traits.locality, &rule.from))
    });
    let failover = match (forced, setting) {
        (Some(labels), _) => Some(Failover::Labels(labels, None)),
        (None, Some(setting)) if with_outlier && setting.distribute.is_empty() => {
            if setting.failover_priority.is_empty() {
                Some(Failover::Locality(Some(setting)))
            } else {
                let labels = setting
                    .failover_priority
                    .iter()
                    .map(String::as_str)
                    .collect();
                Some(Failover::Labels(
                    labels,
                    Some(setting).filter(|setting| !setting.failover.is_empty()),
                ))
            }
        }
        _ => None,
    };
    Preference {
        client,
        failover,
        distribute,
    }
}

impl Preference<'_> {
    /// The rank of a place before gaps are closed; 0 is nearest.
    pub(crate) fn priority(&self, place: &Place<'_>) -> u32 {
        match &self.failover {
            None => 0,
            Some(Failover::Locality(_)) if self.client.locality.is_empty() => 0,
            Some(Failover::Locality(setting)) => self.by_locality(place, *setting),
            Some(Failover::Labels(labels, setting)) => {
                let matched = self.leading_matches(labels, place);
                let rank = u32::try_from(labels.len() - matched).unwrap_or(u32::MAX);
                match setting {
                    Some(setting) => rank
                        .saturating_mul(5)
                        .saturating_add(self.by_locality(place, Some(setting))),
                    None => rank,
                }
            }
        }
    }

    /// The weight of a locality; `None` when a distribution leaves it out.
    pub(crate) fn weight(&self, locality: &Arc<str>, endpoints: u32) -> Option<u32> {
        let Some(rule) = self.distribute else {
            return Some(endpoints);
        };
        share(&rule.to, locality).filter(|weight| *weight > 0)
    }

    fn by_locality(&self, place: &Place<'_>, setting: Option<&LocalityLoadBalancerSetting>) -> u32 {
        let part = |text: &str, at: usize| text.split('/').nth(at).unwrap_or_default().to_owned();
        let same = |at: usize| part(self.client.locality, at) == part(place.locality, at);
        let rank = match (same(0), same(1), same(2)) {
            (true, true, true) => 0,
            (true, true, false) => 1,
            (true, false, _) => 2,
            (false, _, _) => 3,
        };
        let region = part(self.client.locality, 0);
        let wanted =
            setting.and_then(|setting| setting.failover.iter().find(|rule| rule.from == region));
        match wanted {
            Some(rule) if rank == 3 && part(place.locality, 0) != rule.to => 4,
            _ => rank,
        }
    }

    fn leading_matches(&self, labels: &[&str], place: &Place<'_>) -> usize {
        labels
            .iter()
            .take_while(|wanted| match wanted.split_once('=') {
                Some((key, value)) => place.value(key) == value,
                None => self.client_value(wanted) == place.value(wanted),
            })
            .count()
    }

    fn client_value(&self, key: &str) -> &str {
        value(
            key,
            self.client.labels,
            self.client.locality,
            self.client.network,
            self.client.node,
        )
    }
}

impl Place<'_> {
    fn value(&self, key: &str) -> &str {
        value(key, self.labels, self.locality, self.network, self.node)
    }
}

/// A label, where topology labels come from what is known of the place itself.
fn value<'a>(
    key: &str,
    labels: &'a Labels,
    locality: &'a str,
    network: &'a str,
    node: &'a str,
) -> &'a str {
    let part = |at: usize| locality.split('/').nth(at).unwrap_or_default();
    match key {
        "topology.kubernetes.io/region" => part(0),
        "topology.kubernetes.io/zone" => part(1),
        "topology.istio.io/subzone" => part(2),
        "topology.istio.io/network" => network,
        "kubernetes.io/hostname" => node,
        _ => labels.get(key).map_or("", String::as_str),
    }
}

/// True when a locality fits a pattern such as `us-east/*` or `*`.
fn locality_matches(locality: &str, pattern: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    let mut own = locality.split('/');
    for wanted in pattern.split('/') {
        if wanted == "*" {
            return true;
        }
        if own.next() != Some(wanted) {
            return false;
        }
    }
    true
}

fn share(to: &BTreeMap<String, u32>, locality: &str) -> Option<u32> {
    // The most precise pattern decides.
    to.iter()
        .filter(|(pattern, _)| locality_matches(locality, pattern))
        .max_by_key(|(pattern, _)| pattern.len())
        .map(|(_, weight)| *weight)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_api::networking::LocalityFailover;

    fn rank(client: &str, setting: Option<&LocalityLoadBalancerSetting>, place: &str) -> u32 {
        let labels = Labels::new();
        let client = Client {
            locality: client,
            labels: &labels,
            network: "",
            node: "",
        };
        let preference = Preference {
            client,
            failover: Some(Failover::Locality(setting)),
            distribute: None,
        };
        preference.priority(&Place {
            locality: place,
            labels: &labels,
            network: "",
            node: "",
        })
    }

    #[test]
    fn ranks() {
        let setting = LocalityLoadBalancerSetting {
            failover: vec![LocalityFailover {
                from: "r1".into(),
                to: "r2".into(),
            }],
            ..Default::default()
        };
        for (place, plain, directed) in [
            ("r1/z1/s1", 0, 0),
            ("r1/z1/s2", 1, 1),
            ("r1/z2/s1", 2, 2),
            ("r2/z1/s1", 3, 3),
            ("r3/z1/s1", 3, 4),
        ] {
            assert_eq!(rank("r1/z1/s1", None, place), plain, "{place}");
            assert_eq!(rank("r1/z1/s1", Some(&setting), place), directed, "{place}");
        }
        assert_eq!(
            rank("", None, "r1/z1/s1"),
            0,
            "a client that knows no place prefers none"
        );
    }

    #[test]
    fn shares() {
        let to = BTreeMap::from([("r1/*".to_owned(), 80), ("r1/z2/*".to_owned(), 20)]);
        assert_eq!(share(&to, "r1/z1/s"), Some(80));
        assert_eq!(share(&to, "r1/z2/s"), Some(20));
        assert_eq!(share(&to, "r9/z2/s"), None);
    }
}
