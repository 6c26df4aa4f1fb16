//! Becomes a container's process: enters the namespaces, drops privileges, executes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::fchown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::sched::{CloneFlags, setns};
use nix::unistd::{Gid, Uid, setgid, setgroups, setsid, setuid};
use thiserror::Error;

use super::mounts::RootError;
use super::root;
use super::spec::{ContainerSpec, Place, Program, User};

/// Why a container's process could not be started.
#[derive(Debug, Error)]
enum ShimError {
    #[error("cannot read the container's spec {0}: {1}")]
    Spec(PathBuf, io::Error),
    #[error("cannot enter the pod's namespace {0}: {1}")]
    Namespace(PathBuf, io::Error),
    #[error("cannot make the container's file system: {0}")]
    Root(#[from] RootError),
    #[error("cannot become user {uid}, group {gid}: {source}")]
    User {
        uid: u32,
        gid: u32,
        source: nix::Error,
    },
    #[error("cannot enter the working directory {0}: {1}")]
    Directory(PathBuf, io::Error),
    #[error("the container has no command")]
    Empty,
    #[error("cannot start {0:?}: {1}")]
    Exec(String, io::Error),
}

/// Runs the container that the spec file describes in place of this process, which must have one thread. Returns only on
/// failure, with the reason on standard error.
pub(crate) fn main(spec: &Path) -> ExitCode {
    let failure = match start(spec) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    eprintln!("lateenctl: {failure}");
    ExitCode::from(127)
}

fn start(path: &Path) -> Result<std::convert::Infallible, ShimError> {
    let spec = read(path)?;
    for (kind, flag) in [
        ("net", CloneFlags::CLONE_NEWNET),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("ipc", CloneFlags::CLONE_NEWIPC),
    ] {
        enter(spec.sandbox, kind, flag)?;
    }
    match &spec.place {
        Place::New(new) => root::enter(new)?,
        Place::Join(process) => enter(*process, "mnt", CloneFlags::CLONE_NEWNS)?,
    }
    let directory = spec
        .program
        .directory
        .clone()
        .unwrap_or_else(|| PathBuf::from("/"));
    std::env::set_current_dir(&directory).map_err(|e| ShimError::Directory(directory, e))?;
    own_streams(&spec.program.user);
    become_user(&spec.program.user)?;
    // A session of its own: a signal to the group reaches what the container started and nothing else.
    let _ = setsid();
    execute(&spec.program)
}

fn read(path: &Path) -> Result<ContainerSpec, ShimError> {
    let fail = |e| ShimError::Spec(path.to_owned(), e);
    let text = fs::read(path).map_err(fail)?;
    fs::remove_file(path).map_err(fail)?;
    serde_json::from_slice(&text).map_err(|e| fail(e.into()))
}

fn enter(process: u32, kind: &str, flag: CloneFlags) -> Result<(), ShimError> {
    let path = PathBuf::from(format!("/proc/{process}/ns/{kind}"));
    let fail = |e: io::Error| ShimError::Namespace(path.clone(), e);
    let file = File::open(&path).map_err(fail)?;
    setns(&file, flag).map_err(|e| fail(e.into()))
}

/// Gives the output pipes to the container's user: programs that open `/dev/stdout` need the permission.
fn own_streams(user: &User) {
    let _ = fchown(io::stdout(), Some(user.uid), Some(user.gid));
    let _ = fchown(io::stderr(), Some(user.uid), Some(user.gid));
}

fn become_user(user: &User) -> Result<(), ShimError> {
    let fail = |source| ShimError::User {
        uid: user.uid,
        gid: user.gid,
        source,
    };
    let groups: Vec<Gid> = user.groups.iter().copied().map(Gid::from_raw).collect();
    setgroups(&groups).map_err(fail)?;
    setgid(Gid::from_raw(user.gid)).map_err(fail)?;
    setuid(Uid::from_raw(user.uid)).map_err(fail)?;
    if user.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(fail)
    } else {
        Ok(())
    }
}

fn execute(program: &Program) -> Result<std::convert::Infallible, ShimError> {
    let (name, arguments) = program.argv.split_first().ok_or(ShimError::Empty)?;
    let error = Command::new(name)
        .args(arguments)
        .env_clear()
        .envs(program.env.iter().cloned())
        .exec();
    Err(ShimError::Exec(name.clone(), error))
}
