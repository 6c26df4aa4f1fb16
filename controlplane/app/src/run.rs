//! The composition root: ports, CA, sources, pipeline, servers; then the wait for the end.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use lateen_api::identity::SpiffeId;
use lateen_controlplane_index::{Index, Settings};
use lateen_controlplane_issue::authenticate::Authenticator;
use lateen_controlplane_issue::authority::{self, Authority};
use lateen_controlplane_issue::service::{CertificateService, Counts};
use lateen_controlplane_issue::serving::{self, ClientFiles, ServingCertificate};
use lateen_controlplane_issue::token::TokenRule;
use lateen_controlplane_model::caller::Authenticate;
use lateen_controlplane_model::snapshot::Mesh;
use lateen_controlplane_serve::ads::AdsService;
use lateen_controlplane_serve::debug::{Debug, Info};
use lateen_controlplane_serve::http::{self, Pages};
use lateen_controlplane_serve::hub::Hub;
use lateen_controlplane_serve::metrics::Metrics;
use lateen_controlplane_serve::{grpc, listen};
use lateen_controlplane_watch::{FileSource, FileSourceConfig};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::mesh_file::MeshSource;
use crate::options::Discovery;
use crate::pages;
use crate::pipeline::{Current, Pipeline};
use crate::ports::Ports;

/// Folder of the self-signed root when no flag names one and this folder exists.
const CA_DIR: &str = "/var/lib/lateen/ca";
/// Service account of the operator's client certificate.
const OPERATOR: &str = "lateen-operator";
/// Batches of changes that wait for the pipeline.
const BATCHES: usize = 64;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// When something cannot be started, or a server fails; nothing is left running.
pub(crate) async fn run(options: Discovery) -> anyhow::Result<()> {
    let source = MeshSource {
        path: options.mesh_config.clone(),
        domain: options.domain.clone(),
        trust_domain: options.trust_domain.clone(),
    };
    let read = source.read()?;
    let ports = Ports::bind(&options).await?;
    let (sender, batches) = mpsc::channel(BATCHES);
    let files = FileSource::start(FileSourceConfig::new(options.config_dirs.clone()), sender)
        .context("--configDir")?;
    let security = Security::open(&options, &read.mesh)?;

    let metrics = Metrics::new(env!("CARGO_PKG_VERSION"));
    security.count(&metrics);
    let hub = Hub::new(metrics);
    let current = Current::default();
    let settings = Settings {
        started: started(),
        cluster: options.cluster_id.clone(),
    };
    let index = Index::new(settings, read.mesh.clone());
    let (mesh_sender, meshes) = mpsc::channel(1);

    ports.announce(options.address_file.as_deref())?;
    let servers = Servers::start(&options, ports, &security, Arc::clone(&hub), &current)?;
    let mut chores = JoinSet::new();
    chores.spawn(Pipeline::new(index, Arc::clone(&hub), current).run(batches, meshes));
    chores.spawn(source.watch(read, mesh_sender));
    chores.spawn(serving::keep_fresh(security.serving, security.operator));
    let done = servers.until_end(&hub, chores, options.shutdown).await;
    drop(files);
    done
}

/// When this process started, RFC 3339.
fn started() -> String {
    jiff::Timestamp::now()
        .round(jiff::Unit::Second)
        .map_or_else(|_| String::new(), |now| now.to_string())
}

/// The CA and what stands on it.
struct Security {
    authority: Arc<Authority>,
    authenticate: Arc<dyn Authenticate>,
    serving: Arc<ServingCertificate>,
    operator: Option<ClientFiles>,
    counts: Arc<Counts>,
}

impl Security {
    fn open(options: &Discovery, mesh: &Mesh) -> anyhow::Result<Self> {
        let trust_domain = mesh.trust_domain();
        let state = ca_dir(options.ca_dir.as_deref());
        let plugged = Some(options.root_ca_dir.clone());
        if state.is_none() && !options.root_ca_dir.join("ca-key.pem").exists() {
            tracing::warn!(
                "the root of the CA lives in memory: a restart makes a new one; name a folder with --caDir"
            );
        }
        let config = authority::Config {
            plugged,
            state,
            trust_domain: trust_domain.clone(),
            default_life: options.default_cert_life.min(options.max_cert_life),
            max_life: options.max_cert_life,
        };
        let authority = Arc::new(Authority::open(&config).context("certificate authority")?);
        let rule = options.jwt_rule.as_deref().filter(|rule| !rule.is_empty());
        let rule = rule
            .map(|rule| TokenRule::parse(rule, &trust_domain))
            .transpose()?;
        if rule.is_none() {
            tracing::warn!(
                "JWT_RULE is not set: no bearer token is accepted, so that only holders of a certificate can connect"
            );
        }
        let names = serving::server_names(
            &options.namespace,
            &options.revision,
            &options.domain,
            &options.custom_hosts,
        );
        let serving = Arc::new(ServingCertificate::new(Arc::clone(&authority), names)?);
        let operator = match &options.operator_cert_dir {
            Some(folder) => {
                let id = SpiffeId::new(&trust_domain, &options.namespace, OPERATOR)?;
                Some(
                    ClientFiles::new(Arc::clone(&authority), id.to_string(), folder.clone())
                        .context("--operatorCertDir")?,
                )
            }
            None => None,
        };
        let authenticate = Arc::new(Authenticator::new(rule, mesh.trust_domains()));
        Ok(Self {
            authority,
            authenticate,
            serving,
            operator,
            counts: Arc::default(),
        })
    }

