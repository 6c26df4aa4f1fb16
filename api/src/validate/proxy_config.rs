//! Rules on ProxyConfigs.

use super::report::Report;
use super::{target_refs, values};
use crate::networking::ProxyConfig;

pub(super) fn check(report: &mut Report<'_>, spec: &ProxyConfig) {
    target_refs::selector(report, spec.selector.as_ref());
    if let Some(workers) = spec.concurrency {
        values::not_negative(report, "spec.concurrency", workers);
    }
}
