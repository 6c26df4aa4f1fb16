//! The destinations that a VirtualService names, and where in it they stand.

use lateen_api::networking::{Destination, VirtualService};

/// Where a destination stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spot {
    /// A rule's route, by list (`http`, `tls` or `tcp`), rule and entry.
    Route(&'static str, usize, usize),
    /// An HTTP rule's `mirror`.
    Mirror(usize),
    /// An entry of an HTTP rule's `mirrors`.
    Mirrors(usize, usize),
}

impl Spot {
    /// Whether it is a copy of requests that goes there.
    pub(crate) const fn is_mirror(self) -> bool {
        !matches!(self, Self::Route(..))
    }

    /// The path of the destination's host.
    pub(crate) fn host_field(self) -> String {
        match self {
            Self::Route(list, rule, entry) => {
                format!("spec.{list}[{rule}].route[{entry}].destination.host")
            }
            Self::Mirror(rule) => format!("spec.http[{rule}].mirror.host"),
            Self::Mirrors(rule, entry) => {
                format!("spec.http[{rule}].mirrors[{entry}].destination.host")
            }
        }
    }
}

/// All destinations, mirrors among them. An entry of a route without a destination gives `None`.
pub(crate) fn destinations(
    routes: &VirtualService,
) -> impl Iterator<Item = (Spot, Option<&Destination>)> {
    let tcp = routes.tcp.iter().enumerate().flat_map(|(rule, route)| {
        let entries = route.route.iter().enumerate();
        entries.map(move |(entry, to)| (Spot::Route("tcp", rule, entry), to.destination.as_ref()))
    });
    let tls = routes.tls.iter().enumerate().flat_map(|(rule, route)| {
        let entries = route.route.iter().enumerate();
        entries.map(move |(entry, to)| (Spot::Route("tls", rule, entry), to.destination.as_ref()))
    });
    let http = routes.http.iter().enumerate().flat_map(|(rule, route)| {
        let entries = route.route.iter().enumerate();
        entries.map(move |(entry, to)| (Spot::Route("http", rule, entry), to.destination.as_ref()))
    });
    let mirrors = routes.http.iter().enumerate().flat_map(|(rule, route)| {
        let one = route.mirror.iter().map(move |to| (Spot::Mirror(rule), to));
        let entries = route.mirrors.iter().enumerate();
        let many = entries.filter_map(move |(entry, mirror)| {
            Some((Spot::Mirrors(rule, entry), mirror.destination.as_ref()?))
        });
        one.chain(many).map(|(spot, to)| (spot, Some(to)))
    });
    tcp.chain(tls).chain(http).chain(mirrors)
}