    /// Adds the CA's counters to the metrics.
    fn count(&self, metrics: &Metrics) {
        let sample = |name, help, read: fn(&Counts) -> u64| {
            let counts = Arc::clone(&self.counts);
            metrics.sample_counter(name, help, move || read(&counts));
        };
        sample(
            "citadel_server_csr_count",
            "Certificate requests received",
            |c| c.requests.load(Ordering::Relaxed),
        );
        sample(
            "citadel_server_authentication_failure_count",
            "Requests without identity",
            |c| c.unauthenticated.load(Ordering::Relaxed),
        );
        sample(
            "citadel_server_csr_parsing_err_count",
            "Requests that did not read",
            |c| c.malformed.load(Ordering::Relaxed),
        );
        sample(
            "citadel_server_csr_sign_err_count",
            "Requests that could not be signed",
            |c| c.sign_errors.load(Ordering::Relaxed),
        );
        sample(
            "citadel_server_success_cert_issuance_count",
            "Certificates given",
            |c| c.issued.load(Ordering::Relaxed),
        );
        let not_after = self.authority.not_after();
        let seconds = |span: Result<Duration, _>| span.map_or(0, |span: Duration| span.as_secs());
        let at = seconds(
            not_after
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_err(drop),
        );
        metrics.sample_gauge(
            "citadel_server_root_cert_expiry_timestamp",
            "When the CA's certificate ends",
            move || at,
        );
        let left = move || {
            not_after
                .duration_since(SystemTime::now())
                .map_or(0, |span| span.as_secs())
        };
        metrics.sample_gauge(
            "citadel_server_root_cert_expiry_seconds",
            "Seconds until the CA's certificate ends",
            left,
        );
    }
}

fn ca_dir(given: Option<&Path>) -> Option<PathBuf> {
    let usual = || Path::new(CA_DIR).is_dir().then(|| PathBuf::from(CA_DIR));
    given.map(Path::to_owned).or_else(usual)
}

/// The running servers.
struct Servers {
    tasks: JoinSet<io::Result<()>>,
    stop: watch::Sender<bool>,
}

impl Servers {
    fn start(
        options: &Discovery,
        ports: Ports,
        security: &Security,
        hub: Arc<Hub>,
        current: &Current,
    ) -> anyhow::Result<Self> {
        let tls = Arc::new(serving::server_config(Arc::clone(&security.serving))?);
        let info = Info {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: options.revision.clone(),
            id: options.pod_name.clone(),
            cluster: options.cluster_id.clone(),
        };
        let debug = Arc::new(pages::add(
            Debug::new(Arc::clone(&hub), info, &options.namespace),
            current,
        ));
        let ads = || {
            AdsService::new(
                Arc::clone(&hub),
                Arc::clone(&security.authenticate),
                Arc::clone(&debug),
            )
        };
        let certificates = CertificateService::new(
            Arc::clone(&security.authority),
            Arc::clone(&security.authenticate),
            Arc::clone(&security.counts),
        );
        let authenticate = Arc::clone(&security.authenticate);
        let pages = Arc::new(Pages {
            hub: Arc::clone(&hub),
            debug: Arc::clone(&debug),
            authenticate,
        });

        let mut servers = Self {
            tasks: JoinSet::new(),
            stop: watch::Sender::new(false),
        };
        let age = options.max_connection_age;
        if let Some(port) = ports.secure_grpc {
            let service = grpc::Pair::new(ads(), certificates.into_server());
            servers.tasks.spawn(grpc::serve(
                port.accept(Some(Arc::clone(&tls))),
                service,
                age,
                servers.stopped(),
            ));
        }
        if let Some(port) = ports.grpc {
            let service = grpc::Pair::new(ads(), grpc::Nothing);
            servers.tasks.spawn(grpc::serve(
                port.accept(None),
                service,
                age,
                servers.stopped(),
            ));
        }
        servers.pages(ports.http, None, http::status_router(Arc::clone(&pages)));
        servers.pages(
            ports.https,
            Some(tls),
            http::status_router(Arc::clone(&pages)),
        );
        servers.pages(ports.monitoring, None, http::monitoring_router(pages));
        Ok(servers)
    }

    fn pages(
        &mut self,
        port: Option<listen::Bound>,
        tls: Option<Arc<rustls::ServerConfig>>,
        router: axum::Router,
    ) {
        if let Some(port) = port {
            self.tasks.spawn(http::serve(
                port.accept(tls.map(without_h2)),
                router,
                self.stopped(),
            ));
        }
    }

    fn stopped(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut stop = self.stop.subscribe();
        async move {
            // The sender lives until the servers are gone.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Waits for a signal, ends the streams, and gives requests under way some time.
    async fn until_end(
        mut self,
        hub: &Hub,
        mut chores: JoinSet<()>,
        grace: Duration,
    ) -> anyhow::Result<()> {
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            ended = self.tasks.join_next() => match ended {
                Some(Ok(Err(error))) => bail!("a server failed: {error}"),
                Some(Err(error)) => bail!("a server failed: {error}"),
                Some(Ok(Ok(()))) => bail!("a server ended by itself"),
                None => bail!("every port is switched off: there is nothing to serve"),
            },
            ended = chores.join_next() => bail!("a part of the control plane ended by itself: {ended:?}"),
        }
        tracing::info!("shutting down");
        hub.stop();
        self.stop.send_replace(true);
        let drained = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, drained).await.is_err() {
            tracing::warn!("requests under way did not end in {grace:?}");
        }
        Ok(())
    }
}

/// The pages speak HTTP/1.1 alone.
fn without_h2(tls: Arc<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut config = (*tls).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}
