//! The way of a change: batch → index → translate → hub. One writer; readers get immutable configurations.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use lateen_api::object::Kind;
use lateen_controlplane_index::{Index, Step};
use lateen_controlplane_model::change::Batch;
use lateen_controlplane_model::generate::{Generate, Rejection, Update};
use lateen_controlplane_model::snapshot::{Mesh, Snapshot};
use lateen_controlplane_serve::hub::Hub;
use lateen_controlplane_translate::Config;
use tokio::sync::mpsc;

/// The snapshot served now, for pages.
pub(crate) type Current = Arc<ArcSwapOption<Snapshot>>;

/// Joins and translates what the sources send.
pub(crate) struct Pipeline {
    index: Index,
    hub: Arc<Hub>,
    current: Current,
    config: Option<Arc<Config>>,
    rejected: BTreeSet<Rejection>,
}

impl Pipeline {
    /// A pipeline that publishes to a hub.
    pub(crate) fn new(index: Index, hub: Arc<Hub>, current: Current) -> Self {
        Self {
            index,
            hub,
            current,
            config: None,
            rejected: BTreeSet::new(),
        }
    }

    /// Runs until the sources are gone. Changes that are waiting already are published as one.
    pub(crate) async fn run(
        mut self,
        mut batches: mpsc::Receiver<Batch>,
        mut meshes: mpsc::Receiver<Mesh>,
    ) {
        loop {
            let mut step = tokio::select! {
                batch = batches.recv() => match batch {
                    Some(batch) => self.apply(&batch),
                    None => return,
                },
                Some(mesh) = meshes.recv() => tokio::task::block_in_place(|| self.index.set_mesh(mesh)),
            };
            while let Ok(batch) = batches.try_recv() {
                step = join(step, self.apply(&batch));
            }
            if let Some(step) = step {
                tokio::task::block_in_place(|| self.publish(step));
            }
        }
    }

    fn apply(&mut self, batch: &Batch) -> Option<Step> {
        for change in &batch.changes {
            self.hub.metrics().count_inbound(match change.key().kind {
                Kind::Service => "svc",
                Kind::EndpointSlice | Kind::Pod => "eds",
                _ => "config",
            });
        }
        tokio::task::block_in_place(|| self.index.apply(batch))
    }

    fn publish(&mut self, step: Step) {
        let Step { snapshot, affected } = step;
        let config = match &self.config {
            Some(before) => before.next(Arc::clone(&snapshot), &affected),
            None => Config::new(Arc::clone(&snapshot)),
        };
        let config = Arc::new(config);
        let metrics = self.hub.metrics();
        metrics.services.set(count(snapshot.services.len()));
        metrics
            .virtual_services
            .set(count(snapshot.virtual_services.iter().count()));
        tracing::info!(version = %snapshot.version, services = snapshot.services.len(), "configuration");
        self.current.store(Some(snapshot));
        self.hub.publish(&Update {
            config: Arc::clone(&config) as Arc<dyn Generate>,
            affected: Arc::new(affected),
        });
        self.report(&config.rejections());
        self.config = Some(config);
    }

    /// Logs what is left out now and was not before.
    fn report(&mut self, rejections: &[Rejection]) {
        let now: BTreeSet<Rejection> = rejections.iter().cloned().collect();
        for rejection in now.difference(&self.rejected) {
            tracing::warn!("left out: {}", self.index.explain(rejection));
        }
        self.rejected = now;
    }
}

/// Two steps as one: the later state, and what either changed.
fn join(earlier: Option<Step>, later: Option<Step>) -> Option<Step> {
    match (earlier, later) {
        (Some(mut earlier), Some(later)) => {
            earlier.affected.merge(&later.affected);
            Some(Step {
                snapshot: later.snapshot,
                affected: earlier.affected,
            })
        }
        (earlier, later) => later.or(earlier),
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
