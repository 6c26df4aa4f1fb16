//! The process that runs a mesh, in process, mount and network namespaces of its own.

mod control;
mod controller;
mod desired;
mod exec;
mod find;
mod summary;
mod watch_files;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};

use crate::network::GATEWAY;
use crate::pod::{PodContext, PodEntry, Pods};
use crate::protocol::{Event, MeshSpec};
use crate::publish::Publisher;
use crate::state::{StateDir, private_dir};
use crate::tokens::TokenIssuer;
use crate::{dns, network};

use desired::Desired;

/// Between "no new connections to this pod" and its first signal. A kubelet hears of a deletion no sooner, and by then
/// clients of the pod know.
const PACE: Duration = Duration::from_millis(500);
/// Longest wait for the running state to be written before a pod ends all the same.
const PUBLISH_WAIT: Duration = Duration::from_secs(2);
/// What pods get to end when the whole mesh goes down.
const DOWN_GRACE: Duration = Duration::from_secs(10);

/// A running mesh.
struct Supervisor {
    state: StateDir,
    spec: MeshSpec,
    context: Arc<PodContext>,
    desired: std::sync::Mutex<Desired>,
    /// What is wrong with the watched files as they are now, a line a problem.
    problems: std::sync::Mutex<Vec<String>>,
    published: watch::Receiver<u64>,
    /// Told when what is desired changes.
    changed: Notify,
    /// Told when the mesh is to end.
    down: watch::Sender<bool>,
    /// Told when everything is down.
    ended: watch::Sender<bool>,
}

/// Runs the mesh whose state lies in this folder until it is told to end.
pub(crate) fn main(root: &Path) -> ExitCode {
    crate::hidden::log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            tell(&Event::Failed(format!("cannot start: {error}")));
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(run(root));
    // A read of standard input may never end.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&Event::Failed(lateen_api::causes(error.as_ref())));
            ExitCode::FAILURE
        }
    }
}

async fn run(root: &Path) -> anyhow::Result<()> {
    let state = StateDir::open(root)?;
    let _alive = state.claim_supervisor()?;
    let spec: MeshSpec = serde_json::from_slice(&std::fs::read(state.spec())?)?;
    make_folders(&state)?;
    network::make_bridge().await?;
    let issuer = TokenIssuer::open(&state.signing_key())?;
    let desired = Desired::new(&state, &spec, &issuer.rule())
        .map_err(|problems| anyhow::anyhow!(lines(&problems)))?;
    let (zone, zones) = watch::channel(Arc::default());
    dns::serve(dns::server_address(GATEWAY), zones).await?;
    let pods = Arc::new(Pods::default());
    let (published, published_rx) = watch::channel(0);
    let publisher = Publisher::new(state.config().join("cluster"), zone);
    tokio::spawn(publisher.run(Arc::clone(&pods), desired.declared(), published));
    let context = PodContext {
        state: state.clone(),
        issuer,
        settings: desired.settings(),
        pods,
        executable: std::env::current_exe()?,
    };
    let listener = UnixListener::bind(state.control_socket())?;
    let supervisor = Arc::new(Supervisor {
        state,
        spec,
        context: Arc::new(context),
        desired: std::sync::Mutex::new(desired),
        problems: std::sync::Mutex::default(),
        published: published_rx,
        changed: Notify::new(),
        down: watch::Sender::new(false),
        ended: watch::Sender::new(false),
    });
    tokio::spawn(control::serve(Arc::clone(&supervisor), listener));
    watch_files::start(&supervisor)?;
    tokio::spawn(summary::report(Arc::clone(&supervisor)));
    let work = tokio::spawn(controller::run(Arc::clone(&supervisor)));
    supervisor.until_down().await;
    work.abort();
    supervisor.take_down().await;
    supervisor.ended.send_replace(true);
    // Whoever asked for the end gets the answer before this process, and with it the namespaces, is gone.
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// Folders of the state; those of the pods and the certificate authority are in memory and seen by nobody else.
fn make_folders(state: &StateDir) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    for part in ["user", "cluster", "mesh"] {
        std::fs::create_dir_all(state.config().join(part))?;
    }
    for folder in [
        state.config(),
        state.config().join("user"),
        state.config().join("cluster"),
        state.config().join("mesh"),
    ] {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755))?;
    }
    // lateend runs as the proxies' user, not as root.
    private_dir(&state.operator())?;
    let lateends = "mode=0700,uid=1337,gid=1337";
    for (folder, options) in [
        (state.authority(), lateends),
        (state.operator_source(), lateends),
        (state.pods(), "mode=0700"),
    ] {
        private_dir(&folder)?;
        mount(
            Some("tmpfs"),
            &folder,
            Some("tmpfs"),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            Some(options),
        )?;
    }
    Ok(())
}

impl Supervisor {
    /// Waits for a request to end, or for the process that started this one to go.
    async fn until_down(&self) {
        let mut asked = self.down.subscribe();
        let starter_gone = async {
            let mut stdin = tokio::io::stdin();
            let mut buffer = [0; 64];
            while stdin.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        };
        tokio::select! {
            _ = asked.wait_for(|down| *down) => {}
            () = starter_gone => {}
        }
    }

    /// Ends all pods, the control plane last.
    async fn take_down(&self) {
        self.down.send_replace(true);
        let order: [fn(&PodEntry) -> bool; 2] = [
            |pod| pod.plan.workload.name != crate::plan::ISTIOD,
            |_| true,
        ];
        for stage in order {
            let stage: Vec<Arc<PodEntry>> = self
                .context
                .pods
                .all()
                .into_iter()
                .filter(|p| stage(p))
                .collect();
            for pod in &stage {
                let grace = pod.grace().min(DOWN_GRACE);
                pod.mark_deleted(grace);
                pod.stop
                    .send_replace(Some(tokio::time::Instant::now() + grace));
            }
            let mut changes = self.context.pods.watch();
            let gone = changes.wait_for(|_| {
                stage
                    .iter()
                    .all(|p| self.context.pods.find(&p.key()).is_none())
            });
            let limit = DOWN_GRACE + Duration::from_secs(5);
            if tokio::time::timeout(limit, gone).await.is_err() {
                tracing::warn!("some pods did not end in time and are killed");
            }
        }
    }

    /// Ends one pod in order: nobody sends it new connections, then it is told. Nothing happens when it ends already.
    fn end_pod(self: &Arc<Self>, pod: Arc<PodEntry>) {
        let served = pod.is_ready();
        if pod.mark_deleted(pod.grace()) {
            let pace = if served { PACE } else { Duration::ZERO };
            tokio::spawn(Arc::clone(self).stop_pod(pod, pace));
        }
    }

    async fn stop_pod(self: Arc<Self>, pod: Arc<PodEntry>, pace: Duration) {
        let version = self.context.pods.version();
        let mut published = self.published.clone();
        let _ = tokio::time::timeout(PUBLISH_WAIT, published.wait_for(|v| *v >= version)).await;
        tokio::time::sleep(pace).await;
        pod.stop
            .send_replace(Some(tokio::time::Instant::now() + pod.grace()));
    }
}

/// Tells the process that started this one; it may be gone.
fn tell(event: &Event) {
    use std::io::Write;
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}

fn lines(problems: &[lateen_api::object::Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
