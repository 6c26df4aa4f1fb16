//! Resources to state, in an order in which no request sees half a change.
//!
//! A cluster becomes visible when its endpoints are known, a route table when no cluster it names is still waiting, a
//! listener when its route tables, secrets and discovered filters are known or were waited for long enough. What goes away goes in the other direction: a cluster stays until nobody
//! refers to it. No clock and no I/O: the time is passed in.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use ahash::RandomState;
use bytes::Bytes;
use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use lateen_proxy_model::{Cluster, ClusterKind, Listener, RouteTable};
use lateen_proxy_state::{Rejection, Resource, ResourceKind, State, Update};
use prost::Message;

use crate::dns::Resolvers;
use crate::dns_cache;
use crate::source::{Sources, parts};
use crate::wire::at::{At, Refused};
use crate::wire::context::{AccessLogs, Context, NodeFacts, Uses, Wait};
use crate::wire::{self, endpoint as wire_endpoint};

/// Longest time a removed cluster waits for the routes that still name it.
const LEAVE: Duration = Duration::from_secs(15);
/// Longest time a DNS cluster waits for its first look-up.
const FIRST_LOOKUP: Duration = Duration::from_secs(5);

/// Names of secrets that are remembered.
const NAMES: usize = 4096;

/// A resource as it comes: what it is known by ([`key`](crate::source::key)) and the message without its envelope.
#[derive(Clone, Debug)]
pub(crate) struct Incoming {
    pub(crate) name: Arc<str>,
    pub(crate) version: Box<str>,
    pub(crate) body: Bytes,
    pub(crate) is_static: bool,
    /// It ends after this time, unless it comes again.
    pub(crate) time_to_live: Option<Duration>,
}

/// Names the control plane is to be asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) endpoints: BTreeSet<Arc<str>>,
    pub(crate) routes: BTreeSet<Arc<str>>,
    pub(crate) secrets: BTreeSet<Arc<str>>,
    pub(crate) extensions: BTreeSet<Arc<str>>,
}

/// Turns resources into state.
pub(crate) struct Applier {
    state: Arc<State>,
    logs: Arc<dyn AccessLogs>,
    reject_fragment: bool,
    /// Who the proxy is.
    pub(crate) node: NodeFacts,
    resolvers: Resolvers,
    secret_names: BTreeSet<Arc<str>>,
    /// Boxed where there is anything to remember.
    clusters: HashMap<Arc<str>, Option<Box<ClusterNote>>, RandomState>,
    warming: BTreeMap<Arc<str>, Warming>,
    leaving: BTreeMap<Arc<str>, (Instant, Option<Box<ClusterNote>>)>,
    tables: BTreeMap<Arc<str>, (RouteTable, Uses)>,
    listeners: BTreeMap<Arc<str>, ListenerNote>,
    gone_listeners: Vec<Arc<str>>,
    answered: BTreeSet<ResourceKind>,
    /// Until when what is referred to is waited for.
    waits: BTreeMap<(ResourceKind, Arc<str>), Instant>,
    /// What was waited for in vain, or refused before there was any.
    given_up: BTreeSet<(ResourceKind, Arc<str>)>,
    sources: Arc<Sources>,
    to_sweep: bool,
    tables_to_check: bool,
    /// What is referred to may have changed.
    wanted_changed: bool,
}

/// What is remembered of a cluster.
#[derive(Debug, Default)]
struct ClusterNote {
    eds: Option<Arc<str>>,
    secrets: Box<[Arc<str>]>,
    is_dns: bool,
}

impl ClusterNote {
    /// `None` when there is nothing to remember.
    fn kept(self) -> Option<Box<Self>> {
        let any = self.eds.is_some() || self.is_dns || !self.secrets.is_empty();
        any.then(|| Box::new(self))
    }
}

/// A cluster that is not visible yet.
struct Warming {
    cluster: Cluster,
    until: Option<Instant>,
}

/// A listener: what the visible one uses, and the one that waits to replace it.
#[derive(Default)]
struct ListenerNote {
    live: Option<Uses>,
    next: Option<(Listener, Uses)>,
}

