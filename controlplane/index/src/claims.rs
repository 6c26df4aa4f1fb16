//! Who declares a host: several objects may; the services in effect and their joined endpoints.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use lateen_controlplane_model::endpoint::{Endpoint, Endpoints};
use lateen_controlplane_model::service::{Registry, Service};
use lateen_controlplane_model::table::Table;

use crate::store::Id;

/// The object that declares a host: its registry and its name.
pub(crate) type Claimant = (Registry, Id);

#[derive(Debug)]
struct Claim {
    service: Arc<Service>,
    endpoints: Vec<Endpoint>,
}

/// Every declaration of every host.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    by_host: HashMap<Id, BTreeMap<Claimant, Claim>>,
    hosts_of: HashMap<Claimant, BTreeSet<Id>>,
    stale: BTreeSet<Id>,
}

/// How one host changed.
#[derive(Debug)]
pub(crate) struct HostChange {
    pub(crate) old: Option<Arc<Service>>,
    pub(crate) new: Option<Arc<Service>>,
    pub(crate) old_endpoints: Option<Arc<Endpoints>>,
    pub(crate) new_endpoints: Option<Arc<Endpoints>>,
}

impl Claims {
    /// Replaces everything an object declares.
    pub(crate) fn declare(&mut self, claimant: &Claimant, services: Vec<(Service, Vec<Endpoint>)>) {
        let hosts: BTreeSet<Id> = services
            .iter()
            .map(|(service, _)| (Arc::clone(&service.namespace), Arc::clone(&service.host)))
            .collect();
        for gone in self.hosts_of.remove(claimant).into_iter().flatten() {
            if let Some(claims) = self.by_host.get_mut(&gone) {
                if !hosts.contains(&gone) {
                    claims.remove(claimant);
                }
                self.stale.insert(gone);
            }
        }
        for (service, endpoints) in services {
            let id = (Arc::clone(&service.namespace), Arc::clone(&service.host));
            let claims = self.by_host.entry(id.clone()).or_default();
            let kept = claims
                .get(claimant)
                .map(|claim| &claim.service)
                .filter(|old| ***old == service)
                .cloned();
            claims.insert(
                claimant.clone(),
                Claim {
                    service: kept.unwrap_or_else(|| Arc::new(service)),
                    endpoints,
                },
            );
            self.stale.insert(id);
        }
        if !hosts.is_empty() {
            self.hosts_of.insert(claimant.clone(), hosts);
        }
    }

    /// Replaces the endpoints alone of every host an object declares.
    pub(crate) fn supply(
        &mut self,
        claimant: &Claimant,
        endpoints: impl Fn(&Service) -> Vec<Endpoint>,
    ) {
        for id in self.hosts_of.get(claimant).into_iter().flatten() {
            if let Some(claim) = self
                .by_host
                .get_mut(id)
                .and_then(|claims| claims.get_mut(claimant))
            {
                claim.endpoints = endpoints(&claim.service);
                self.stale.insert(id.clone());
            }
        }
    }

    /// Brings the tables up to date and says what changed in them.
    pub(crate) fn settle(
        &mut self,
        services: &mut Table<Service>,
        endpoints: &mut Table<Endpoints>,
    ) -> Vec<HostChange> {
        let mut changes = Vec::new();
        for id in std::mem::take(&mut self.stale) {
            let (namespace, host) = &id;
            let claims = self.by_host.get(&id).filter(|claims| !claims.is_empty());
            let new = claims.and_then(winner);
            let new_endpoints = claims.map(|claims| {
                let list = claims
                    .values()
                    .flat_map(|claim| claim.endpoints.iter().cloned())
                    .collect();
                Endpoints::new(list)
            });
            let old = services.value(namespace, host).cloned();
            let old_endpoints = endpoints.value(namespace, host).cloned();
            let same_service = old == new;
            let same_endpoints = old_endpoints.as_deref() == new_endpoints.as_ref();
            if claims.is_none() {
                self.by_host.remove(&id);
            }
            if same_service && same_endpoints {
                continue;
            }
            match (&new, same_service) {
                (_, true) => {}
                (Some(service), false) => {
                    drop(services.insert(namespace, host, Arc::clone(service)))
                }
                (None, false) => drop(services.remove(namespace, host)),
            }
            let new_endpoints = if same_endpoints {
                old_endpoints.clone()
            } else {
                new_endpoints.map(Arc::new)
            };
            match &new_endpoints {
                Some(list) => drop(endpoints.insert(namespace, host, Arc::clone(list))),
                None => drop(endpoints.remove(namespace, host)),
            }
            changes.push(HostChange {
                old,
                new,
                old_endpoints,
                new_endpoints,
            });
        }
        changes
    }
}

/// A Kubernetes Service keeps its host from ServiceEntries; among those the oldest wins.
fn winner(claims: &BTreeMap<Claimant, Claim>) -> Option<Arc<Service>> {
    let rank = |(claimant, claim): &(&Claimant, &Claim)| {
        (claimant.0, claim.service.created, claimant.1.clone())
    };
    claims
        .iter()
        .min_by_key(rank)
        .map(|(_, claim)| Arc::clone(&claim.service))
}
