//! Where a mesh keeps its state, and the locks that tell a running mesh from the remains of one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use thiserror::Error;

/// Longest name of a mesh: it is part of the path of a unix socket, which may have 107 bytes in all.
const MAX_NAME: usize = 32;
/// How long a new mesh waits for the supervisor of an ended one to take its pods down.
const ORPHAN_WAIT: Duration = Duration::from_secs(45);

/// Name of a mesh: an RFC 1123 label of at most 32 characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshName(String);

/// Folder of one mesh (mode 0700) and the paths inside it.
#[derive(Debug, Clone)]
pub struct StateDir {
    name: MeshName,
    root: PathBuf,
}

/// Proof that this process alone runs the mesh; the mesh counts as running until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
}

/// Why the state of a mesh cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// The name is no RFC 1123 label or is too long.
    #[error(
        "mesh name {0:?}: use lower-case letters, digits and '-', at most {MAX_NAME} characters"
    )]
    Name(String),
    /// Another process runs a mesh of this name.
    #[error(
        "mesh \"{0}\" is already running: see `lateenctl local status`, stop it with `lateenctl local down`, or choose another --name"
    )]
    Running(String),
    /// The supervisor of an ended mesh still takes its pods down.
    #[error(
        "mesh \"{0}\" is still being taken down by process state under {1}; try again in a moment"
    )]
    Ending(String, PathBuf),
    /// No mesh of this name is there.
    #[error(
        "no mesh named \"{0}\" is running (looked under {1}); start one with `lateenctl local up`"
    )]
    Absent(String, PathBuf),
    /// The user may not write where meshes keep their state.
    #[error(
        "{0}: no permission to keep the mesh's state there: set XDG_RUNTIME_DIR to a folder of your own, as a login session does, or run with sudo"
    )]
    Denied(PathBuf),
    /// A file operation failed.
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
}

