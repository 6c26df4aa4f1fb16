//! The decision about an admitted request.

use std::cell::OnceCell;
use std::sync::Arc;

use http::HeaderName;
use lateen_proxy_model::{
    ClusterChoice, ClusterRef, HeaderMutations, NamedCluster, Permit, RequestView, RetryPolicy,
    Route, RouteAction, RouteForward, RouteTable, VirtualHost, WeightedCluster,
};

use crate::answer::Answer;
use crate::find::{Found, low_bits, scaled};

/// What happens to an admitted request.
#[derive(Debug)]
pub enum Decision<'a> {
    /// It is sent on.
    Forward(Target<'a>),
    /// It is answered here: a redirect or a fixed response.
    Answer(Answer<'a>),
    /// No virtual host or no route: 404, response flag `NR`.
    NotFound,
}

/// Where a request is sent and what is done to it on the way.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The table the route is from.
    pub table: &'a RouteTable,
    /// Virtual host.
    pub host: &'a Arc<VirtualHost>,
    /// Route.
    pub route: &'a Arc<Route>,
    /// The route's forwarding part.
    pub forward: &'a RouteForward,
    /// Cluster that was chosen; its slot may be empty.
    pub cluster: &'a ClusterRef,
    /// The candidate that was drawn, when clusters are weighted.
    pub weighted: Option<&'a WeightedCluster>,
}

/// The cluster that a route chooses, by slot or by what a header says.
#[derive(Clone, Copy, Debug)]
pub enum Chosen<'a> {
    /// This one.
    Slot(&'a ClusterRef),
    /// The one that this header names.
    Header(&'a HeaderName),
}

/// Finds clusters that a header names.
pub struct ByName<'l> {
    /// The slot of a name; an empty one when there is no such cluster.
    lookup: &'l dyn Fn(&str) -> ClusterRef,
    found: OnceCell<ClusterRef>,
}

impl std::fmt::Debug for ByName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ByName").field(&self.found).finish()
    }
}

impl<'l> ByName<'l> {
    /// Looks clusters up by `lookup`, which gives an empty slot for a name that is not known.
    pub fn new(lookup: &'l dyn Fn(&str) -> ClusterRef) -> Self {
        Self {
            lookup,
            found: OnceCell::new(),
        }
    }

    fn slot<'a>(&'a self, chosen: Chosen<'a>, request: &RequestView<'_>) -> &'a ClusterRef {
        match chosen {
            Chosen::Slot(slot) => slot,
            Chosen::Header(name) => self.found.get_or_init(|| {
                let value = request.headers.get(name);
                (self.lookup)(value.and_then(|it| it.to_str().ok()).unwrap_or_default())
            }),
        }
    }
}

impl<'a> Target<'a> {
    /// Whether header rules may make headers that steer this proxy.
    pub fn steers(&self) -> bool {
        let adds = |changes: &HeaderMutations| changes.adds("x-envoy-");
        adds(&self.route.request_headers)
            || adds(&self.host.request_headers)
            || adds(&self.table.request_headers)
            || self.weighted.is_some_and(|it| adds(&it.request_headers))
    }

    /// The retry policy of the route, or else of its virtual host.
    pub fn retry(&self) -> Option<&'a Arc<RetryPolicy>> {
        self.forward.retry.as_ref().or(self.host.retry.as_ref())
    }
}

/// Decides what happens to an admitted request. `random` is the draw that [`find`](crate::find) got.
pub fn decide<'a>(
    _permit: Permit,
    found: &Found<'a>,
    request: &RequestView<'_>,
    random: u64,
    names: &'a ByName<'a>,
) -> Decision<'a> {
    let Some(host) = found.host else {
        return Decision::NotFound;
    };
    if found.to_https {
        return Decision::Answer(Answer::to_https(found.table, host, request));
    }
    let Some(route) = found.route else {
        return Decision::NotFound;
    };
    let at = (found.table, host, route);
    match &route.action {
        RouteAction::Forward(forward) => {
            let Some((chosen, weighted)) = choose_cluster(&forward.cluster, random) else {
                return Decision::NotFound;
            };
            Decision::Forward(Target {
                table: found.table,
                host,
                route,
                forward,
                cluster: names.slot(chosen, request),
                weighted,
            })
        }
        RouteAction::Redirect(redirect) => {
            Decision::Answer(Answer::redirect(at, redirect, request))
        }
        RouteAction::Direct(direct) => Decision::Answer(Answer::direct(at, direct)),
    }
}

/// Draws a cluster; TCP proxies use it too. `None` only for an empty weighted list.
pub fn choose_cluster(
    choice: &ClusterChoice,
    random: u64,
) -> Option<(Chosen<'_>, Option<&WeightedCluster>)> {
    match choice {
        ClusterChoice::One(cluster) => Some((Chosen::Slot(cluster), None)),
        ClusterChoice::Header(name) => Some((Chosen::Header(name), None)),
        ClusterChoice::Weighted {
            clusters, total, ..
        } => {
            let mut left = scaled(low_bits(random), *total);
            for candidate in clusters {
                if left < candidate.weight {
                    return Some((candidate.chosen(), Some(candidate)));
                }
                left -= candidate.weight;
            }
            clusters.last().map(|last| (last.chosen(), Some(last)))
        }
    }
}

/// The draw that makes [`choose_cluster`] fall on `value` of a total, as a number that the request brings chooses it.
pub fn fixed_draw(random: u64, value: u64, total: u32) -> u64 {
    let total = u64::from(total.max(1));
    let wanted = value % total;
    let low = (wanted << 32).div_ceil(total).min(u64::from(u32::MAX));
    (random & !u64::from(u32::MAX)) | low
}

trait Candidate {
    fn chosen(&self) -> Chosen<'_>;
}

impl Candidate for WeightedCluster {
    fn chosen(&self) -> Chosen<'_> {
        match &self.cluster {
            NamedCluster::Fixed(slot) => Chosen::Slot(slot),
            NamedCluster::Header(name) => Chosen::Header(name),
        }
    }
}

#[cfg(test)]
mod tests;
