//! The chain of HTTP filters and what routes say of them.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::admission_control::AdmissionControl;
use crate::compression::{Compressor, CompressorRoute, Decompressor};
use crate::cors::CorsPolicy;
use crate::csrf::CsrfPolicy;
use crate::ext_authz::{AuthzOverride, ExtAuthz};
use crate::ext_proc::{ExtProc, ExtProcOverride};
use crate::forward_proxy::{ForwardHost, ForwardProxy};
use crate::global_rate_limit::{GlobalRateLimit, GlobalRateLimitRoute};
use crate::health_filter::HealthFilter;
use crate::jwt::{JwtFilter, JwtOverride};
use crate::listener::StatsFilter;
use crate::local_rate_limit::LocalRateLimit;
use crate::rbac::RbacFilter;
use crate::route::Fault;
use crate::session::{MutationFilter, MutationLevels, StatefulSession};
use crate::slot::Slot;

/// One filter of a connection manager's chain, which runs in the order given.
#[derive(Clone, Debug)]
pub struct FilterEntry {
    /// Name, which settings of routes refer to.
    pub name: Arc<str>,
    /// What it does.
    pub filter: HttpFilter,
    /// Off, unless a route switches it on.
    pub disabled: bool,
}

/// An HTTP filter before the router.
#[derive(Clone, Debug)]
pub enum HttpFilter {
    /// Fault injection; a route's own fault overrides this.
    Fault(Option<Arc<Fault>>),
    /// CORS; policies are on routes.
    Cors,
    /// Refuses what other sites make browsers send.
    Csrf(Arc<CsrfPolicy>),
    /// Role-based access control.
    Rbac(Arc<RbacFilter>),
    /// Local rate limits.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// Authentication by JSON Web Tokens.
    Jwt(Arc<JwtFilter>),
    /// External authorisation.
    ExtAuthz(Arc<ExtAuthz>),
    /// Refusals while too many answers are bad.
    AdmissionControl(Arc<AdmissionControl>),
    /// External processing.
    ExtProc(Arc<ExtProc>),
    /// Rate limits that a service knows.
    RateLimit(Arc<GlobalRateLimit>),
    /// gRPC statistics.
    GrpcStats,
    /// `istio.alpn`: upstream ALPN by the request's protocol.
    IstioAlpn,
    /// `istio.metadata_exchange`: peer metadata in headers.
    PeerMetadata {
        /// The headers are taken from the downstream request and answered (inbound).
        downstream: bool,
        /// The headers are sent to the upstream and read from its answer (outbound).
        upstream: bool,
        /// They are not sent to clusters outside the mesh.
        skip_external: bool,
    },
    /// `istio.stats`.
    Stats(StatsFilter),
    /// Answers health checks of the proxy itself.
    HealthCheck(Arc<HealthFilter>),
    /// A filter that comes by itself; none while its settings are missing, which ends requests with 500.
    Discovered(Arc<Slot<HttpFilter>>),
    /// gRPC-Web, which gateways of the mesh always carry, to gRPC and back.
    GrpcWeb,
    /// Compresses bodies.
    Compress(Arc<Compressor>),
    /// Decompresses bodies.
    Decompress(Arc<Decompressor>),
    /// Waits for the whole request, of so many bytes at most.
    Buffer(u32),
    /// Changes headers.
    Mutate(Arc<MutationFilter>),
    /// Sessions that stay with one endpoint.
    Session(Arc<StatefulSession>),
    /// Has the request's host looked up for clusters that forward to it.
    ForwardProxy(Arc<ForwardProxy>),
}

/// Settings of a filter for some routes, of the filter's own kind.
#[derive(Clone, Debug)]
pub enum FilterOverride {
    /// Faults in place of the filter's own; `None` injects nothing.
    Fault(Option<Arc<Fault>>),
    /// A cross-origin policy; `None` is none.
    Cors(Option<Arc<CorsPolicy>>),
    /// A policy against forged requests in place of the filter's own.
    Csrf(Arc<CsrfPolicy>),
    /// Rules in place of the filter's own; `None` lets every request pass.
    Rbac(Option<Arc<RbacFilter>>),
    /// A local rate limit in place of the filter's own.
    LocalRateLimit(Arc<LocalRateLimit>),
    /// What the route needs of tokens.
    Jwt(JwtOverride),
    /// What the route says of external authorisation.
    ExtAuthz(AuthzOverride),
    /// What the route says of external processing.
    ExtProc(ExtProcOverride),
    /// What is asked of a rate limit service in place of the filter's own.
    RateLimit(Arc<GlobalRateLimitRoute>),
    /// What the route says of compression.
    Compress(Arc<CompressorRoute>),
    /// Most bytes of a request that is waited for; `None` does not wait.
    Buffer(Option<u32>),
    /// Changes of headers beside the filter's own.
    Mutate(MutationLevels),
    /// A session in place of the filter's own; `None` is none.
    Session(Option<Arc<StatefulSession>>),
    /// The host that is looked up.
    ForwardProxy(ForwardHost),
}