impl MeshName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`StateError::Name`] unless it is an RFC 1123 label of at most 32 characters.
    pub fn new(name: &str) -> Result<Self, StateError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let inner = |c: char| plain(c) || c == '-';
        let ends = name.chars().next().is_some_and(plain) && name.chars().last().is_some_and(plain);
        if ends && name.chars().all(inner) && name.len() <= MAX_NAME {
            Ok(Self(name.to_owned()))
        } else {
            Err(StateError::Name(name.to_owned()))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl StateDir {
    /// The folder of a mesh of this user: `$XDG_RUNTIME_DIR/lateen/<name>`, else `/run/lateen/<name>`.
    #[must_use]
    pub fn of(name: MeshName) -> Self {
        Self::under(&runtime_dir(), name)
    }

    /// The folder of a mesh under a given runtime folder.
    #[must_use]
    pub fn under(runtime: &Path, name: MeshName) -> Self {
        let root = runtime.join("lateen").join(name.as_str());
        Self { name, root }
    }

    /// Reads a mesh's folder back from its path, as it is handed to the supervisor's process.
    ///
    /// # Errors
    /// [`StateError::Name`] when the last part of the path is no mesh name.
    pub fn open(root: &Path) -> Result<Self, StateError> {
        let name = root
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default();
        Ok(Self {
            name: MeshName::new(name)?,
            root: root.to_owned(),
        })
    }

    /// Name of the mesh.
    #[must_use]
    pub const fn name(&self) -> &MeshName {
        &self.name
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Control socket of the supervisor.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.root.join("control.sock")
    }

    /// What the supervisor is to run, written by `local up`.
    #[must_use]
    pub fn spec(&self) -> PathBuf {
        self.root.join("mesh.json")
    }

    /// Log of a supervisor in the background.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.root.join("supervisor.log")
    }

    /// Folder of configuration that lateend reads; its parts are `user`, `cluster` and `mesh`.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// Folder in which lateend keeps its certificate authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.root.join("ca")
    }

    /// Client certificate of the operator's tools, kept up to date: `cert-chain.pem`, `key.pem`, `root-cert.pem`.
    #[must_use]
    pub fn operator(&self) -> PathBuf {
        self.root.join("operator")
    }

    /// Folder in which lateend keeps the operator's certificate; the supervisor copies it to [`Self::operator`].
    #[must_use]
    pub(crate) fn operator_source(&self) -> PathBuf {
        self.root.join("operator-source")
    }

    /// Signing key of the mesh's service account tokens.
    #[must_use]
    pub fn signing_key(&self) -> PathBuf {
        self.root.join("identity").join("signing.pem")
    }

    /// Folder of the pods' volumes; a memory file system that only the supervisor's mount namespace sees.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    /// Makes the mesh this process's own: locks it, and clears away what a crashed one left behind.
    ///
    /// # Errors
    /// [`StateError::Running`] while another process holds it, [`StateError::Denied`] or [`StateError::Io`] when the folder
    /// cannot be made.
    pub fn claim(&self) -> Result<StateLock, StateError> {
        private_dir(&self.root).map_err(|error| match error {
            StateError::Io(path, e) if e.kind() == io::ErrorKind::PermissionDenied => {
                StateError::Denied(path)
            }
            other => other,
        })?;
        let lock = self
            .lock("lock")?
            .ok_or_else(|| StateError::Running(self.name.0.clone()))?;
        self.await_orphan()?;
        self.clear()?;
        Ok(lock)
    }

    /// Marks the supervisor's process as alive; held until the process ends.
    ///
    /// # Errors
    /// [`StateError::Running`] when another supervisor lives.
    pub fn claim_supervisor(&self) -> Result<StateLock, StateError> {
        self.lock("supervisor.lock")?
            .ok_or_else(|| StateError::Running(self.name.0.clone()))
    }

    /// True while the process that started the mesh lives.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.root.join("lock").exists() && matches!(self.lock("lock"), Ok(None))
    }

    /// Removes everything of the mesh but its lock; only for the holder of the lock.
    ///
    /// # Errors
    /// [`StateError::Io`] when something cannot be removed.
    pub fn clear(&self) -> Result<(), StateError> {
        for entry in fs::read_dir(&self.root)
            .map_err(|e| self.io(&self.root, e))?
            .flatten()
        {
            let path = entry.path();
            if entry.file_name() == "lock" {
                continue;
            }
            let done = if path.is_dir() && !path.is_symlink() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            done.map_err(|e| self.io(&path, e))?;
        }
        Ok(())
    }

    /// Removes the whole folder; only for the holder of the lock. What cannot be removed stays.
    pub fn remove(&self) {
        let removed = self
            .clear()
            .map_err(|e| e.to_string())
            .and_then(|()| fs::remove_dir_all(&self.root).map_err(|e| e.to_string()));
        if let Err(error) = removed {
            tracing::warn!(path = %self.root.display(), %error, "state of the mesh could not be removed");
        }
    }

    /// Waits until a supervisor that outlived its starter has taken its pods down.
    fn await_orphan(&self) -> Result<(), StateError> {
        let end = Instant::now() + ORPHAN_WAIT;
        while self.lock("supervisor.lock")?.is_none() {
            if Instant::now() > end {
                return Err(StateError::Ending(self.name.0.clone(), self.root.clone()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Takes one of the mesh's locks; `None` when it is held.
    fn lock(&self, file: &str) -> Result<Option<StateLock>, StateError> {
        let path = self.root.join(file);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let opened = opened.map_err(|e| self.io(&path, e))?;
        match opened.try_lock() {
            Ok(()) => Ok(Some(StateLock { _file: opened })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(self.io(&path, error)),
        }
    }

    fn io(&self, path: &Path, error: io::Error) -> StateError {
        StateError::Io(path.to_owned(), error)
    }
}

/// Makes a folder that only its owner may enter, with its parents.
///
/// # Errors
/// [`StateError::Io`] with the path.
pub(crate) fn private_dir(path: &Path) -> Result<(), StateError> {
    let fail = |e| StateError::Io(path.to_owned(), e);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(fail)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(fail)
}

/// Writes a file in one step: a reader sees the old content or the new, never a part.
///
/// # Errors
/// What the file system says.
pub(crate) fn write_atomic(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    fs::write(&temporary, content)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))?;
    fs::rename(&temporary, path)
}

fn runtime_dir() -> PathBuf {
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|dir| !dir.is_empty())
        .map_or_else(|| PathBuf::from("/run"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in ["default", "a", "a-1", "0"] {
            assert!(MeshName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", &"x".repeat(33)] {
            assert!(MeshName::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_second_claim_is_refused_and_a_stale_one_is_cleared() {
        let dir = tempfile::tempdir().expect("tempdir");
        let state = StateDir::under(dir.path(), MeshName::new("m").expect("name"));
        let lock = state.claim().expect("first claim");
        assert!(state.is_claimed());
        assert!(matches!(state.claim(), Err(StateError::Running(_))));
        fs::write(state.control_socket(), b"").expect("left-over");
        drop(lock);
        let _again = state.claim().expect("claim after a crash");
        assert!(!state.control_socket().exists());
        assert_eq!(
            fs::metadata(state.root())
                .expect("stat")
                .permissions()
                .mode()
                & 0o777,
            0o700
        );
    }
}
