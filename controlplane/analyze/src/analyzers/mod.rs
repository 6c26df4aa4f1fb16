//! The analyzers, one function each.

mod annotations;
mod application_uid;
mod authorization;
mod conditions;
mod deployment_services;
mod deprecation;
mod external_control_plane;
mod injection;
mod injection_image;
mod kubernetes_gateway;
mod mesh_networks;
mod multi_cluster;
mod own;
mod pods_family;
mod port_name;
mod selections;
mod sidecar;
mod telemetry;
mod traffic;
mod webhook;

use crate::cluster::{Cluster, Input};
use crate::message::Messages;

/// One analyzer.
#[derive(Clone, Copy)]
pub struct Analyzer {
    /// Its name, as `--analyzer` takes it.
    pub name: &'static str,
    /// What it looks for.
    pub description: &'static str,
    /// What it reads.
    pub inputs: &'static [Input],
    /// Looks at a cluster. Others are the further clusters of the mesh, which few analyzers need.
    pub run: fn(&Cluster, others: &[Cluster], &mut Messages),
}

impl std::fmt::Debug for Analyzer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

/// Analyzers under Istio's names, by name.
#[must_use]
pub fn istio() -> Vec<Analyzer> {
    let mut all: Vec<Analyzer> = Vec::new();
    all.extend(pods_family::pods_family());
    all.extend(traffic::all());
    all.sort_by_key(|analyzer| analyzer.name);
    all
}

/// Analyzers that only this mesh has, by name.
#[must_use]
pub fn own() -> Vec<Analyzer> {
    own::all()
}

/// Analyzers that run only when they are named.
#[must_use]
pub fn on_request() -> Vec<Analyzer> {
    pods_family::on_request()
}

/// The annotations that have an effect on objects of a kind and are not deprecated.
#[must_use]
pub fn annotation_names(kind: &str) -> Vec<&'static str> {
    annotations::names(kind)
}