/// What a route says of one filter.
#[derive(Clone, Debug)]
pub struct FilterSetting {
    /// The filter is off for the route; `false` switches on one that is off by itself.
    pub disabled: bool,
    /// Settings in place of, or beside, the filter's own.
    pub config: Option<FilterOverride>,
}

/// What a route says of the filters of the chain, by their names: weighted cluster, route, virtual host and table in
/// one, merged when the configuration came.
#[derive(Clone, Debug, Default)]
pub struct Overrides(Option<Arc<[Named]>>);

/// A filter's name and what is said of it.
type Named = (Arc<str>, FilterSetting);

impl HttpFilter {
    /// Whether the filter does something with a request on its way, in its place of the chain. The others are switches
    /// of the connection manager, wherever they stand.
    pub fn acts(&self) -> bool {
        match self {
            Self::Fault(_)
            | Self::Cors
            | Self::Rbac(_)
            | Self::Jwt(_)
            | Self::ExtAuthz(_)
            | Self::LocalRateLimit(_)
            | Self::RateLimit(_)
            | Self::HealthCheck(_)
            | Self::Csrf(_)
            | Self::AdmissionControl(_)
            | Self::ExtProc(_)
            | Self::GrpcWeb
            | Self::Compress(_)
            | Self::Decompress(_)
            | Self::Buffer(_)
            | Self::Mutate(_)
            | Self::Session(_)
            | Self::ForwardProxy(_)
            | Self::Discovered(_) => true,
            Self::GrpcStats | Self::IstioAlpn | Self::PeerMetadata { .. } | Self::Stats(_) => false,
        }
    }
}

impl HttpFilter {
    /// Names of what the filter counts, below the connection manager's prefix; in the order that its engine counts by.
    pub fn counters(&self) -> Vec<String> {
        match self {
            Self::Rbac(rbac) => {
                let (rules, shadow) = (&rbac.rules_prefix, &rbac.shadow_prefix);
                vec![
                    format!("rbac.{rules}allowed"),
                    format!("rbac.{rules}denied"),
                    format!("rbac.{shadow}shadow_allowed"),
                    format!("rbac.{shadow}shadow_denied"),
                ]
            }
            Self::Jwt(jwt) => {
                let prefix = match &*jwt.stat_prefix {
                    "" => String::new(),
                    prefix => format!("{prefix}."),
                };
                [
                    "allowed",
                    "denied",
                    "cors_preflight_bypassed",
                    "jwks_fetch_success",
                    "jwks_fetch_failed",
                ]
                .map(|name| format!("jwt_authn.{prefix}{name}"))
                .to_vec()
            }
            Self::ExtAuthz(authz) => {
                let prefix = match &*authz.stat_prefix {
                    "" => String::new(),
                    prefix => format!("{prefix}."),
                };
                [
                    "ok",
                    "denied",
                    "error",
                    "disabled",
                    "failure_mode_allowed",
                    "invalid",
                ]
                .map(|name| format!("ext_authz.{prefix}{name}"))
                .to_vec()
            }
            Self::Csrf(_) => ["missing_source_origin", "request_invalid", "request_valid"]
                .iter()
                .map(|name| format!("csrf.{name}"))
                .collect(),
            Self::AdmissionControl(_) => ["rq_rejected", "rq_success", "rq_failure"]
                .map(|name| format!("admission_control.{name}"))
                .to_vec(),
            Self::ExtProc(proc) => proc.counters(),
            Self::Compress(compressor) => compressor.counters(),
            Self::Decompress(decompressor) => decompressor.counters(),
            _ => Vec::new(),
        }
    }
}

impl FilterEntry {
    /// A filter that is on.
    pub fn new(name: impl Into<Arc<str>>, filter: HttpFilter) -> Self {
        Self {
            name: name.into(),
            filter,
            disabled: false,
        }
    }

    /// What the route says of this filter, when it is on for the route: `None` is off.
    pub fn setting<'o>(&self, overrides: &'o Overrides) -> Option<Option<&'o FilterOverride>> {
        match overrides.find(&self.name) {
            Some(setting) => (!setting.disabled).then_some(setting.config.as_ref()),
            None => (!self.disabled).then_some(None),
        }
    }
}

