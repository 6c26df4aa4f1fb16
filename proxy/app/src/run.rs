//! Running: what `proxy` and `envoy` build, in which order it starts, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lateen_proxy_agent::{Ask, DrainHandle, Signals, until_end};
use lateen_proxy_listen::{Place, Sockets};
use lateen_proxy_model::{Listener, ListenerBind};
use lateen_proxy_relay::http::{Node, Shedding};
use lateen_proxy_state::{LastGood, State};
use lateen_proxy_sync::{Bootstrap, Client, ClientConfig, ControlPlane, Roots, Security};
use tokio::sync::mpsc;

use crate::admin::Shown;
use crate::child;
use crate::chores::{AdminSettings, Core, chores_runtime, local_peer};
use crate::config::{EnvoyConfig, Mode, ProxyConfig, VERSION};
use crate::data_path::{DataPath, DataPathConfig};
use crate::logging::LogControl;
use crate::logs::LogTable;
use crate::restart::Restart;
use crate::worker::BindFailure;
use crate::{overload, pod_stats};

/// Runs a pod's proxy until the pod ends.
pub(crate) fn pod(config: &ProxyConfig, log: Arc<LogControl>) -> anyhow::Result<()> {
    let core = Core::for_pod(config, log);
    let waits = config.settings.drain.exit_on_zero_connections;
    let stats = pod_stats::config(&config.node.metadata, waits);
    core.metrics.stats().configure(stats);
    let logs = LogTable::new(Arc::clone(&core.logs));
    chores_runtime()?.block_on(async {
        let signals = Signals::listen().context("signal handlers")?;
        let (data_path, failed) = DataPath::start(&core, Arc::clone(&logs), pod_data_path(config))?;
        let drain: Arc<dyn DrainHandle> = data_path.control();
        core.start_keeper();
        let asked = core.start_pod_side(config, Arc::clone(&drain))?;
        tokio::spawn(report(failed));
        tokio::spawn(client(&core, logs, config)?.run(Arc::new(control_plane(&core, config))));
        tracing::info!(node = %config.node.id, workers = config.workers.get(), version = VERSION, "started");
        until_end(config.settings.drain, drain, asked, signals).await;
        drop(data_path);
        core.logs.flush();
        Ok(())
    })
}

/// Runs an Envoy bootstrap until a signal ends it, or says what is wrong with it.
pub(crate) fn bootstrap(config: &EnvoyConfig, log: Arc<LogControl>) -> anyhow::Result<()> {
    let encoded = crate::standalone::message(config)?;
    let (bootstrap, faults) = Bootstrap::read_encoded(encoded.clone())?;
    let node = crate::standalone::shown_node(&bootstrap.node);
    let core = Core::for_bootstrap(log);
    core.state.set_runtime(bootstrap.runtime_keys());
    let logs = LogTable::new(Arc::clone(&core.logs));
    chores_runtime()?.block_on(async {
        let signals = Signals::listen().context("signal handlers")?;
        bootstrap.place(&core.state);
        core.metrics.stats().configure(bootstrap.stats);
        let own = &bootstrap.node;
        let identity = identity(&own.id, &own.cluster, own.locality.as_ref());
        let service_cluster = bootstrap.node.cluster.as_str().into();
        let overload = bootstrap.overload;
        let overload = overload.map(|plan| overload::start(plan, Arc::clone(&core.metrics)));
        let data_path = bootstrap_data_path(config, (identity, service_cluster), overload);
        let settings = ClientConfig {
            node: bootstrap.node,
            last_good: None,
            reject_fragment: bootstrap.reject_fragment,
            dynamic: Some(bootstrap.dynamic),
        };
        let mut client = Client::new(Arc::clone(&core.state), logs.clone(), settings);
        client.read_files_by(Arc::new(child::resources));
        let mut faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        faults.extend(client.static_faults(bootstrap.resources));
        if config.mode == Mode::Validate {
            return crate::standalone::verdict(config, &faults);
        }
        if let Some(first) = faults.into_iter().next() {
            bail!("{}: {first}", crate::standalone::place(config));
        }
        let sockets = Arc::clone(&core.sockets);
        let restart = config
            .restart
            .as_ref()
            .map(|restart| Restart::begin(restart, &sockets))
            .transpose()?;
        let (data_path, mut failed) = DataPath::start(&core, logs, data_path)?;
        let drain: Arc<dyn DrainHandle> = data_path.control();
        core.start_keeper();
        core.start_file_secrets();
        let (asks, asked) = mpsc::channel::<Ask>(1);
        let mut admin = None;
        if let Some(address) = bootstrap.admin {
            let quit = config.allow_quit.then(|| asks.clone());
            let settings = AdminSettings {
                bootstrap: Shown::Encoded {
                    message: encoded,
                    node,
                },
                options: crate::standalone::options(config),
                paths: bootstrap.admin_paths,
                runtime: bootstrap.runtime,
                drain_time: config.drain,
                quit,
            };
            let (bound, serving) = core.start_admin(address, settings, Arc::clone(&drain))?;
            admin = Some(serving);
            if let Some(path) = &config.admin_address {
                std::fs::write(path, bound.to_string())
                    .with_context(|| path.display().to_string())?;
            }
        }
        tokio::spawn(client.run_bootstrap());
        if let Some(restart) = restart {
            let (state, workers) = (Arc::clone(&core.state), config.workers.get());
            let own = Arc::clone(&sockets);
            let serving = move || is_serving(&state, &own, workers);
            restart.follow(&sockets, data_path.control(), admin, asks.clone(), serving);
        }
        tokio::select! {
            () = until_end(config.drain_settings(), drain, asked, signals) => {}
            Some(failure) = failed.recv() => return Err(failure.into()),
        }
        drop((data_path, asks));
        core.logs.flush();
        Ok(())
    })
}

