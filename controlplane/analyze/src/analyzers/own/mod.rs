//! Checks that Istio has not.

mod authorization;
mod gateway_claims;
mod mutual_tls;
mod retry_chains;
mod retry_timeouts;
mod subset_readiness;

use super::Analyzer;

/// The analyzers of this module.
pub(super) fn all() -> Vec<Analyzer> {
    vec![
        authorization::NEVER_MATCHES,
        authorization::OPEN_PATHS,
        authorization::SHADOWED,
        gateway_claims::ANALYZER,
        mutual_tls::ANALYZER,
        retry_chains::ANALYZER,
        retry_timeouts::ANALYZER,
        subset_readiness::ANALYZER,
    ]
}
