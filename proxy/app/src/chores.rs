//! Everything beside the data path: what the process holds once, and the pod's servers and tasks on their small runtime.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use lateen_proxy_agent::{
    AgentMetrics, Ask, DrainHandle, FileSecrets, Readiness, Renewal, Settings, Status, listen,
    listen_on,
};
use lateen_proxy_balance::Keeper;
use lateen_proxy_dial::check_health;
use lateen_proxy_listen::Sockets;
use lateen_proxy_model::StringMatcher;
use lateen_proxy_state::State;
use lateen_proxy_sync::Layer;
use lateen_proxy_telemetry::{LogSinks, Metrics, MetricsConfig, Peer, PeerFields};
use lateen_xds::node::NodeMetadata;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::admin::{Admin, Shown, cluster_stats};
use crate::config::{ProxyConfig, VERSION};
use crate::logging::LogControl;

/// Most series of metrics a worker keeps.
const MAX_SERIES: usize = 10_000;

/// Time between looks at certificates in files, where nobody else renews them.
const FOLLOW: Duration = Duration::from_secs(2);

/// Time between looks at endpoints that are left out.
const SWEEP: Duration = Duration::from_secs(1);

/// What the whole process shares: state, metrics and open logs.
#[derive(Clone)]
pub(crate) struct Core {
    /// Configuration and secrets.
    pub(crate) state: Arc<State>,
    /// Metrics of all workers.
    pub(crate) metrics: Arc<Metrics>,
    /// Metrics of the pod's side.
    pub(crate) agent: Arc<AgentMetrics>,
    /// Whether the proxy is ready.
    pub(crate) readiness: Arc<Readiness>,
    /// Open access-log files; flush them before the process ends.
    pub(crate) logs: Arc<LogSinks>,
    /// Log levels.
    pub(crate) log: Arc<LogControl>,
    /// Listening sockets, with those of the process before this one.
    pub(crate) sockets: Arc<Sockets>,
    /// When the process started: the origin of the balancer's clock.
    pub(crate) started: (Instant, SystemTime),
}

/// What the admin pages show and may do, beside the core.
pub(crate) struct AdminSettings {
    /// What the process was started with.
    pub(crate) bootstrap: Shown,
    /// How, in the shape of `CommandLineOptions`.
    pub(crate) options: Value,
    /// Paths that are answered; empty is all.
    pub(crate) paths: Vec<StringMatcher>,
    /// Layers of runtime keys.
    pub(crate) runtime: Vec<Layer>,
    /// How long connections are drained before listeners stop.
    pub(crate) drain_time: Duration,
    /// Where requests to end the process go; `None` refuses them.
    pub(crate) quit: Option<mpsc::Sender<Ask>>,
}

impl Core {
    /// For a pod's proxy.
    pub(crate) fn for_pod(config: &ProxyConfig, log: Arc<LogControl>) -> Self {
        let principal = Some(config.settings.spiffe_id().into());
        Self::new(local_peer(&config.node.metadata), principal, log)
    }

    /// For an Envoy bootstrap, which has no workload.
    pub(crate) fn for_bootstrap(log: Arc<LogControl>) -> Self {
        Self::new(PeerFields::default(), None, log)
    }

