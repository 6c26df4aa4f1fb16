//! The traffic policy that holds for one port and subset of a destination.

use lateen_api::mesh::MeshConfig;
use lateen_api::networking::{
    ClientTlsSettings, ConnectionPoolSettings, DestinationRule, LoadBalancerSettings,
    OutlierDetection, ProxyProtocol, RetryBudget, Subset, TrafficPolicy, TunnelSettings,
};

/// The parts of a policy in effect; `None` leaves a part to the defaults.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Policy<'a> {
    pub(crate) load_balancer: Option<&'a LoadBalancerSettings>,
    pub(crate) pool: Option<&'a ConnectionPoolSettings>,
    pub(crate) outlier: Option<&'a OutlierDetection>,
    pub(crate) tls: Option<&'a ClientTlsSettings>,
    pub(crate) tunnel: Option<&'a TunnelSettings>,
    pub(crate) proxy_protocol: Option<&'a ProxyProtocol>,
    pub(crate) retry_budget: Option<&'a RetryBudget>,
}

impl<'a> Policy<'a> {
    /// The policy of a service port: the rule, its settings for the port, the subset, its settings for the port, then what the mesh
    /// gives to everybody.
    pub(crate) fn new(
        rule: Option<&'a DestinationRule>,
        subset: Option<&'a Subset>,
        port: u16,
        mesh: &'a MeshConfig,
    ) -> Self {
        let mut policy = Self::default();
        policy.overlay(rule.and_then(|rule| rule.traffic_policy.as_ref()), port);
        policy.overlay(
            subset.and_then(|subset| subset.traffic_policy.as_ref()),
            port,
        );
        if let Some(default) = &mesh.default_traffic_policy {
            policy.pool = policy.pool.or(default.connection_pool.as_ref());
            policy.outlier = policy.outlier.or(default.outlier_detection.as_ref());
        }
        policy
    }

    fn overlay(&mut self, over: Option<&'a TrafficPolicy>, port: u16) {
        let Some(over) = over else { return };
        self.load_balancer = over.load_balancer.as_ref().or(self.load_balancer);
        self.pool = over.connection_pool.as_ref().or(self.pool);
        self.outlier = over.outlier_detection.as_ref().or(self.outlier);
        self.tls = over.tls.as_ref().or(self.tls);
        self.tunnel = over.tunnel.as_ref().or(self.tunnel);
        self.proxy_protocol = over.proxy_protocol.as_ref().or(self.proxy_protocol);
        self.retry_budget = over.retry_budget.as_ref().or(self.retry_budget);
        let of_port = over.port_level_settings.iter().find(|settings| {
            settings
                .port
                .as_ref()
                .is_some_and(|own| own.number == u32::from(port))
        });
        if let Some(settings) = of_port {
            // Settings of a port stand alone: what they leave out goes back to the default.
            self.load_balancer = settings.load_balancer.as_ref();
            self.pool = settings.connection_pool.as_ref();
            self.outlier = settings.outlier_detection.as_ref();
            self.tls = settings.tls.as_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use lateen_api::networking::{PortSelector, PortTrafficPolicy};

    use super::*;

    #[test]
    fn port_settings_replace_and_subsets_override() {
        let pool = |max| ConnectionPoolSettings {
            tcp: Some(lateen_api::networking::TcpSettings {
                max_connections: max,
                ..Default::default()
            }),
            http: None,
        };
        let port = PortTrafficPolicy {
            port: Some(PortSelector { number: 80 }),
            connection_pool: Some(pool(2)),
            ..Default::default()
        };
        let rule = DestinationRule {
            traffic_policy: Some(TrafficPolicy {
                connection_pool: Some(pool(1)),
                outlier_detection: Some(OutlierDetection::default()),
                port_level_settings: vec![port],
                ..Default::default()
            }),
            ..Default::default()
        };
        let subset = Subset {
            traffic_policy: Some(TrafficPolicy {
                connection_pool: Some(pool(3)),
                ..Default::default()
            }),
            ..Default::default()
        };
        let mesh = MeshConfig::default();
        let max = |policy: Policy<'_>| {
            policy
                .pool
                .and_then(|p| p.tcp.as_ref())
                .map(|t| t.max_connections)
        };
        let plain = Policy::new(Some(&rule), None, 81, &mesh);
        assert_eq!((max(plain), plain.outlier.is_some()), (Some(1), true));
        let on_port = Policy::new(Some(&rule), None, 80, &mesh);
        assert_eq!((max(on_port), on_port.outlier.is_some()), (Some(2), false));
        assert_eq!(
            max(Policy::new(Some(&rule), Some(&subset), 80, &mesh)),
            Some(3)
        );
    }
}