impl Applier {
    pub(crate) fn new(
        state: Arc<State>,
        logs: Arc<dyn AccessLogs>,
        reject_fragment: bool,
        (resolvers, sources): (Resolvers, Arc<Sources>),
    ) -> Self {
        Self {
            state,
            logs,
            reject_fragment,
            node: NodeFacts::default(),
            resolvers,
            secret_names: BTreeSet::new(),
            clusters: HashMap::default(),
            warming: BTreeMap::new(),
            leaving: BTreeMap::new(),
            tables: BTreeMap::new(),
            listeners: BTreeMap::new(),
            gone_listeners: Vec::new(),
            answered: BTreeSet::new(),
            waits: BTreeMap::new(),
            given_up: BTreeSet::new(),
            sources,
            to_sweep: false,
            tables_to_check: false,
            wanted_changed: true,
        }
    }

    /// Applies resources of one kind and removes others; gives an error text for each resource that is refused. What
    /// is refused keeps its version from before. `full`: what is not among the resources is gone too.
    pub(crate) fn apply(
        &mut self,
        kind: ResourceKind,
        resources: Vec<Incoming>,
        removed: &[String],
        full: bool,
        now: Instant,
    ) -> Vec<String> {
        let mut errors = Vec::new();
        if full {
            self.remove_others(kind, &resources, now);
        }
        for resource in resources {
            if let Err(refused) = self.put(kind, &resource, now) {
                let (name, _) = parts(&resource.name);
                errors.push(format!("{kind:?} {name:?}: {refused}"));
                let rejection = Rejection {
                    version: resource.version,
                    reason: refused.to_string().into(),
                    at: SystemTime::now(),
                };
                self.state
                    .resources()
                    .reject(kind, &resource.name, rejection);
                self.settle_empty(kind, &resource.name);
            }
        }
        for name in removed {
            self.remove(kind, name, now);
        }
        self.flush(now);
        errors
    }

    /// All resources of a kind that there are so far have been given, or waited for in vain.
    pub(crate) fn answered(&mut self, kind: ResourceKind, now: Instant) {
        if self.answered.insert(kind) {
            self.flush(now);
        }
    }

    /// Whether [`wanted`](Self::wanted) may be another since the last call.
    pub(crate) fn take_wanted_changed(&mut self) -> bool {
        std::mem::take(&mut self.wanted_changed)
    }

    /// Resources that are waited for: clusters and listeners that are not visible yet, and what they need.
    pub(crate) fn waiting(&self) -> Vec<(ResourceKind, Arc<str>)> {
        let clusters = self.warming.keys().cloned();
        let listeners = self.listeners.iter();
        let listeners = listeners.filter(|(_, note)| note.next.is_some());
        let mut found: Vec<_> = clusters.map(|name| (ResourceKind::Cluster, name)).collect();
        found.extend(listeners.map(|(name, _)| (ResourceKind::Listener, Arc::clone(name))));
        found.extend(self.waits.keys().cloned());
        found
    }

    /// Lets waiting resources become visible and leaving ones go, as far as their time has come.
    pub(crate) fn flush(&mut self, now: Instant) {
        self.give_up(now);
        self.warm_clusters(now);
        self.warm_tables();
        self.warm_listeners();
        self.drop_unused_tables();
        self.drop_left_clusters(now);
        if std::mem::take(&mut self.to_sweep) {
            self.state.sweep();
        }
        let ready = self.state.readiness();
        if self.answered.contains(&ResourceKind::Cluster) && self.warming.is_empty() {
            ready.applied(ResourceKind::Cluster);
        }
        let waiting = self.listeners.values().any(|note| note.next.is_some());
        if self.answered.contains(&ResourceKind::Listener) && !waiting {
            ready.applied(ResourceKind::Listener);
        }
    }

