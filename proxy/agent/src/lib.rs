//! The pod's side: bootstrap, certificates, probes, merged metrics, redirect rules, wait and drain.
//!
//! - [`Settings`] and [`node()`](node::node): what the pod's environment says, read once from a [`Source`];
//! - [`Renewal`]: the workload's certificate, asked for, kept and rotated; [`ControlPlane`]: the authenticated way there;
//! - [`Status`]: the servers on 15020, 15021 and 15090; [`Readiness`]: when the proxy counts as ready;
//! - [`until_end`]: how a pod ends; [`iptables`]: how its traffic comes to the proxy; [`wait()`](wait::wait) and [`request`]: its hooks.

mod agent_metrics;
mod certificate;
mod control_plane;
mod drain;
mod fetch;
mod file_secrets;
mod grpc_health;
pub mod iptables;
mod native_stats;
mod node;
mod podinfo;
mod probes;
mod readiness;
mod renew;
mod scrape;
pub mod serve;
mod settings;
mod source;
mod status;
mod unverified;
mod wait;

pub use agent_metrics::AgentMetrics;
pub use certificate::{
    CertificateError, CertificateInfo, IDENTITY, PemIdentity, ROOTS, Validity, certificate_info,
    validity,
};
pub use control_plane::{ControlPlane, ControlPlaneError};
pub use drain::{Ask, DrainHandle, Signals, until_end};
pub use fetch::{FetchError, Fetched};
pub use file_secrets::FileSecrets;
pub use native_stats::{refresh_stats, resident_bytes};
pub use node::{NodeBuildError, node};
pub use probes::{Probers, ProbersError};
pub use readiness::Readiness;
pub use renew::{RenewError, Renewal};
pub use scrape::{ScrapeConfig, ScrapeError};
pub use settings::{CertificateSettings, DrainSettings, Pod, Ports, Settings, SettingsError};
pub use source::{Source, SystemSource};
pub use status::{ListenError, Status, listen, listen_on};
pub use wait::{WaitError, WaitOptions, request, wait};
