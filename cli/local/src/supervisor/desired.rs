//! What the mesh should be: the user's files and applied objects, planned and handed on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use lateen_api::object::{ObjectKey, Problem};
use tokio::sync::watch;

use crate::facts::{Data, Settings};
use crate::mesh_config;
use crate::mirror::Mirror;
use crate::plan::{
    BuiltIn, MeshPlan, PlanOptions, ROOT_CERTIFICATE, References, SYSTEM, ServiceAddresses, plan,
};
use crate::pod::WorkloadKey;
use crate::protocol::MeshSpec;
use crate::publish::Declared;
use crate::source::{Documents, SourceFile, parse, read};
use crate::state::{StateDir, write_atomic};

/// File of the root certificate in lateend's folder.
const ROOT_FILE: &str = "root-cert.pem";
/// Key of the root certificate in its ConfigMap.
const ROOT_KEY: &str = "root-cert.pem";

/// The desired state and its listeners.
pub(super) struct Desired {
    spec: MeshSpec,
    root_file: PathBuf,
    /// Texts of the watched files as last seen, whether valid or not.
    seen: Vec<SourceFile>,
    /// Objects of the watched files as last taken over.
    watched: Documents,
    /// All objects of the user: of files, changed by apply and delete.
    user: Documents,
    own: Documents,
    options: PlanOptions,
    addresses: ServiceAddresses,
    mirror: Mirror,
    root: Option<Vec<u8>>,
    plan: Arc<MeshPlan>,
    settings: watch::Sender<Arc<Settings>>,
    declared: watch::Sender<Arc<Declared>>,
}

impl Desired {
    /// Plans the mesh for the first time.
    pub(super) fn new(
        state: &StateDir,
        spec: &MeshSpec,
        jwt_rule: &str,
    ) -> Result<Self, Vec<Problem>> {
        let given = spec
            .mesh_config
            .as_ref()
            .map(|f| (f.name.as_str(), f.text.as_str()));
        let mesh = mesh_config::read(given).map_err(|p| vec![p])?;
        let fail = |e: std::io::Error| {
            vec![Problem::file_error(
                state.config().display().to_string(),
                e.to_string(),
            )]
        };
        write_atomic(
            &state.config().join("mesh/mesh"),
            mesh.text.as_bytes(),
            0o644,
        )
        .map_err(fail)?;
        let own = BuiltIn {
            config: &state.config(),
            authority: &state.authority(),
            operator: &state.operator_source(),
            jwt_rule,
        }
        .documents()?;
        let options = PlanOptions {
            images: spec.images.clone(),
            mesh: mesh.config,
            restarts: BTreeMap::new(),
        };
        let mut desired = Self {
            spec: spec.clone(),
            root_file: state.authority().join(ROOT_FILE),
            seen: Vec::new(),
            watched: Documents::new(),
            user: Documents::new(),
            own,
            options,
            addresses: ServiceAddresses::default(),
            mirror: Mirror::new(state.config().join("user")),
            root: None,
            plan: Arc::default(),
            settings: watch::Sender::new(Arc::default()),
            declared: watch::Sender::new(Arc::default()),
        };
        desired.load()?;
        Ok(desired)
    }

    /// The plan in force.
    pub(super) fn plan(&self) -> Arc<MeshPlan> {
        Arc::clone(&self.plan)
    }

    /// ConfigMaps and Secrets, as they change.
    pub(super) fn settings(&self) -> watch::Receiver<Arc<Settings>> {
        self.settings.subscribe()
    }

    /// Objects for lateend, as they change.
    pub(super) fn declared(&self) -> watch::Receiver<Arc<Declared>> {
        self.declared.subscribe()
    }

    /// Reads the watched files again; true when something changed. The last good state stays when they are not valid.
    pub(super) fn reload(&mut self) -> Result<bool, Vec<Problem>> {
        let files = read(&self.spec.sources)?;
        if files == self.seen {
            return Ok(false);
        }
        self.seen = files;
        self.take_over().map(|()| true)
    }

    fn load(&mut self) -> Result<(), Vec<Problem>> {
        self.seen = read(&self.spec.sources)?;
        self.take_over()
    }

    fn take_over(&mut self) -> Result<(), Vec<Problem>> {
        let files: Vec<SourceFile> = self.seen.iter().chain(&self.spec.once).cloned().collect();
        let documents = parse(&files, &self.spec.namespace)?;
        let mut user = self.user.clone();
        for (key, before) in &self.watched {
            // What was applied over a file's object stays when the file lets go of it.
            if !documents.contains_key(key) && user.get(key) == Some(before) {
                user.remove(key);
            }
        }
        for (key, document) in &documents {
            if self.watched.get(key) != Some(document) {
                user.insert(key.clone(), document.clone());
            }
        }
        self.change(user, self.options.clone())?;
        self.watched = documents;
        Ok(())
    }

