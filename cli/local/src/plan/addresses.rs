//! Addresses of Services: each keeps its own for as long as it lives.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use lateen_api::object::{Object, Problem, Severity, Spec};

use crate::network::{Addresses, SERVICE_RANGE};

/// Addresses that are in use.
#[derive(Debug)]
pub(crate) struct ServiceAddresses {
    pool: Addresses,
    taken: BTreeMap<(String, String), Ipv4Addr>,
}

impl Default for ServiceAddresses {
    fn default() -> Self {
        Self {
            pool: Addresses::of_services(),
            taken: BTreeMap::new(),
        }
    }
}

impl ServiceAddresses {
    /// The Services among the objects, each with its address; addresses of Services that are gone become free.
    ///
    /// # Errors
    /// A Service that asks for an address outside the range or one that is taken.
    pub(super) fn assign(&mut self, objects: &[Object]) -> Result<Vec<Service>, Vec<Problem>> {
        let services: Vec<(&Object, &Arc<Service>)> = objects
            .iter()
            .filter_map(|o| {
                if let Spec::Service(s) = &o.spec {
                    Some((o, s))
                } else {
                    None
                }
            })
            .collect();
        let lives = |key: &(String, String)| {
            services
                .iter()
                .any(|(o, _)| o.key.namespace == key.0 && o.key.name == key.1)
        };
        let pool = &self.pool;
        self.taken.retain(|key, address| {
            let keep = lives(key);
            if !keep {
                pool.release(*address);
            }
            keep
        });
        let mut problems = Vec::new();
        let mut made = Vec::new();
        // Those that ask for one first, so that no other gets it.
        let (asking, others): (Vec<_>, Vec<_>) =
            services.into_iter().partition(|(_, s)| asked(s).is_some());
        for (object, service) in asking.into_iter().chain(others) {
            match self.one(object, service) {
                Ok(service) => made.push(service),
                Err(message) => {
                    problems.push(object.problem(Severity::Error, "spec.clusterIP", message))
                }
            }
        }
        made.sort_by(|a, b| {
            (&a.metadata.namespace, &a.metadata.name)
                .cmp(&(&b.metadata.namespace, &b.metadata.name))
        });
        if problems.is_empty() {
            Ok(made)
        } else {
            Err(problems)
        }
    }

    fn one(&mut self, object: &Object, service: &Service) -> Result<Service, String> {
        let mut service = service.clone();
        let spec = service.spec.get_or_insert_default();
        let headless = spec.cluster_ip.as_deref() == Some("None");
        if headless || spec.type_.as_deref() == Some("ExternalName") {
            return Ok(service);
        }
        let key = (object.key.namespace.clone(), object.key.name.clone());
        let wanted = spec
            .cluster_ip
            .as_deref()
            .filter(|ip| !ip.is_empty())
            .map(str::to_owned);
        let address = match (wanted, self.taken.get(&key)) {
            (None, Some(address)) => *address,
            (None, None) => self.pool.take().map_err(|e| e.to_string())?,
            (Some(text), before) => {
                let address: Ipv4Addr = text
                    .parse()
                    .map_err(|_| format!("{text:?} is no IPv4 address"))?;
                if before != Some(&address) && !self.pool.take_this(address) {
                    return Err(format!(
                        "address {address} is taken or outside {SERVICE_RANGE}; leave clusterIP out to get a free one"
                    ));
                }
                address
            }
        };
        if let Some(before) = self
            .taken
            .insert(key, address)
            .filter(|before| *before != address)
        {
            self.pool.release(before);
        }
        spec.cluster_ip = Some(address.to_string());
        spec.cluster_ips = Some(vec![address.to_string()]);
        Ok(service)
    }
}

fn asked(service: &Service) -> Option<&str> {
    service
        .spec
        .as_ref()?
        .cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None")
}
