//! The client: streams and files to resources, for as long as the proxy runs.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node;
use lateen_proxy_state::{LastGood, ResourceKind, State, Update};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::sleep_until;

use crate::apply::{Applier, Incoming};
use crate::bootstrap::{Dynamic, StaticError, StaticResources};
use crate::connect::Connector;
use crate::delta::{DeltaState, kind_of};
use crate::dns::Resolvers;
use crate::files::{FileEvent, Files, ReadText, resources_from_text};
use crate::grpc_target::connectors;
use crate::session::{self, Answer, Event, Line, Outgoing, Plan};
use crate::sotw::SotwState;
use crate::source::{ADS, ApiSource, Source, SourceId, Sources, Variant, key, parts};
use crate::take_up::{Taken, taken};
use crate::wire::context::{AccessLogs, NodeFacts};

/// How long the control plane may take before the copy on disk is used.
const DISK_AFTER: Duration = Duration::from_secs(2);
/// Wait when nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// The state of the connection, for readiness texts and the admin pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XdsStatus {
    /// A stream is open.
    pub connected: bool,
    /// Why the last stream or attempt ended.
    pub last_error: Option<String>,
    /// Responses so far.
    pub responses: u64,
}

/// Settings of the client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Who the proxy says it is.
    pub node: Node,
    /// The copy on disk; `None` keeps none.
    pub last_good: Option<LastGood>,
    /// `#` in a path is answered 400; the mesh bootstrap says no (S1).
    pub reject_fragment: bool,
    /// Where resources come from; `None` is a pod's proxy, which has its own certificates and gets all else from the
    /// control plane of [`Client::run`].
    pub dynamic: Option<Dynamic>,
}

/// The xDS client. It is the only writer of clusters, endpoints, routes and listeners of a [`State`].
pub struct Client {
    state: Arc<State>,
    applier: Applier,
    node: Arc<Node>,
    wake: Arc<Notify>,
    status: watch::Sender<XdsStatus>,
    last_good: Option<LastGood>,
    disk_at: Option<Instant>,
    sources: Arc<Sources>,
    /// Kinds that are asked for without names, with their source and the wait for the first answer.
    top: BTreeMap<ResourceKind, (SourceId, Option<Duration>)>,
    /// Until when their first answers are waited for.
    top_waits: BTreeMap<ResourceKind, Instant>,
    ads: Option<ApiSource>,
    streams: Vec<Stream>,
    events: mpsc::Sender<(usize, Event)>,
    told: mpsc::Receiver<(usize, Event)>,
    files: Files,
    file_events: mpsc::UnboundedReceiver<FileEvent>,
    /// Names asked for, by source and kind.
    asked: BTreeMap<(SourceId, ResourceKind), BTreeSet<Arc<str>>>,
    /// Files that are followed.
    followed: BTreeSet<SourceId>,
    /// When resources that have a time to live end.
    ends: BTreeMap<(ResourceKind, Arc<str>), Instant>,
}

/// One stream after the other to one service.
struct Stream {
    source: SourceId,
    /// The type of a stream for one type.
    kind: Option<ResourceKind>,
    protocol: Protocol,
    requests: Option<mpsc::UnboundedSender<Outgoing>>,
    _task: AbortOnDrop,
}

enum Protocol {
    Delta(DeltaState),
    Sotw(SotwState),
}

impl Client {
    /// A client that writes to `state`. Must be made on a tokio runtime when static resources hold DNS clusters.
    pub fn new(state: Arc<State>, logs: Arc<dyn AccessLogs>, config: ClientConfig) -> Self {
        state.set_own_cluster(&config.node.cluster);
        let wake = Arc::clone(state.checked());
        let resolvers = Resolvers::new(Arc::clone(&wake));
        let of_pod = config.dynamic.is_none();
        let dynamic = config.dynamic.unwrap_or_else(Dynamic::of_pod);
        let sources = Arc::new(Sources::new(of_pod || dynamic.ads.is_some(), of_pod));
        let known = (resolvers, Arc::clone(&sources));
        let mut applier = Applier::new(Arc::clone(&state), logs, config.reject_fragment, known);
        applier.node = NodeFacts::of(&config.node);
        let mut top = BTreeMap::new();
        for (kind, source) in [
            (ResourceKind::Cluster, dynamic.clusters),
            (ResourceKind::Listener, dynamic.listeners),
        ] {
            if let Some((source, wait)) = source
                && let Some(id) = sources.id(source)
            {
                top.insert(kind, (id, wait));
            }
        }
        let (events, told) = mpsc::channel(1);
        let (file_sender, file_events) = mpsc::unbounded_channel();
        Self {
            state,
            applier,
            node: Arc::new(config.node),
            wake,
            status: watch::Sender::default(),
            last_good: config.last_good,
            disk_at: None,
            sources,
            top,
            top_waits: BTreeMap::new(),
            ads: dynamic.ads,
            streams: Vec::new(),
            events,
            told,
            files: Files::new(Arc::new(resources_from_text), file_sender),
            file_events,
            asked: BTreeMap::new(),
            followed: BTreeSet::new(),
            ends: BTreeMap::new(),
        }
    }

