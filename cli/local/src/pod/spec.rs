//! From a container of a pod to the process that becomes it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use thiserror::Error;

use super::entry::PodEntry;
use super::sandbox::folder;
use crate::container::{ContainerSpec, NewRoot, PROGRAMS, Place, Program, User};
use crate::dns;
use crate::env::{self, EnvError, Environment};
use crate::facts::{PodFacts, Settings};
use crate::network::GATEWAY;
use crate::state::StateDir;
use crate::volumes::{PodVolumes, VolumeError};

/// User of containers that name none: nobody that owns anything on this machine.
pub(crate) const DEFAULT_USER: u32 = 65_532;
/// PATH of containers.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The proxy's program, and the name by which injected pods call it.
const PROXY: (&str, &str) = ("lateen-proxy", "pilot-agent");

/// Why a container's process cannot be described.
#[derive(Debug, Error)]
pub(crate) enum SpecError {
    /// Its environment cannot be made.
    #[error(transparent)]
    Env(#[from] EnvError),
    /// Its mounts cannot be made.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// It must not run as root but does.
    #[error("container has runAsNonRoot and would run as user 0")]
    Root,
    /// A user or group is out of range.
    #[error("{0} {1} is out of range")]
    User(&'static str, i64),
    /// The program is not known.
    #[error("container \"{0}\" has no program")]
    Program(String),
    /// A folder could not be made.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
}

/// What the containers of one pod have in common.
#[derive(Debug)]
pub(crate) struct PodEnvironment {
    /// The pod.
    pub entry: Arc<PodEntry>,
    /// What it knows of itself.
    pub facts: PodFacts,
    /// Its volumes.
    pub volumes: PodVolumes,
    folder: PathBuf,
    hidden: PathBuf,
}

impl PodEnvironment {
    /// Of a pod whose files lie in the mesh's state.
    #[must_use]
    pub(crate) fn new(entry: Arc<PodEntry>, state: &StateDir) -> Self {
        let facts = PodFacts::of(&entry.plan.pod, entry.ip);
        let folder = folder(state, &entry);
        let volumes = PodVolumes::new(folder.join("volumes"), &entry.plan.pod, facts.clone());
        Self {
            entry,
            facts,
            volumes,
            folder,
            hidden: state.root().to_owned(),
        }
    }

    /// Folder of the pod's own files.
    #[must_use]
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The process of a container that starts.
    ///
    /// # Errors
    /// [`SpecError`] naming what it asks for and does not get.
    pub(crate) fn start(
        &self,
        container: &Container,
        sandbox: u32,
        settings: &Settings,
    ) -> Result<ContainerSpec, SpecError> {
        let image = self
            .entry
            .plan
            .programs
            .get(&container.name)
            .ok_or_else(|| SpecError::Program(container.name.clone()))?;
        let environment = self.environment(container, settings)?;
        let name = image
            .file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let argv = argv(container, &name, &image.args, &environment);
        let binds = self
            .volumes
            .binds(container, |text| environment.expand(text))?;
        let scratch = self.folder.join(format!("root-{}", container.name));
        std::fs::create_dir_all(&scratch).map_err(|e| SpecError::Io(scratch.clone(), e))?;
        let security = container.security_context.as_ref();
        let place = NewRoot {
            scratch,
            binds,
            links: links(&name),
            programs: BTreeMap::from([(name, image.file.clone())]),
            files: self.files(),
            hidden: vec![self.hidden.clone()],
            read_only: security.and_then(|s| s.read_only_root_filesystem) == Some(true),
        };
        let program = Program {
            argv,
            directory: container
                .working_dir
                .as_ref()
                .filter(|d| !d.is_empty())
                .map(PathBuf::from),
            user: self.user(container)?,
            env: environment.into_pairs(),
        };
        Ok(ContainerSpec {
            sandbox,
            place: Place::New(Box::new(place)),
            program,
        })
    }

    /// A further process in a container that runs.
    ///
    /// # Errors
    /// [`SpecError`] as for [`Self::start`].
    pub(crate) fn join(
        &self,
        container: &Container,
        (sandbox, process): (u32, u32),
        argv: Vec<String>,
        settings: &Settings,
    ) -> Result<ContainerSpec, SpecError> {
        let program = Program {
            argv,
            env: self.environment(container, settings)?.into_pairs(),
            directory: container
                .working_dir
                .as_ref()
                .filter(|d| !d.is_empty())
                .map(PathBuf::from),
            user: self.user(container)?,
        };
        Ok(ContainerSpec {
            sandbox,
            place: Place::Join(process),
            program,
        })
    }

    fn environment(
        &self,
        container: &Container,
        settings: &Settings,
    ) -> Result<Environment, EnvError> {
        let mut base = Environment::new([
            ("PATH".to_owned(), format!("{PROGRAMS}:{PATH}")),
            ("HOSTNAME".to_owned(), hostname(&self.entry.plan.pod)),
            ("HOME".to_owned(), "/".to_owned()),
        ]);
        for (name, value) in self
            .entry
            .plan
            .programs
            .get(&container.name)
            .iter()
            .flat_map(|p| &p.env)
        {
            base.set(name, value.clone());
        }
        let spec = self.entry.plan.spec();
        let all: Vec<Container> = spec
            .iter()
            .flat_map(|s| {
                s.containers
                    .iter()
                    .chain(s.init_containers.iter().flatten())
            })
            .cloned()
            .collect();
        env::resolve(base, container, &all, &self.facts, settings)
    }

    fn files(&self) -> BTreeMap<PathBuf, String> {
        let host = hostname(&self.entry.plan.pod);
        let file = |path: &str, text: String| (PathBuf::from(path), text);
        BTreeMap::from([
            file(
                "/etc/resolv.conf",
                dns::resolv_conf(GATEWAY, &self.facts.namespace),
            ),
            file(
                "/etc/hosts",
                hosts(&self.entry.plan.pod, &host, &self.facts),
            ),
            file("/etc/hostname", format!("{host}\n")),
            file(
                "/etc/nsswitch.conf",
                "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
            ),
        ])
    }

    fn user(&self, container: &Container) -> Result<User, SpecError> {
        let pod = self
            .entry
            .plan
            .spec()
            .and_then(|s| s.security_context.as_ref());
        let own = container.security_context.as_ref();
        let asked_uid = own
            .and_then(|s| s.run_as_user)
            .or_else(|| pod.and_then(|s| s.run_as_user));
        let asked_gid = own
            .and_then(|s| s.run_as_group)
            .or_else(|| pod.and_then(|s| s.run_as_group));
        let uid = asked_uid.map_or(Ok(DEFAULT_USER), |id| number("runAsUser", id))?;
        let gid = asked_gid.map_or(
            Ok(if asked_uid.is_some() { 0 } else { DEFAULT_USER }),
            |id| number("runAsGroup", id),
        )?;
        let non_root = own
            .and_then(|s| s.run_as_non_root)
            .or_else(|| pod.and_then(|s| s.run_as_non_root));
        if uid == 0 && non_root == Some(true) {
            return Err(SpecError::Root);
        }
        let groups = pod
            .into_iter()
            .flat_map(|s| s.supplemental_groups.iter().flatten().chain(&s.fs_group));
        let groups = groups
            .map(|id| number("group", *id))
            .collect::<Result<_, _>>()?;
        let no_new_privileges =
            own.and_then(|s| s.allow_privilege_escalation) == Some(false) && uid != 0;
        Ok(User {
            uid,
            gid,
            groups,
            no_new_privileges,
        })
    }
}

/// Host name of a pod: its own choice, else its name, at most 63 characters.
#[must_use]
pub(super) fn hostname(pod: &Pod) -> String {
    let chosen = pod
        .spec
        .as_ref()
        .and_then(|s| s.hostname.clone())
        .filter(|h| !h.is_empty());
    let name = chosen
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_default();
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['-', '.'])
        .to_owned()
}

fn argv(
    container: &Container,
    name: &str,
    image_args: &[String],
    environment: &Environment,
) -> Vec<String> {
    let command = container.command.clone().unwrap_or_default();
    let args = container.args.clone().unwrap_or_default();
    let all: Vec<String> = if command.is_empty() {
        let args = if args.is_empty() {
            image_args.to_vec()
        } else {
            args
        };
        std::iter::once(format!("{PROGRAMS}/{name}"))
            .chain(args)
            .collect()
    } else {
        command.into_iter().chain(args).collect()
    };
    all.iter().map(|text| environment.expand(text)).collect()
}

/// Injected pods call the proxy by its agent's name too.
fn links(program: &str) -> BTreeMap<String, String> {
    let (proxy, agent) = PROXY;
    if program == proxy {
        BTreeMap::from([(agent.to_owned(), proxy.to_owned())])
    } else {
        BTreeMap::new()
    }
}

fn hosts(pod: &Pod, host: &str, facts: &PodFacts) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n".to_owned();
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let full = spec.subdomain.as_ref().filter(|s| !s.is_empty());
    let full = full
        .map(|s| format!("{host}.{}\t", dns::service_name(s, &facts.namespace)))
        .unwrap_or_default();
    text.push_str(&format!("{}\t{full}{host}\n", facts.ip));
    for alias in spec.host_aliases.iter().flatten() {
        text.push_str(&format!(
            "{}\t{}\n",
            alias.ip,
            alias.hostnames.clone().unwrap_or_default().join("\t")
        ));
    }
    text
}

fn number(what: &'static str, id: i64) -> Result<u32, SpecError> {
    u32::try_from(id).map_err(|_| SpecError::User(what, id))
}
