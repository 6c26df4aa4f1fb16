//! Which connections workloads accept: PeerAuthentication, from the mesh down to a single port.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::security::{MutualTlsMode, PeerAuthentication};

use crate::proxy::Labels;
use crate::rule::Rule;
use crate::service::covers;

/// How a port accepts connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mtls {
    /// Plain text only.
    Disable,
    /// Plain text and mTLS.
    Permissive,
    /// mTLS only.
    Strict,
}

/// How a workload accepts connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadMtls {
    /// Every port that is not listed.
    pub mode: Mtls,
    /// Ports of the workload (not of a service) with a mode of their own.
    pub ports: BTreeMap<u16, Mtls>,
}

/// All PeerAuthentication objects, oldest first, by level.
#[derive(Debug, Default)]
pub struct PeerPolicies {
    mesh: Option<Mtls>,
    namespaces: BTreeMap<Arc<str>, Mtls>,
    workloads: BTreeMap<Arc<str>, Vec<Arc<Rule<PeerAuthentication>>>>,
}

impl PeerPolicies {
    /// Sorts policies into their levels: mesh (root namespace, no selector), namespace, workload. A policy with a selector in the root
    /// namespace counts nowhere.
    #[must_use]
    pub fn new(mut rules: Vec<Arc<Rule<PeerAuthentication>>>, root_namespace: &str) -> Self {
        rules.sort_by(|a, b| a.order(b));
        let mut policies = Self::default();
        let mut mesh_decided = false;
        let mut decided: Vec<Arc<str>> = Vec::new();
        for rule in rules {
            let has_selector = rule
                .spec
                .selector
                .as_ref()
                .is_some_and(|selector| !selector.match_labels.is_empty());
            let root = &*rule.namespace == root_namespace;
            let mode = rule.spec.mtls.as_ref().and_then(|mtls| parse(mtls.mode));
            match (root, has_selector) {
                (true, true) => {}
                (true, false) => {
                    if !mesh_decided {
                        policies.mesh = mode;
                        mesh_decided = true;
                    }
                }
                (false, false) => {
                    // The oldest policy of a namespace decides, also when it leaves the mode to the mesh.
                    if decided.contains(&rule.namespace) {
                        continue;
                    }
                    decided.push(Arc::clone(&rule.namespace));
                    if let Some(mode) = mode {
                        policies
                            .namespaces
                            .insert(Arc::clone(&rule.namespace), mode);
                    }
                }
                (false, true) => policies
                    .workloads
                    .entry(Arc::clone(&rule.namespace))
                    .or_default()
                    .push(rule),
            }
        }
        policies
    }

    /// The mode of workloads that no policy of their own selects.
    #[must_use]
    pub fn namespace_mode(&self, namespace: &str) -> Mtls {
        self.namespaces
            .get(namespace)
            .copied()
            .or(self.mesh)
            .unwrap_or(Mtls::Permissive)
    }

    /// The modes of a workload with these labels.
    #[must_use]
    pub fn workload(&self, namespace: &str, labels: &Labels) -> WorkloadMtls {
        let inherited = self.namespace_mode(namespace);
        let selected = self
            .workloads
            .get(namespace)
            .into_iter()
            .flatten()
            .find(|rule| {
                rule.spec
                    .selector
                    .as_ref()
                    .is_some_and(|selector| covers(labels, &selector.match_labels))
            });
        let Some(rule) = selected else {
            return WorkloadMtls {
                mode: inherited,
                ports: BTreeMap::new(),
            };
        };
        let mode = rule
            .spec
            .mtls
            .as_ref()
            .and_then(|mtls| parse(mtls.mode))
            .unwrap_or(inherited);
        let levels = rule.spec.port_level_mtls.iter().flatten();
        let ports = levels.filter_map(|(port, mtls)| {
            Some((u16::try_from(*port).ok()?, parse(mtls.mode).unwrap_or(mode)))
        });
        WorkloadMtls {
            mode,
            ports: ports.collect(),
        }
    }
}

impl WorkloadMtls {
    /// The mode of one workload port.
    #[must_use]
    pub fn port(&self, port: u16) -> Mtls {
        self.ports.get(&port).copied().unwrap_or(self.mode)
    }
}

fn parse(mode: MutualTlsMode) -> Option<Mtls> {
    match mode {
        MutualTlsMode::Unset => None,
        MutualTlsMode::Disable => Some(Mtls::Disable),
        MutualTlsMode::Permissive => Some(Mtls::Permissive),
        MutualTlsMode::Strict => Some(Mtls::Strict),
    }
}

#[cfg(test)]
mod tests {
    use lateen_api::networking::MatchLabelsSelector;
    use lateen_api::security::MutualTls;

    use super::*;
    use crate::service::Visibility;

    fn policy(
        ns: &str,
        created: i64,
        mode: MutualTlsMode,
        selector: &[(&str, &str)],
        ports: &[(u32, MutualTlsMode)],
    ) -> Arc<Rule<PeerAuthentication>> {
        let match_labels: Labels = selector
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect();
        Arc::new(Rule {
            namespace: ns.into(),
            name: format!("p{created}").into(),
            created,
            export_to: Visibility::Public,
            spec: PeerAuthentication {
                selector: (!match_labels.is_empty())
                    .then_some(MatchLabelsSelector { match_labels }),
                mtls: Some(MutualTls { mode }),
                port_level_mtls: Some(
                    ports
                        .iter()
                        .map(|(p, m)| (*p, MutualTls { mode: *m }))
                        .collect(),
                ),
            },
        })
    }

    #[test]
    fn levels() {
        use MutualTlsMode::{Disable, Permissive, Strict, Unset};
        let labels = Labels::from([("app".into(), "web".into())]);
        let policies = PeerPolicies::new(
            vec![
                policy("istio-system", 2, Strict, &[], &[]),
                policy("istio-system", 1, Disable, &[("app", "web")], &[]),
                policy("shop", 5, Permissive, &[], &[]),
                policy("shop", 4, Unset, &[], &[]),
                policy(
                    "shop",
                    3,
                    Unset,
                    &[("app", "web")],
                    &[(8080, Disable), (9090, Unset)],
                ),
                policy("lab", 1, Disable, &[], &[]),
            ],
            "istio-system",
        );
        assert_eq!(policies.namespace_mode("istio-system"), Mtls::Strict);
        assert_eq!(
            policies.namespace_mode("shop"),
            Mtls::Strict,
            "the oldest policy leaves it to the mesh"
        );
        assert_eq!(policies.namespace_mode("lab"), Mtls::Disable);
        let web = policies.workload("shop", &labels);
        assert_eq!(
            (web.mode, web.port(8080), web.port(9090)),
            (Mtls::Strict, Mtls::Disable, Mtls::Strict)
        );
        assert_eq!(
            policies.workload("istio-system", &labels).mode,
            Mtls::Strict
        );
        assert_eq!(
            PeerPolicies::default().namespace_mode("x"),
            Mtls::Permissive
        );
    }
}