    /// Reads files by another way than in this process, whose memory would keep what reading takes.
    pub fn read_files_by(&mut self, read: Arc<ReadText>) {
        self.files.read_by(read);
    }

    /// Follows the state of the connection.
    pub fn status(&self) -> watch::Receiver<XdsStatus> {
        self.status.subscribe()
    }

    /// Applies the resources of a bootstrap file; they are never replaced by the control plane's.
    ///
    /// # Errors
    /// The first resource that is not supported, with its field.
    pub fn apply_static(&mut self, resources: StaticResources) -> Result<(), StaticError> {
        match self.static_faults(resources).into_iter().next() {
            Some(first) => Err(StaticError::Refused(first)),
            None => Ok(()),
        }
    }

    /// The same, giving every resource that is not supported.
    pub fn static_faults(&mut self, resources: StaticResources) -> Vec<String> {
        let now = Instant::now();
        let mut faults = Vec::new();
        for (kind, resources) in resources.by_kind {
            faults.extend(self.applier.apply(kind, resources, &[], false, now));
        }
        for kind in [ResourceKind::Cluster, ResourceKind::Listener] {
            if !self.top.contains_key(&kind) {
                self.applier.answered(kind, now);
            }
        }
        faults
    }

    /// Serves a bootstrap: its static resources, and what its dynamic sources give, for ever.
    pub async fn run_bootstrap(mut self) -> Infallible {
        if let Some(ads) = self.ads.take() {
            self.open(ADS, None, &ads);
        }
        self.serve().await
    }

    /// Follows the control plane, for ever. Keeps the copy on disk up to date, and begins with it when the control
    /// plane cannot be reached or does not answer within two seconds.
    pub async fn run(mut self, connector: Arc<dyn Connector>) -> Infallible {
        self.disk_at = self.last_good.as_ref().map(|_| Instant::now() + DISK_AFTER);
        let mut keeping = None;
        if let Some(copy) = self.last_good.clone() {
            let state = Arc::clone(&self.state);
            keeping = Some(tokio::spawn(async move { copy.keep(state).await }));
        }
        let _keeping = AbortOnDrop(keeping);
        let lines = vec![Line {
            connector,
            backoff: None,
            max_message: None,
        }];
        self.open_lines(ADS, None, (Variant::Delta, true), lines);
        self.serve().await
    }

    async fn serve(&mut self) -> Infallible {
        let now = Instant::now();
        for (kind, (id, wait)) in self.top.clone() {
            if let Some(wait) = wait {
                self.top_waits.insert(kind, now + wait);
            }
            self.ask(id, kind, BTreeSet::new());
        }
        loop {
            self.subscribe();
            let due = self.due();
            tokio::select! {
                told = self.told.recv() => {
                    if let Some((id, event)) = told {
                        self.hear(id, event);
                    }
                }
                event = self.file_events.recv() => {
                    if let Some(event) = event {
                        self.file(event);
                    }
                }
                () = at(due) => self.on_time(),
                () = self.wake.notified() => self.applier.flush(Instant::now()),
            }
            self.state.readiness().set_waiting(self.applier.waiting());
        }
    }

    /// Asks for what the present resources refer to.
    fn subscribe(&mut self) {
        if !self.applier.take_wanted_changed() {
            return;
        }
        let wanted = self.applier.wanted();
        let mut names: BTreeMap<(SourceId, ResourceKind), BTreeSet<Arc<str>>> = self
            .asked
            .keys()
            .map(|place| (*place, BTreeSet::new()))
            .collect();
        for (kind, keys) in [
            (ResourceKind::Endpoint, wanted.endpoints),
            (ResourceKind::Route, wanted.routes),
            (ResourceKind::Secret, wanted.secrets),
            (ResourceKind::Extension, wanted.extensions),
        ] {
            for key in keys {
                let (name, source) = parts(&key);
                let name = if source == ADS { key } else { name.into() };
                names.entry((source, kind)).or_default().insert(name);
            }
        }
        for ((source, kind), names) in names {
            self.ask(source, kind, names);
        }
    }