impl FilterOverride {
    /// These settings where `above`, of a less specific level, says something too.
    #[must_use]
    fn over(&self, above: &Self) -> Self {
        match (self, above) {
            (Self::Cors(Some(own)), Self::Cors(Some(above))) => {
                Self::Cors(Some(Arc::new(own.over(above))))
            }
            (Self::ExtAuthz(own), Self::ExtAuthz(above)) => Self::ExtAuthz(own.over(above)),
            (Self::ExtProc(own), Self::ExtProc(above)) => Self::ExtProc(own.over(above)),
            (Self::Mutate(own), Self::Mutate(above)) => Self::Mutate(own.over(above)),
            (own, _) => own.clone(),
        }
    }
}

impl Overrides {
    /// Nothing said.
    pub const NONE: Self = Self(None);

    /// The settings of one level.
    pub fn new(mut settings: Vec<(Arc<str>, FilterSetting)>) -> Self {
        if settings.is_empty() {
            return Self(None);
        }
        settings.sort_by(|one, other| one.0.cmp(&other.0));
        Self(Some(settings.into()))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// What is said of the filter `name`.
    pub fn find(&self, name: &str) -> Option<&FilterSetting> {
        let settings = self.0.as_ref()?;
        let place = settings.binary_search_by(|(known, _)| (**known).cmp(name));
        Some(&settings.get(place.ok()?)?.1)
    }

    /// These settings over those of a less specific level.
    #[must_use]
    pub fn over(&self, above: &Self) -> Self {
        let (Some(own), Some(theirs)) = (&self.0, &above.0) else {
            return Self(self.0.clone().or_else(|| above.0.clone()));
        };
        let (mut own, mut theirs) = (own.iter().peekable(), theirs.iter().peekable());
        let mut merged = Vec::new();
        while let (Some(mine), Some(other)) = (own.peek(), theirs.peek()) {
            match mine.0.cmp(&other.0) {
                Ordering::Less => merged.extend(own.next().cloned()),
                Ordering::Greater => merged.extend(theirs.next().cloned()),
                Ordering::Equal => {
                    merged.push((Arc::clone(&mine.0), mine.1.over(&other.1)));
                    own.next();
                    theirs.next();
                }
            }
        }
        merged.extend(own.cloned());
        merged.extend(theirs.cloned());
        Self(Some(merged.into()))
    }
}

impl FilterSetting {
    fn over(&self, above: &Self) -> Self {
        let config = match (&self.config, &above.config) {
            (Some(own), Some(above)) => Some(own.over(above)),
            (own, above) => own.clone().or_else(|| above.clone()),
        };
        Self {
            disabled: self.disabled,
            config,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(on: bool) -> Option<FilterOverride> {
        Some(FilterOverride::Fault(on.then(Arc::default)))
    }

    fn setting(
        name: &str,
        disabled: bool,
        config: Option<FilterOverride>,
    ) -> (Arc<str>, FilterSetting) {
        (name.into(), FilterSetting { disabled, config })
    }

    #[test]
    fn the_most_specific_level_wins() {
        let route = Overrides::new(vec![
            setting("c", false, None),
            setting("a", true, None),
            setting("b", false, fault(true)),
        ]);
        let table = Overrides::new(vec![
            setting("b", true, fault(false)),
            setting("c", false, fault(false)),
            setting("d", true, None),
        ]);
        let merged = route.over(&table);
        assert!(merged.find("a").is_some_and(|a| a.disabled));
        let b = merged.find("b").expect("set");
        assert!(matches!(b.config, Some(FilterOverride::Fault(Some(_)))) && !b.disabled);
        let c = merged.find("c").expect("set");
        assert!(matches!(c.config, Some(FilterOverride::Fault(None))));
        assert!(merged.find("d").is_some_and(|d| d.disabled));
        assert!(merged.find("e").is_none() && Overrides::NONE.over(&route).find("a").is_some());
    }

    #[test]
    fn routes_switch_filters_on_and_off() {
        let mut entry = FilterEntry::new("f", HttpFilter::Cors);
        let off = Overrides::new(vec![setting("f", true, None)]);
        let on = Overrides::new(vec![setting("f", false, None)]);
        assert!(entry.setting(&Overrides::NONE).is_some() && entry.setting(&off).is_none());
        entry.disabled = true;
        assert!(entry.setting(&Overrides::NONE).is_none() && entry.setting(&on).is_some());
    }
}