    /// Adds or replaces objects; gives what was done with each.
    pub(super) fn apply(&mut self, files: &[SourceFile]) -> Result<Vec<String>, Vec<Problem>> {
        let documents = parse(files, &self.spec.namespace)?;
        let mut user = self.user.clone();
        let mut said = Vec::new();
        for (key, document) in documents {
            let before = user.get(&key).map(|d| {
                d.object.spec == document.object.spec && d.object.meta == document.object.meta
            });
            said.push(format!(
                "{} {}",
                name(&key),
                match before {
                    None => "created",
                    Some(true) => "unchanged",
                    Some(false) => "configured",
                }
            ));
            user.insert(key, document);
        }
        self.change(user, self.options.clone())?;
        Ok(said)
    }

    /// Takes objects away; gives what was done with each.
    pub(super) fn delete(&mut self, files: &[SourceFile]) -> Result<Vec<String>, Vec<Problem>> {
        let documents = parse(files, &self.spec.namespace)?;
        let mut user = self.user.clone();
        let absent = |d: &crate::source::Document| {
            d.object.problem(
                lateen_api::object::Severity::Error,
                "",
                "the mesh has no such object",
            )
        };
        let problems: Vec<Problem> = documents
            .iter()
            .filter(|(key, _)| !user.contains_key(key))
            .map(|(_, d)| absent(d))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        for key in documents.keys() {
            user.remove(key);
        }
        // As with kubectl, the order of deletions is the user's own affair.
        self.change_with(user, self.options.clone(), References::Loose)?;
        Ok(documents
            .keys()
            .map(|key| format!("{} deleted", name(key)))
            .collect())
    }

    /// Gives a workload a new template, so that its pods are replaced.
    pub(super) fn restart(
        &mut self,
        workload: &WorkloadKey,
        at: String,
    ) -> Result<(), Vec<Problem>> {
        let mut options = self.options.clone();
        options.restarts.insert(workload.clone(), at);
        self.change(self.user.clone(), options)
    }

    /// Takes over the root certificate once lateend has made it; true when it is new.
    pub(super) fn read_root(&mut self) -> bool {
        let Ok(root) = std::fs::read(&self.root_file) else {
            return false;
        };
        if root.is_empty() || self.root.as_ref() == Some(&root) {
            return false;
        }
        self.root = Some(root);
        self.hand_on();
        true
    }

    fn change(&mut self, user: Documents, options: PlanOptions) -> Result<(), Vec<Problem>> {
        let known = Arc::clone(&self.plan);
        self.change_with(user, options, References::Strict(&known.dangling))
    }

    fn change_with(
        &mut self,
        user: Documents,
        options: PlanOptions,
        references: References<'_>,
    ) -> Result<(), Vec<Problem>> {
        let planned = plan(&user, &self.own, &options, &mut self.addresses, references)?;
        let known =
            |w: &&Problem| !self.plan.warnings.contains(w) && !self.plan.dangling.contains(w);
        for warning in planned
            .warnings
            .iter()
            .chain(&planned.dangling)
            .filter(known)
        {
            tracing::warn!("{warning}");
        }
        self.mirror
            .write(&user)
            .map_err(|e| vec![Problem::file_error("mirrored configuration", e.to_string())])?;
        self.user = user;
        self.options = options;
        self.plan = Arc::new(planned);
        self.hand_on();
        Ok(())
    }

    /// Gives plan's settings and objects to those who listen, with the root certificate in every namespace.
    fn hand_on(&self) {
        let mut settings = self.plan.settings.clone();
        if let Some(root) = &self.root {
            let planned = self.plan.workloads.iter().map(|w| w.key.namespace.as_str());
            for namespace in planned.chain([SYSTEM]) {
                let data = Data::from([(ROOT_KEY.to_owned(), root.clone())]);
                settings
                    .config_maps
                    .insert((namespace.to_owned(), ROOT_CERTIFICATE.to_owned()), data);
            }
        }
        let same = *self.settings.borrow().as_ref() == settings;
        if !same {
            self.settings.send_replace(Arc::new(settings));
        }
        self.declared
            .send_replace(Arc::new(self.plan.declared.clone()));
    }
}

/// `virtualservice.networking.istio.io/reviews`, as kubectl names objects.
fn name(key: &ObjectKey) -> String {
    let kind = key.kind.as_str().to_ascii_lowercase();
    let group = key.kind.group();
    if group.is_empty() {
        format!("{kind}/{}", key.name)
    } else {
        format!("{kind}.{group}/{}", key.name)
    }
}