    /// Makes `names` the names asked for of a source.
    fn ask(&mut self, id: SourceId, kind: ResourceKind, names: BTreeSet<Arc<str>>) {
        match self.sources.of(id).as_deref() {
            Some(Source::Path(path)) => {
                if self.asked.get(&(id, kind)) == Some(&names) {
                    return;
                }
                self.asked.insert((id, kind), names);
                if self.followed.insert(id)
                    && let Err(error) = self.files.follow(id, path)
                {
                    tracing::warn!("changes will not be seen: {error}");
                }
                self.state.readiness().note(kind, Update::Attempt);
                self.files.load(id, &path.path);
            }
            Some(Source::Api(api)) => {
                let open = self.streams.iter();
                let mut open = open.filter(|one| one.source == id);
                if !open.any(|one| one.kind == Some(kind)) {
                    self.open(id, Some(kind), api);
                }
                self.ask_stream(id, kind, names);
            }
            Some(Source::Ads) => self.ask_stream(id, kind, names),
            None => {}
        }
    }

    fn ask_stream(&mut self, id: SourceId, kind: ResourceKind, names: BTreeSet<Arc<str>>) {
        if id != ADS {
            self.asked.entry((id, kind)).or_default();
        }
        let streams = self.streams.iter_mut();
        let mut streams = streams.filter(|one| one.source == id);
        let stream = streams.find(|one| one.kind.is_none_or(|own| own == kind));
        if let Some(stream) = stream {
            let request = stream.protocol.subscribe(kind, names, &self.state);
            stream.send(request);
        }
    }

    fn is_wildcard(&self, id: SourceId, kind: ResourceKind) -> bool {
        self.top.get(&kind).is_some_and(|(source, _)| *source == id)
    }

    fn open(&mut self, id: SourceId, kind: Option<ResourceKind>, api: &ApiSource) {
        let lines = connectors(api, &self.state);
        self.open_lines(id, kind, (api.variant, api.node_once), lines);
    }

    fn open_lines(
        &mut self,
        id: SourceId,
        kind: Option<ResourceKind>,
        (variant, node_once): (Variant, bool),
        connectors: Vec<Line>,
    ) {
        let node = Arc::clone(&self.node);
        let wildcards = self.top.iter().filter(|(_, (source, _))| *source == id);
        let wildcards = wildcards.map(|(kind, _)| *kind).collect();
        let protocol = match variant {
            Variant::Delta => Protocol::Delta(DeltaState::new(node, node_once, id, wildcards)),
            Variant::Sotw => Protocol::Sotw(SotwState::new(node, node_once, wildcards)),
        };
        let plan = Plan {
            connectors,
            variant,
            kind,
        };
        let following = session::follow(self.streams.len(), plan, self.events.clone());
        self.streams.push(Stream {
            source: id,
            kind,
            protocol,
            requests: None,
            _task: AbortOnDrop(Some(tokio::spawn(following))),
        });
    }

