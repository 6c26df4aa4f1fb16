//! A container's file system: an overlay over the machine's root, with all writes in memory, and the pod's volumes in it.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};
use thiserror::Error;

use super::spec::{Bind, NewRoot};

/// Folder of the container's programs; first in its PATH.
pub(crate) const PROGRAMS: &str = "/.lateen/bin";
/// Where the machine's root stays reachable until the container is complete.
const OLD_ROOT: &str = "/.lateen/machine";
/// Folders that are kept when they are file systems of their own; any other separate file system is not seen inside.
const KEPT: [&str; 10] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/nix", "/srv", "/var"];
/// Devices that every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Why a container's file system could not be made.
#[derive(Debug, Error)]
pub(super) enum RootError {
    /// A mount or another namespace operation failed.
    #[error("{what} {path}: {source}")]
    System { what: &'static str, path: PathBuf, source: nix::Error },
    /// A file operation failed.
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    /// A path of the pod is not absolute or climbs.
    #[error("mount path {0} must be absolute and must not hold '..'")]
    Path(PathBuf),
}

/// Moves the calling process, which must have one thread, into a new file system.
pub(super) fn enter(spec: &NewRoot) -> Result<(), RootError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| system("unshare mounts of", Path::new("/"), e))?;
    attach(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)?;
    let root = layered_root(&spec.scratch)?;
    kernel_mounts(&root)?;
    swap(&root)?;
    programs(spec)?;
    volumes(&spec.binds)?;
    hide(&spec.hidden)?;
    files(spec)?;
    let old = Path::new(OLD_ROOT);
    umount2(old, MntFlags::MNT_DETACH).map_err(|e| system("unmount", old, e))?;
    if spec.read_only { read_only(Path::new("/")) } else { Ok(()) }
}

/// Overlay of the root, and of the kept folders that are separate file systems.
fn layered_root(scratch: &Path) -> Result<PathBuf, RootError> {
    tmpfs(scratch, "mode=0755")?;
    let root = scratch.join("root");
    overlay(scratch, 0, Path::new("/"), &root)?;
    for (index, folder) in KEPT.iter().map(Path::new).filter(|f| is_mount_point(f)).enumerate() {
        overlay(scratch, index + 1, folder, &inside(&root, folder))?;
    }
    Ok(root)
}

fn overlay(scratch: &Path, index: usize, lower: &Path, target: &Path) -> Result<(), RootError> {
    let (upper, work) = (scratch.join(format!("upper{index}")), scratch.join(format!("work{index}")));
    for folder in [&upper, &work, &target.to_owned()] {
        make_dirs(folder)?;
    }
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let plain = attach(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(&options));
    // A user namespace may not write trusted attributes.
    plain.or_else(|_| {
        let options = format!("{options},userxattr");
        attach(Some("overlay"), target, Some("overlay"), MsFlags::empty(), Some(&options))
    })
}

/// `/proc`, `/sys`, a small `/dev`, and empty `/tmp` and `/run` (the machine's sockets are none of the pod's business).
fn kernel_mounts(root: &Path) -> Result<(), RootError> {
    for folder in ["/proc", "/sys"].map(Path::new) {
        bind(folder, &inside(root, folder))?;
    }
    tmpfs(&inside(root, Path::new("/tmp")), "mode=1777")?;
    tmpfs(&inside(root, Path::new("/run")), "mode=0755")?;
    let dev = inside(root, Path::new("/dev"));
    tmpfs(&dev, "mode=0755")?;
    for device in DEVICES {
        let source = Path::new("/dev").join(device);
        if source.exists() {
            let target = dev.join(device);
            make_file(&target)?;
            bind(&source, &target)?;
        }
    }
    make_dirs(&dev.join("shm"))?;
    tmpfs(&dev.join("shm"), "mode=1777")?;
    for (name, target) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(target, dev.join(name)).map_err(|e| file(&dev.join(name), e))?;
    }
    Ok(())
}