fn pod_data_path(config: &ProxyConfig) -> DataPathConfig {
    DataPathConfig {
        workers: config.workers,
        router: config.is_router(),
        own: Some((
            config.node.id.to_string(),
            local_peer(&config.node.metadata),
        )),
        identity: identity(
            &config.node.id.to_string(),
            &config.node.cluster,
            config.node.locality.as_ref(),
        ),
        drain_time: config.settings.drain.drain,
        // As Istio runs Envoy: at once.
        drain_over: Duration::ZERO,
        service_cluster: config.node.cluster.as_str().into(),
        overload: None,
    }
}

/// Whether every worker accepts on every address.
fn is_serving(state: &State, sockets: &Sockets, workers: usize) -> bool {
    let listeners = state.listeners();
    let mut bound = listeners
        .iter()
        .filter(|listener| listener.bind != ListenerBind::HandOver);
    bound.all(|listener| match &listener.socket.pipe {
        Some(pipe) => sockets.is_served(&Place::Pipe(pipe.path.clone()), workers),
        None => listener
            .addresses()
            .all(|address| sockets.is_served(&place(listener, *address), workers)),
    })
}

fn place(listener: &Listener, address: SocketAddr) -> Place {
    match listener.socket.quic {
        Some(_) => Place::Quic(address),
        None => Place::Tcp(address),
    }
}

/// What spans and logs say of this proxy.
fn identity(
    id: &str,
    cluster: &str,
    locality: Option<&envoy_types::pb::envoy::config::core::v3::Locality>,
) -> Node {
    Node {
        id: id.into(),
        cluster: cluster.into(),
        zone: locality.map_or("", |place| &place.zone).into(),
    }
}

fn bootstrap_data_path(
    config: &EnvoyConfig,
    (identity, service_cluster): (Node, Arc<str>),
    overload: Option<Shedding>,
) -> DataPathConfig {
    DataPathConfig {
        workers: config.workers,
        router: false,
        own: None,
        identity,
        drain_time: config.drain,
        drain_over: config.drain_over(),
        service_cluster,
        overload,
    }
}

fn client(core: &Core, logs: Arc<LogTable>, config: &ProxyConfig) -> anyhow::Result<Client> {
    let settings = ClientConfig {
        node: config.node.to_proto().context("node metadata")?,
        last_good: Some(LastGood::new(&config.settings.state_dir)),
        // The mesh bootstrap cuts fragments instead of refusing them (S1).
        reject_fragment: false,
        dynamic: None,
    };
    let mut client = Client::new(Arc::clone(&core.state), logs, settings);
    client.read_files_by(Arc::new(child::resources));
    Ok(client)
}

fn control_plane(core: &Core, config: &ProxyConfig) -> ControlPlane {
    let settings = &config.settings;
    let address = settings.discovery_address.clone();
    let host = address
        .rsplit_once(':')
        .map_or(address.as_str(), |(host, _)| host);
    ControlPlane {
        security: Security::Tls {
            roots: Roots::File(settings.control_plane_roots.clone()),
            server_name: host.to_owned(),
        },
        address,
        token: Some(settings.token_file.clone()),
        cluster_id: Some(settings.cluster_id.clone()),
        state: Arc::clone(&core.state),
    }
}

/// A pod's proxy lives on without a listener whose port is taken: the others serve.
async fn report(mut failed: mpsc::UnboundedReceiver<BindFailure>) {
    while let Some(failure) = failed.recv().await {
        tracing::error!("{failure}");
    }
}
