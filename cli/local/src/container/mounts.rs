//! Mounts and files of a container's file system in the making.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};
use thiserror::Error;

/// Why a container's file system could not be made.
#[derive(Debug, Error)]
pub(super) enum RootError {
    /// A mount or another namespace operation failed.
    #[error("{what} {path}: {source}")]
    System {
        what: &'static str,
        path: PathBuf,
        source: nix::Error,
    },
    /// A file operation failed.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// A path of the pod is not absolute or climbs.
    #[error("mount path {0} must be absolute and must not hold '..'")]
    Path(PathBuf),
}

/// The absolute path `path` below another root.
pub(super) fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Mounts an empty file system in memory, making its mount point.
pub(super) fn tmpfs(target: &Path, options: &str) -> Result<(), RootError> {
    fs::create_dir_all(target).map_err(|e| file(target, e))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    attach(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
}

/// Shows a file or folder, with all that is mounted in it, at another place.
pub(super) fn bind(source: &Path, target: &Path) -> Result<(), RootError> {
    let source = source.to_string_lossy();
    attach(
        Some(&source),
        target,
        None,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None,
    )
}

/// Forbids writes through a mount.
pub(super) fn read_only(target: &Path) -> Result<(), RootError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    // Flags that the mount has and that a user namespace may not take away must be repeated.
    attach(None, target, None, flags, None).or_else(|_| {
        attach(
            None,
            target,
            None,
            flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            None,
        )
    })
}

/// One call of `mount`.
pub(super) fn attach(
    source: Option<&str>,
    target: &Path,
    kind: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> Result<(), RootError> {
    mount(source, target, kind, flags, data).map_err(|e| system("mount on", target, e))
}

/// A failed system call.
pub(super) fn system(what: &'static str, path: &Path, source: nix::Error) -> RootError {
    RootError::System {
        what,
        path: path.to_owned(),
        source,
    }
}

/// A failed file operation.
pub(super) fn file(path: &Path, source: io::Error) -> RootError {
    RootError::File {
        path: path.to_owned(),
        source,
    }
}