    /// Takes up what a stream tells.
    fn hear(&mut self, id: usize, event: Event) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        match event {
            Event::Opening(requests) => {
                let first = stream.protocol.connected(&self.state);
                stream.requests = Some(requests);
                for request in first {
                    stream.send(Some(request));
                }
            }
            Event::Open => {
                self.state.readiness().set_connected(true);
                self.status.send_modify(|status| status.connected = true);
            }
            Event::Answer(answer) => self.answer(id, answer),
            Event::Ended(error) => {
                stream.requests = None;
                tracing::warn!("xDS stream to the control plane ended: {error}");
                let source = stream.source;
                for (kind, (of, _)) in &self.top {
                    if *of == source {
                        self.state.readiness().note(*kind, Update::Failure);
                    }
                }
                self.state.readiness().set_connected(false);
                self.status.send_modify(|status| {
                    status.connected = false;
                    status.last_error = Some(error);
                });
                self.load_from_disk();
            }
        }
    }

    fn answer(&mut self, id: usize, answer: Answer) {
        let Some(stream) = self.streams.get_mut(id) else {
            return;
        };
        let asked = |kind: &ResourceKind| stream.kind.is_none_or(|own| own == *kind);
        let Some(kind) = kind_of(&answer.type_url).filter(asked) else {
            let url = &answer.type_url;
            tracing::warn!("response of type {url:?} was not asked for");
            return;
        };
        let source = stream.source;
        let wildcard = self.top.get(&kind).is_some_and(|(of, _)| *of == source);
        let full = match &mut stream.protocol {
            Protocol::Delta(delta) => delta.answered(kind),
            Protocol::Sotw(_) => wildcard,
        };
        if kind == ResourceKind::Cluster {
            self.disk_at = None;
        }
        let (nonce, version) = (answer.nonce.clone(), answer.version.clone());
        let errors = self.take_up(kind, source, answer, full);
        if let Some(stream) = self.streams.get_mut(id) {
            let answer = stream.protocol.acknowledge(kind, nonce, &version, &errors);
            stream.send(Some(answer));
        }
        self.status.send_modify(|status| status.responses += 1);
    }

    /// Applies an answer or the content of a file; gives what is wrong with it.
    fn take_up(
        &mut self,
        kind: ResourceKind,
        source: SourceId,
        answer: Answer,
        full: bool,
    ) -> Vec<String> {
        let now = Instant::now();
        let (identifier, version) = (answer.identifier.clone(), answer.version.clone());
        let Taken {
            resources,
            mut removed,
            mut errors,
            kept,
            whole,
        } = taken(kind, source, answer);
        if whole {
            for (name, time) in kept {
                self.ends.insert((kind, name), now + time);
            }
            for one in &resources {
                let place = (kind, Arc::clone(&one.name));
                match one.time_to_live {
                    Some(time) => self.ends.insert(place, now + time),
                    None => self.ends.remove(&place),
                };
            }
            if full {
                removed.extend(self.others(kind, &resources));
            }
            let refused = self.applier.apply(kind, resources, &removed, false, now);
            errors.extend(refused);
        }
        for error in &errors {
            tracing::warn!("refused: {error}");
        }
        let readiness = self.state.readiness();
        readiness.count(kind, errors.is_empty());
        if errors.is_empty() {
            readiness.answered_by(kind, &identifier, &version);
        }
        if self.is_wildcard(source, kind) {
            self.top_waits.remove(&kind);
            self.applier.answered(kind, now);
        }
        errors
    }

    /// What is known and not among all that there is.
    fn others(&self, kind: ResourceKind, resources: &[Incoming]) -> Vec<String> {
        let given: BTreeSet<&str> = resources.iter().map(|one| &*one.name).collect();
        let known = self.state.resources().all(kind);
        let gone = known.into_iter().filter(|(name, one)| {
            !one.is_static
                && !given.contains(&**name)
                && !self.ends.contains_key(&(kind, Arc::clone(name)))
        });
        gone.map(|(name, _)| name.to_string()).collect()
    }

    fn file(&mut self, event: FileEvent) {
        match event {
            FileEvent::Renamed(ids) => {
                for id in ids {
                    if let Some(Source::Path(path)) = self.sources.of(id).as_deref() {
                        self.files.load(id, &path.path);
                    }
                }
            }
            FileEvent::Read(id, content) => {
                let asked = self.asked.iter().filter(|((of, _), _)| *of == id);
                let asked: Vec<_> = asked
                    .map(|((_, kind), names)| (*kind, names.clone()))
                    .collect();
                match content {
                    Ok(answer) => self.file_content(id, &answer, asked),
                    Err(error) => self.file_failed(id, &error, asked),
                }
            }
        }
    }

    fn file_content(
        &mut self,
        id: SourceId,
        content: &Answer,
        asked: Vec<(ResourceKind, BTreeSet<Arc<str>>)>,
    ) {
        let shared = asked.len() > 1;
        for (kind, names) in asked {
            let wildcard = self.is_wildcard(id, kind);
            let wanted = (!wildcard).then_some(&names);
            let answer = content.part(kind, shared, wanted);
            self.take_up(kind, id, answer, wildcard);
        }
    }

    /// A file that cannot be read keeps nothing waiting.
    fn file_failed(
        &mut self,
        id: SourceId,
        error: &str,
        asked: Vec<(ResourceKind, BTreeSet<Arc<str>>)>,
    ) {
        tracing::warn!("{error}");
        let now = Instant::now();
        for (kind, names) in asked {
            self.state.readiness().note(kind, Update::Failure);
            if self.is_wildcard(id, kind) {
                self.top_waits.remove(&kind);
                self.applier.answered(kind, now);
            } else {
                let names: Vec<String> = names
                    .iter()
                    .map(|name| key(id, name).into_owned())
                    .collect();
                self.applier.apply(kind, Vec::new(), &names, false, now);
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        let ends = self.ends.values().copied();
        let waits = self.top_waits.values().copied();
        let applier = self.applier.deadline().into_iter();
        applier.chain(self.disk_at).chain(ends).chain(waits).min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        let ended: Vec<_> = self.ends.iter().filter(|(_, end)| **end <= now).collect();
        let ended: Vec<_> = ended.into_iter().map(|(place, _)| place.clone()).collect();
        for (kind, name) in ended {
            tracing::warn!("{kind:?} {:?}: its time to live is over", parts(&name).0);
            self.ends.remove(&(kind, Arc::clone(&name)));
            let gone = [name.to_string()];
            self.applier.apply(kind, Vec::new(), &gone, false, now);
        }
        let late: Vec<_> = self
            .top_waits
            .iter()
            .filter(|(_, end)| **end <= now)
            .collect();
        let late: Vec<_> = late.into_iter().map(|(kind, _)| *kind).collect();
        for kind in late {
            tracing::warn!("{kind:?}: no answer in time");
            self.top_waits.remove(&kind);
            self.state.readiness().note(kind, Update::Timeout);
            self.applier.answered(kind, now);
        }
        self.applier.flush(now);
        if self.disk_at.is_some_and(|at| at <= now) {
            self.load_from_disk();
        }
    }

    /// Takes up the copy on disk, once.
    fn load_from_disk(&mut self) {
        if self.disk_at.take().is_none() {
            return;
        }
        let Some(copy) = &self.last_good else {
            return;
        };
        let known = match copy.load() {
            Ok(known) => known,
            Err(error) => {
                tracing::warn!("{error}");
                return;
            }
        };
        if !known.is_empty() {
            let count = known.len();
            tracing::info!("serving the last good configuration from disk ({count} resources)");
        }
        for kind in [
            ResourceKind::Secret,
            ResourceKind::Cluster,
            ResourceKind::Endpoint,
            ResourceKind::Listener,
            ResourceKind::Route,
        ] {
            let of_kind = known.iter().filter(|(of, _, _)| *of == kind);
            let resources: Vec<Incoming> = of_kind
                .map(|(_, name, one)| Incoming {
                    name: Arc::clone(name),
                    version: one.version.clone(),
                    body: one.body.clone(),
                    is_static: false,
                    time_to_live: None,
                })
                .collect();
            if resources.is_empty() {
                continue;
            }
            for error in self
                .applier
                .apply(kind, resources, &[], false, Instant::now())
            {
                tracing::warn!("from disk: {error}");
            }
            if self.top.contains_key(&kind) {
                self.applier.answered(kind, Instant::now());
            }
        }
    }
}

impl Stream {
    fn send(&self, request: Option<Outgoing>) {
        if let (Some(requests), Some(request)) = (&self.requests, request) {
            // A closed channel means that the stream has ended, which its reader reports.
            let _ = requests.send(request);
        }
    }
}

impl Protocol {
    fn connected(&mut self, state: &State) -> Vec<Outgoing> {
        match self {
            Self::Delta(delta) => {
                let requests = delta.connected(state).into_iter();
                requests.map(Outgoing::Delta).collect()
            }
            Self::Sotw(sotw) => sotw.connected().into_iter().map(Outgoing::Sotw).collect(),
        }
    }

    fn subscribe(
        &mut self,
        kind: ResourceKind,
        names: BTreeSet<Arc<str>>,
        state: &State,
    ) -> Option<Outgoing> {
        match self {
            Self::Delta(delta) => delta.subscribe(kind, names, state).map(Outgoing::Delta),
            Self::Sotw(sotw) => sotw.subscribe(kind, names).map(Outgoing::Sotw),
        }
    }

    fn acknowledge(
        &mut self,
        kind: ResourceKind,
        nonce: String,
        version: &str,
        errors: &[String],
    ) -> Outgoing {
        match self {
            Self::Delta(delta) => Outgoing::Delta(delta.acknowledge(kind, nonce, errors)),
            Self::Sotw(sotw) => Outgoing::Sotw(sotw.acknowledge(kind, nonce, version, errors)),
        }
    }
}

struct AbortOnDrop(Option<tokio::task::JoinHandle<()>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn at(when: Option<Instant>) {
    let when = when.unwrap_or_else(|| Instant::now() + LONG);
    sleep_until(when.into()).await;
}

#[cfg(test)]
mod tests;
