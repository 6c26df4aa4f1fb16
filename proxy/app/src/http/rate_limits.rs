//! Rate limits in the chain of HTTP filters.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::request::Parts;
use lateen_proxy_admit::{DescriptorFacts, LocalLimit, descriptors, local_rate_limit, retry_after};
use lateen_proxy_model::{
    BucketView, Descriptor, LocalLimiter, LocalRateLimit, RateLimit, RequestView, RouteAction,
    RouteRateLimits, VirtualHostLimits,
};
use lateen_proxy_relay::cells::Cells;
use lateen_proxy_relay::http::{Exchange, LocalReply};
use lateen_proxy_route::{Found, choose_cluster};

use super::request::view;

/// gRPC status of a caller that asks for too much.
const RESOURCE_EXHAUSTED: u32 = 8;

/// Asks the local limits; the bucket is for the headers of the answer.
pub(super) fn local(
    exchange: &Exchange,
    (found, random): (&Found<'_>, u64),
    parts: &mut Parts,
    config: &Arc<LocalRateLimit>,
) -> (Option<BucketView>, Result<(), LocalReply>) {
    let Some(shared) = &config.limiter else {
        return (None, Ok(()));
    };
    let connection = exchange.connection();
    let own: Option<Rc<LocalLimiter>> = config.per_connection.then(|| connection.limiter(shared));
    let limiter = own.as_deref().unwrap_or(shared);
    let limit = {
        let place = Place {
            exchange,
            found,
            random,
        };
        let asked = || {
            let request = view(exchange, parts);
            let own = config.limits.as_deref();
            place.descriptors(request, own, config.host_limits, |it| {
                it.stage == config.stage
            })
        };
        let chance = (|| fastrand::u32(..1_000_000), Instant::now());
        let cells = Cells(connection.chain.worker.recorder.stats());
        local_rate_limit(config, limiter, asked, chance, &cells)
    };
    match limit {
        LocalLimit::Off => (None, Ok(())),
        LocalLimit::Pass(shown) => (shown, Ok(())),
        LocalLimit::NotEnforced(shown) => {
            config.request_headers.apply(&mut parts.headers);
            (shown, Ok(()))
        }
        LocalLimit::Refused { bucket, shown } => {
            let grpc = config.resource_exhausted.then_some(RESOURCE_EXHAUSTED);
            let mut reply = LocalReply::locally_limited(config.status, grpc);
            config.response_headers.apply(&mut reply.headers);
            retry_after(config, bucket.as_ref(), &mut reply.headers);
            (bucket.filter(|_| shown), Err(reply))
        }
    }
}

/// Where a request stands when a limit is asked.
pub(super) struct Place<'a> {
    pub(super) exchange: &'a Exchange,
    pub(super) found: &'a Found<'a>,
    pub(super) random: u64,
}

impl<'a> Place<'a> {
    /// The descriptors of a request: by the filter's own limits where it has some, or else by the route's.
    pub(super) fn descriptors(
        &self,
        request: RequestView<'a>,
        own: Option<&'a [RateLimit]>,
        host: VirtualHostLimits,
        wanted: impl Fn(&RateLimit) -> bool,
    ) -> Vec<Descriptor<'a>> {
        let Some(RouteAction::Forward(forward)) = self.found.route.map(|route| &route.action)
        else {
            let facts = self.facts(request, None);
            return descriptors(own.into_iter().flatten(), &facts, |_| true);
        };
        let cluster = choose_cluster(&forward.cluster, self.random);
        let facts = self.facts(request, cluster.map(|(slot, _)| &**slot.name()));
        if let Some(own) = own {
            return descriptors(own.iter(), &facts, |_| true);
        }
        let limits: Option<&RouteRateLimits> = forward.rate_limits.as_deref();
        let limits = limits.into_iter().flat_map(|limits| limits.in_force(host));
        descriptors(limits, &facts, wanted)
    }

    fn facts(&self, request: RequestView<'a>, cluster: Option<&'a str>) -> DescriptorFacts<'a> {
        DescriptorFacts {
            request,
            source_cluster: &self.exchange.connection().chain.worker.service_cluster,
            destination_cluster: cluster,
        }
    }
}