    /// When [`flush`](Self::flush) has something to do by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let warming = self.warming.values().filter_map(|one| one.until);
        let leaving = self.leaving.values().map(|(since, _)| *since + LEAVE);
        let waits = self.waits.values().copied();
        warming.chain(leaving).chain(waits).min()
    }

    /// What the present resources refer to.
    pub(crate) fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        for note in self.clusters.values().flatten() {
            wanted.endpoints.extend(note.eds.clone());
            wanted.secrets.extend(note.secrets.iter().cloned());
        }
        for note in self.listeners.values() {
            let next = note.next.as_ref().map(|(_, uses)| uses);
            for uses in note.live.iter().chain(next) {
                wanted.routes.extend(uses.routes.iter().cloned());
                wanted.secrets.extend(uses.secrets.iter().cloned());
                wanted.extensions.extend(uses.extensions.iter().cloned());
            }
        }
        wanted
    }

    fn put(&mut self, kind: ResourceKind, one: &Incoming, now: Instant) -> Result<(), Refused> {
        if let Some(known) = self.state.resources().accepted(kind, &one.name) {
            if known.is_static && !one.is_static {
                tracing::debug!("{kind:?} {:?} of the bootstrap is kept", &*one.name);
                return Ok(());
            }
            if known.body == one.body {
                if known.version != one.version {
                    self.accept(kind, one, known.updated);
                }
                return Ok(());
            }
        }
        if self.is_unwanted(kind, &one.name) {
            return Ok(());
        }
        match kind {
            ResourceKind::Cluster => self.put_cluster(one, now)?,
            ResourceKind::Endpoint => self.put_endpoints(one)?,
            ResourceKind::Route => self.put_routes(one)?,
            ResourceKind::Listener => self.put_listener(one, now)?,
            ResourceKind::Secret => {
                let mut secret: tls::Secret = decode(&one.body)?;
                named(one, &secret.name)?;
                (*one.name).clone_into(&mut secret.name);
                wire::tls::secret(&self.context(), &At::ROOT, secret)?;
            }
            ResourceKind::Extension => {
                let message: core::TypedExtensionConfig = decode(&one.body)?;
                named(one, &message.name)?;
                wire::extension::put(&self.context(), &At::ROOT, &one.name, message)?;
            }
        }
        self.given_up.remove(&(kind, Arc::clone(&one.name)));
        self.accept(kind, one, SystemTime::now());
        Ok(())
    }

    fn accept(&self, kind: ResourceKind, one: &Incoming, updated: SystemTime) {
        let resource = Resource {
            version: one.version.clone(),
            body: one.body.clone(),
            updated,
            is_static: one.is_static,
        };
        let name = self.shared_name(kind, &one.name);
        self.state.resources().accept_shared(kind, name, resource);
    }

    /// The name that the slot of a resource holds already: a service's names are most of what is known of it.
    fn shared_name(&self, kind: ResourceKind, name: &Arc<str>) -> Arc<str> {
        match kind {
            ResourceKind::Cluster => Arc::clone(self.state.clusters().slot(name).name()),
            ResourceKind::Endpoint => Arc::clone(self.state.endpoints().slot(name).name()),
            ResourceKind::Route => Arc::clone(self.state.routes().slot(name).name()),
            ResourceKind::Listener | ResourceKind::Secret | ResourceKind::Extension => {
                Arc::clone(name)
            }
        }
    }

    /// A late answer for a name that nobody refers to any more.
    fn is_unwanted(&self, kind: ResourceKind, name: &str) -> bool {
        match kind {
            ResourceKind::Endpoint => !self.has_endpoints(name),
            ResourceKind::Route => !self.is_routed(name),
            _ => false,
        }
    }

    fn has_endpoints(&self, name: &str) -> bool {
        let is = |note: &ClusterNote| note.eds.as_deref() == Some(name);
        let own = self.clusters.get(name).and_then(Option::as_deref);
        own.is_some_and(is) || self.clusters.values().flatten().any(|note| is(note))
    }

    fn is_routed(&self, table: &str) -> bool {
        self.listeners.values().any(|note| {
            let next = note.next.as_ref().map(|(_, uses)| uses);
            let mut uses = note.live.iter().chain(next);
            uses.any(|uses| uses.routes.contains(table))
        })
    }

    /// Endpoints or routes that are wanted and cannot be had are empty, so that what waits for them goes on, as in
    /// Envoy. What is known already stays.
    fn settle_empty(&mut self, kind: ResourceKind, name: &str) {
        if self.is_unwanted(kind, name) {
            return;
        }
        match kind {
            ResourceKind::Endpoint if self.state.endpoints().value(name).is_none() => {
                self.state.set_endpoints(name, Vec::new());
            }
            ResourceKind::Route if self.state.routes().value(name).is_none() => {
                self.state.set_routes(RouteTable {
                    name: name.into(),
                    ..RouteTable::default()
                });
            }
            ResourceKind::Secret | ResourceKind::Extension
                if self.state.resources().accepted(kind, name).is_none() =>
            {
                self.given_up.insert((kind, name.into()));
            }
            _ => {}
        }
    }

    fn context(&self) -> Context<'_> {
        Context::new(&self.state, &*self.logs, self.reject_fragment)
            .with_sources(&self.sources)
            .of_node(&self.node)
    }

    fn put_cluster(&mut self, one: &Incoming, now: Instant) -> Result<(), Refused> {
        let message: cluster::Cluster = decode(&one.body)?;
        named(one, &message.name)?;
        let context = self.context();
        let built = wire::cluster::cluster(&context, message)?;
        let waits = context.take_waits();
        self.wait_for(waits, now);
        let name = Arc::clone(&built.cluster.name);
        let is_dns = matches!(built.cluster.kind, ClusterKind::Dns { .. });
        if let Some(endpoints) = built.inline {
            self.state.set_endpoints(&name, endpoints);
        }
        self.resolvers.follow(&self.state, &built.cluster);
        dns_cache::serve(&self.state);
        let wait = match &built.eds {
            Some((_, wait)) => *wait,
            None if is_dns => Some(FIRST_LOOKUP),
            None => Some(Duration::ZERO),
        };
        let note = ClusterNote {
            eds: built.eds.map(|(name, _)| name),
            secrets: self.kept_names(built.uses.secrets),
            is_dns,
        };
        self.clusters.insert(Arc::clone(&name), note.kept());
        self.leaving.remove(&name);
        self.wanted_changed = true;
        let warming = Warming {
            cluster: built.cluster,
            until: wait.map(|wait| now + wait),
        };
        self.warming.insert(name, warming);
        Ok(())
    }

    /// The names, each as it was first met: many clusters refer to the same few secrets.
    fn kept_names(&mut self, names: BTreeSet<Arc<str>>) -> Box<[Arc<str>]> {
        if self.secret_names.len() > NAMES {
            self.secret_names.clear();
        }
        let known = &mut self.secret_names;
        let kept = names.into_iter().map(|name| match known.get(&name) {
            Some(known) => Arc::clone(known),
            None => {
                known.insert(Arc::clone(&name));
                name
            }
        });
        kept.collect()
    }

    fn put_endpoints(&mut self, one: &Incoming) -> Result<(), Refused> {
        let message: endpoint::ClusterLoadAssignment = decode(&one.body)?;
        let (name, parsed) = wire_endpoint::assignment(&At::ROOT, message)?;
        named(one, &name)?;
        let localities = wire_endpoint::addresses(&At::ROOT, parsed)?;
        self.state.set_endpoints(&one.name, localities);
        Ok(())
    }

    fn put_routes(&mut self, one: &Incoming) -> Result<(), Refused> {
        let message: route::RouteConfiguration = decode(&one.body)?;
        named(one, &message.name)?;
        let context = self.context();
        let mut table = wire::route_table::route_table(&context, &At::ROOT, message)?;
        table.name = Arc::clone(&one.name);
        let uses = context.take_uses();
        self.tables.insert(Arc::clone(&one.name), (table, uses));
        Ok(())
    }

    fn put_listener(&mut self, one: &Incoming, now: Instant) -> Result<(), Refused> {
        let message: listener::Listener = decode(&one.body)?;
        named(one, &message.name)?;
        let context = self.context();
        let built = wire::listener::listener(&context, message)?;
        dns_cache::serve(&self.state);
        let waits = context.take_waits();
        self.wait_for(waits, now);
        self.wanted_changed = true;
        let note = self.listeners.entry(Arc::clone(&one.name)).or_default();
        note.next = Some((built.listener, built.uses));
        self.gone_listeners.retain(|gone| *gone != one.name);
        Ok(())
    }

    /// Begins to wait for what is referred to and not known.
    fn wait_for(&mut self, waits: Vec<Wait>, now: Instant) {
        for wait in waits {
            let place = (wait.kind, wait.name);
            if self.is_known(place.0, &place.1) || self.given_up.contains(&place) {
                continue;
            }
            if wait.longest == Some(Duration::ZERO) {
                self.given_up.insert(place);
            } else if let Some(longest) = wait.longest {
                self.waits.entry(place).or_insert(now + longest);
            }
        }
    }

    fn is_known(&self, kind: ResourceKind, name: &str) -> bool {
        match kind {
            ResourceKind::Route => {
                self.tables.contains_key(name) || self.state.routes().value(name).is_some()
            }
            _ => self.state.resources().accepted(kind, name).is_some(),
        }
    }

    /// Ends waits that have lasted long enough.
    fn give_up(&mut self, now: Instant) {
        if self.waits.is_empty() {
            return;
        }
        let waits = std::mem::take(&mut self.waits);
        for ((kind, name), until) in waits {
            if self.is_known(kind, &name) {
                continue;
            }
            if until > now {
                self.waits.insert((kind, name), until);
                continue;
            }
            tracing::warn!("{kind:?} {:?} did not come in time", parts(&name).0);
            self.state.readiness().note(kind, Update::Timeout);
            self.settle_empty(kind, &name);
        }
    }

    /// Whether secrets or filters are there, or are not waited for any more.
    fn are_settled<'n>(
        &self,
        kind: ResourceKind,
        names: impl IntoIterator<Item = &'n Arc<str>>,
    ) -> bool {
        names.into_iter().all(|name| {
            self.is_known(kind, name) || self.given_up.contains(&(kind, Arc::clone(name)))
        })
    }

    fn remove_others(&mut self, kind: ResourceKind, resources: &[Incoming], now: Instant) {
        let kept: BTreeSet<&str> = resources.iter().map(|one| &*one.name).collect();
        let gone: Vec<Arc<str>> = self
            .state
            .resources()
            .all(kind)
            .into_iter()
            .filter(|(name, known)| !known.is_static && !kept.contains(&**name))
            .map(|(name, _)| name)
            .collect();
        for name in gone {
            self.remove(kind, &name, now);
        }
    }

    fn remove(&mut self, kind: ResourceKind, name: &str, now: Instant) {
        let resources = self.state.resources();
        if resources
            .accepted(kind, name)
            .is_some_and(|one| one.is_static)
        {
            return;
        }
        match kind {
            ResourceKind::Cluster => {
                resources.remove(kind, name);
                self.wanted_changed = true;
                if let Some((name, note)) = self.clusters.remove_entry(name) {
                    self.warming.remove(&name);
                    self.leaving.insert(name, (now, note));
                }
            }
            ResourceKind::Listener => {
                resources.remove(kind, name);
                self.wanted_changed = true;
                self.listeners.remove(name);
                self.gone_listeners.push(name.into());
            }
            // The server does not know it: as good as an answer without endpoints for a cluster that waits, and no
            // reason to forget what is known of one that is visible. It goes with its cluster.
            ResourceKind::Endpoint => self.settle_empty(kind, name),
            // Likewise; a table goes with the last listener that names it.
            ResourceKind::Route => self.settle_empty(kind, name),
            // A secret that others refer to goes with those alone; who waits for it goes on without.
            ResourceKind::Secret => self.settle_empty(kind, name),
            ResourceKind::Extension => {
                if resources.accepted(kind, name).is_some() {
                    resources.remove(kind, name);
                    wire::extension::reset(&self.context(), name);
                }
                self.settle_empty(kind, name);
            }
        }
    }

    fn warm_clusters(&mut self, now: Instant) {
        let ready: Vec<Arc<str>> = self
            .warming
            .iter()
            .filter(|(_, one)| {
                let slot = one.cluster.endpoints();
                let known = slot.is_none_or(|slot| slot.load().is_some());
                known || one.until.is_some_and(|until| until <= now)
            })
            .filter(|(name, _)| {
                let note = self.clusters.get(*name).and_then(Option::as_ref);
                note.is_none_or(|note| self.are_settled(ResourceKind::Secret, &note.secrets))
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in ready {
            if let Some(one) = self.warming.remove(&name) {
                self.state.set_cluster(one.cluster);
            }
        }
    }

    fn warm_tables(&mut self) {
        let ready: Vec<Arc<str>> = self
            .tables
            .iter()
            .filter(|(_, (_, uses))| self.is_warm(uses))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in ready {
            if let Some((table, _)) = self.tables.remove(&name) {
                self.state.set_routes(table);
            }
        }
    }

    /// Whether no cluster that is referred to is still waiting.
    fn is_warm(&self, uses: &Uses) -> bool {
        let waits =
            |name: &Arc<str>| self.warming.contains_key(name) || !self.state.is_checked(name);
        !uses.clusters.iter().any(waits)
    }

    fn warm_listeners(&mut self) {
        let ready: Vec<Arc<str>> = self
            .listeners
            .iter()
            .filter_map(|(name, note)| {
                let (_, uses) = note.next.as_ref()?;
                let routed = |name: &Arc<str>| self.state.routes().value(name).is_some();
                let ready = self.is_warm(uses)
                    && uses.routes.iter().all(routed)
                    && self.are_settled(ResourceKind::Secret, &uses.secrets)
                    && self.are_settled(ResourceKind::Extension, &uses.extensions);
                ready.then(|| Arc::clone(name))
            })
            .collect();
        let gone = std::mem::take(&mut self.gone_listeners);
        if ready.is_empty() && gone.is_empty() {
            return;
        }
        let mut set = Vec::with_capacity(ready.len());
        for name in ready {
            if let Some(note) = self.listeners.get_mut(&name)
                && let Some((listener, uses)) = note.next.take()
            {
                note.live = Some(uses);
                set.push(listener);
            }
        }
        self.state.update_listeners(set, &gone);
        self.to_sweep = true;
        self.tables_to_check = true;
        self.wanted_changed = true;
    }

    fn drop_unused_tables(&mut self) {
        if !std::mem::take(&mut self.tables_to_check) {
            return;
        }
        let resources = self.state.resources();
        let known = resources.names(ResourceKind::Route);
        let wanted = self.wanted();
        let routes = &wanted.routes;
        let needed = |(kind, name): &(ResourceKind, Arc<str>)| match kind {
            ResourceKind::Secret => wanted.secrets.contains(name),
            ResourceKind::Extension => wanted.extensions.contains(name),
            _ => routes.contains(name),
        };
        self.given_up.retain(needed);
        self.waits.retain(|place, _| needed(place));
        for kind in [ResourceKind::Secret, ResourceKind::Extension] {
            for (name, one) in resources.all(kind) {
                let place = (kind, name);
                if one.is_static || needed(&place) {
                    continue;
                }
                resources.remove(kind, &place.1);
                if kind == ResourceKind::Secret {
                    self.state.secrets().remove(&place.1);
                } else {
                    self.state.extensions().remove(&place.1);
                    self.sources.forget(&place.1);
                }
                self.to_sweep = true;
            }
        }
        for name in known {
            if !routes.contains(&name) {
                self.tables.remove(&name);
                self.state.routes().remove(&name);
                resources.remove(ResourceKind::Route, &name);
                self.to_sweep = true;
            }
        }
    }

    fn drop_left_clusters(&mut self, now: Instant) {
        let due: Vec<Arc<str>> = self
            .leaving
            .iter()
            .filter(|(name, (since, _))| {
                now >= *since + LEAVE || !self.state.clusters().is_held(name)
            })
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in due {
            let Some((_, note)) = self.leaving.remove(&name) else {
                continue;
            };
            self.state.clusters().remove(&name);
            let note = note.map(|note| *note).unwrap_or_default();
            if note.is_dns {
                self.resolvers.stop(&name);
            }
            let endpoints = note.eds.unwrap_or(name);
            if !self.has_endpoints(&endpoints) {
                self.state.endpoints().remove(&endpoints);
                self.state
                    .resources()
                    .remove(ResourceKind::Endpoint, &endpoints);
            }
            self.to_sweep = true;
        }
    }
}

fn decode<M: Message + Default>(body: &Bytes) -> Result<M, Refused> {
    M::decode(body.clone()).map_err(|error| Refused {
        path: "(message)".to_owned(),
        reason: format!("malformed: {error}"),
    })
}

/// The name in the envelope must be the message's own.
fn named(one: &Incoming, name: &str) -> Result<(), Refused> {
    let (known, _) = parts(&one.name);
    if known == name {
        return Ok(());
    }
    Err(At::ROOT
        .field("name")
        .refuse(format!("{name:?} came as {known:?}")))
}

#[cfg(test)]
mod tests;
