//! The decision about an admitted request.

use std::sync::Arc;

use lateen_proxy_model::{
    ClusterChoice, ClusterRef, Permit, RequestView, RetryPolicy, Route, RouteAction, RouteForward,
    RouteTable, VirtualHost, WeightedCluster,
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

impl<'a> Target<'a> {
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
        RouteAction::Forward(forward) => forward_to(at, forward, random),
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
) -> Option<(&ClusterRef, Option<&WeightedCluster>)> {
    match choice {
        ClusterChoice::One(cluster) => Some((cluster, None)),
        ClusterChoice::Weighted { clusters, total } => {
            let mut left = scaled(low_bits(random), *total);
            for candidate in clusters {
                if left < candidate.weight {
                    return Some((&candidate.cluster, Some(candidate)));
                }
                left -= candidate.weight;
            }
            clusters.last().map(|last| (&last.cluster, Some(last)))
        }
    }
}

fn forward_to<'a>(
    (table, host, route): (&'a RouteTable, &'a Arc<VirtualHost>, &'a Arc<Route>),
    forward: &'a RouteForward,
    random: u64,
) -> Decision<'a> {
    match choose_cluster(&forward.cluster, random) {
        Some((cluster, weighted)) => Decision::Forward(Target {
            table,
            host,
            route,
            forward,
            cluster,
            weighted,
        }),
        None => Decision::NotFound,
    }
}

#[cfg(test)]
mod tests;