    fn new(local: PeerFields, principal: Option<Arc<str>>, log: Arc<LogControl>) -> Self {
        let metrics = Metrics::new(MetricsConfig {
            local: Arc::new(Peer::new(local)),
            principal,
            version: VERSION.to_owned(),
            max_series: MAX_SERIES,
        });
        let started = (Instant::now(), SystemTime::now());
        let keeper = Keeper::new(started.0);
        let state = State::preparing(Arc::new(keeper));
        let (known, origin) = (Arc::clone(&state), started.0);
        metrics.stats().collected_by(move |collector| {
            let now = u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX);
            cluster_stats::collect(&known, collector, now);
        });
        let dropped = metrics.stats().counter("filesystem.write_failed");
        Self {
            readiness: Readiness::new(Arc::clone(&state), metrics.stats()),
            state,
            agent: Arc::default(),
            logs: Arc::new(LogSinks::new(dropped)),
            sockets: Arc::default(),
            metrics,
            log,
            started,
        }
    }

    /// Looks after endpoints that are left out, and checks those that are to be checked. Needs a runtime.
    pub(crate) fn start_keeper(&self) {
        let keeper = Keeper::new(self.started.0);
        let state = Arc::clone(&self.state);
        tokio::spawn(check_health(Arc::clone(&state), Arc::new(keeper)));
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP).await;
                keeper.sweep(&state.clusters().matching(Keeper::watches));
            }
        });
    }

    /// Reads certificates and roots in files, and follows them. Needs a runtime.
    pub(crate) fn start_file_secrets(&self) {
        let secrets = FileSecrets::new(Arc::clone(&self.state), Arc::clone(&self.agent));
        tokio::spawn(secrets.every(FOLLOW).run());
    }

    /// Serves the admin pages at `address`; gives where they are, which is another port where `address` has none.
    ///
    /// # Errors
    /// When the port is taken.
    pub(crate) fn start_admin(
        &self,
        address: SocketAddr,
        settings: AdminSettings,
        drain: Arc<dyn DrainHandle>,
    ) -> anyhow::Result<(SocketAddr, AbortHandle)> {
        let admin = Arc::new(Admin {
            state: Arc::clone(&self.state),
            metrics: Arc::clone(&self.metrics),
            readiness: Arc::clone(&self.readiness),
            log: Arc::clone(&self.log),
            sockets: Arc::clone(&self.sockets),
            paths: settings.paths,
            drain,
            bootstrap: settings.bootstrap,
            options: settings.options,
            runtime: settings.runtime,
            drain_time: settings.drain_time,
            quit: settings.quit,
            started: self.started,
            program: crate::child::PROGRAM,
        });
        let listener = listen_on("admin", address)?;
        let bound = listener.local_addr().context("admin")?;
        let serving = tokio::spawn(admin.serve(listener));
        Ok((bound, serving.abort_handle()))
    }

    /// Starts certificates, file secrets and the servers on 15020, 15021, 15090 and 15000; gives what callers on this
    /// machine ask for, which [`lateen_proxy_agent::until_end`] takes. Needs a runtime.
    ///
    /// # Errors
    /// Names the port that is taken.
    pub(crate) fn start_pod_side(
        &self,
        config: &ProxyConfig,
        drain: Arc<dyn DrainHandle>,
    ) -> anyhow::Result<mpsc::Receiver<Ask>> {
        let settings: &Settings = &config.settings;
        let (asks, asked) = mpsc::channel(4);
        let status = Status::new(
            settings,
            Arc::clone(&self.readiness),
            Arc::clone(&self.metrics),
            Arc::clone(&self.agent),
            asks,
        );
        let ports = settings.ports;
        tokio::spawn(Arc::clone(&status).serve_status(listen("agent", ports.status)?));
        tokio::spawn(Arc::clone(&status).serve_health(listen("health", ports.health)?));
        tokio::spawn(status.serve_prometheus(listen("metrics", ports.prometheus)?));
        let bootstrap = Shown::Json(crate::admin::node_bootstrap(&config.node, ports.admin));
        self.start_admin(
            (Ipv4Addr::LOCALHOST, ports.admin).into(),
            AdminSettings {
                bootstrap,
                options: json!({
                    "concurrency": config.workers.get(),
                    "mode": "Serve",
                    "drain_time": format!("{}s", settings.drain.drain.as_secs()),
                }),
                paths: Vec::new(),
                runtime: Vec::new(),
                drain_time: settings.drain.drain,
                quit: None,
            },
            drain,
        )?;
        tokio::spawn(
            Renewal::new(settings, Arc::clone(&self.state), Arc::clone(&self.agent)).run(),
        );
        tokio::spawn(FileSecrets::new(Arc::clone(&self.state), Arc::clone(&self.agent)).run());
        Ok(asked)
    }
}

/// The runtime of the chores: one thread, and few helpers that do not stay.
///
/// # Errors
/// When the system gives no thread or descriptor.
pub(crate) fn chores_runtime() -> anyhow::Result<Runtime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .thread_keep_alive(Duration::from_secs(1))
        .thread_stack_size(512 * 1024)
        .build()
        .context("start the runtime")
}

/// This proxy's own workload, from its node metadata.
pub(crate) fn local_peer(metadata: &NodeMetadata) -> PeerFields {
    let label = |name: &str| metadata.labels.get(name).cloned().unwrap_or_default();
    PeerFields {
        workload: metadata.workload_name.clone(),
        namespace: metadata.namespace.clone(),
        canonical_name: label("service.istio.io/canonical-name"),
        canonical_revision: label("service.istio.io/canonical-revision"),
        app: label("app"),
        version: label("version"),
        cluster: metadata.cluster_id.clone(),
    }
}