fn swap(root: &Path) -> Result<(), RootError> {
    let old = inside(root, Path::new(OLD_ROOT));
    make_dirs(&old)?;
    pivot_root(root, &old).map_err(|e| system("change the root to", root, e))?;
    chdir("/").map_err(|e| system("enter", Path::new("/"), e))
}

/// Binds the programs one by one: the folder they lie in may be closed to the container's user.
fn programs(spec: &NewRoot) -> Result<(), RootError> {
    let folder = Path::new(PROGRAMS);
    make_dirs(folder)?;
    for (name, source) in &spec.programs {
        let target = folder.join(name);
        make_file(&target)?;
        bind(&inside(Path::new(OLD_ROOT), source), &target)?;
    }
    for (link, program) in &spec.links {
        let path = folder.join(link);
        symlink(program, &path).map_err(|e| file(&path, e))?;
    }
    Ok(())
}

/// Outer paths first; read-only comes last, since an inner mount point may have to be made inside an outer volume.
fn volumes(binds: &[Bind]) -> Result<(), RootError> {
    let mut binds: Vec<&Bind> = binds.iter().collect();
    binds.sort_by_key(|bind| bind.target.components().count());
    for volume in &binds {
        if !is_plain(&volume.target) {
            return Err(RootError::Path(volume.target.clone()));
        }
        let source = inside(Path::new(OLD_ROOT), &volume.source);
        if source.is_dir() {
            make_dirs(&volume.target)?;
        } else {
            make_file(&volume.target)?;
        }
        bind(&source, &volume.target)?;
    }
    binds.iter().filter(|v| v.read_only).try_for_each(|v| read_only(&v.target))
}

fn hide(folders: &[PathBuf]) -> Result<(), RootError> {
    folders.iter().filter(|f| f.is_dir()).try_for_each(|f| tmpfs(f, "mode=0755"))
}

fn files(spec: &NewRoot) -> Result<(), RootError> {
    for (path, content) in &spec.files {
        // A link, such as systemd's resolv.conf, is replaced and not followed.
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(file(path, e)),
            _ => {}
        }
        if let Some(parent) = path.parent() {
            make_dirs(parent)?;
        }
        fs::write(path, content).map_err(|e| file(path, e))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).map_err(|e| file(path, e))?;
    }
    Ok(())
}

fn is_mount_point(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == path))
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute() && path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
}

/// The absolute path `path` below another root.
fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_dirs(path: &Path) -> Result<(), RootError> {
    fs::create_dir_all(path).map_err(|e| file(path, e))
}

fn make_file(path: &Path) -> Result<(), RootError> {
    if let Some(parent) = path.parent() {
        make_dirs(parent)?;
    }
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).map_err(|e| file(path, e))
}

fn tmpfs(target: &Path, options: &str) -> Result<(), RootError> {
    make_dirs(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    attach(Some("tmpfs"), target, Some("tmpfs"), flags, Some(options))
}

fn bind(source: &Path, target: &Path) -> Result<(), RootError> {
    let source = source.to_string_lossy();
    attach(Some(&source), target, None, MsFlags::MS_BIND | MsFlags::MS_REC, None)
}

fn read_only(target: &Path) -> Result<(), RootError> {
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    // Flags that the mount has and that a user namespace may not take away must be repeated.
    attach(None, target, None, flags, None)
        .or_else(|_| attach(None, target, None, flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV, None))
}

fn attach(source: Option<&str>, target: &Path, kind: Option<&str>, flags: MsFlags, data: Option<&str>) -> Result<(), RootError> {
    mount(source, target, kind, flags, data).map_err(|e| system("mount on", target, e))
}

fn system(what: &'static str, path: &Path, source: nix::Error) -> RootError {
    RootError::System { what, path: path.to_owned(), source }
}

fn file(path: &Path, source: io::Error) -> RootError {
    RootError::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_paths_that_climb_are_not_plain() {
        for (path, plain) in [("/a/b", true), ("a/b", false), ("/a/../b", false), ("/", true)] {
            assert_eq!(is_plain(Path::new(path)), plain, "{path}");
        }
    }
}
