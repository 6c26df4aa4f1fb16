//! A container's file system: an overlay over the machine's root, with all writes in memory, and the pod's volumes in it.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use super::cover::{composed_root, cover_above, is_closed, make_dirs, make_file};
use super::mounts::{RootError, attach, bind, file, inside, read_only, system, tmpfs};
use super::spec::{Bind, NewRoot};

/// Folder of the container's programs; first in its PATH.
pub(crate) const PROGRAMS: &str = "/.lateen/bin";
/// Where the machine's root stays reachable until the container is complete.
const OLD_ROOT: &str = "/.lateen/machine";
/// Folders that are kept when they are file systems of their own; any other separate file system is not seen inside.
const KEPT: [&str; 10] = [
    "/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/nix", "/srv", "/var",
];
/// Devices that every container has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Moves the calling process, which must have one thread, into a new file system.
pub(super) fn enter(spec: &NewRoot) -> Result<(), RootError> {
    unshare(CloneFlags::CLONE_NEWNS).map_err(|e| system("unshare mounts of", Path::new("/"), e))?;
    attach(
        None,
        Path::new("/"),
        None,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None,
    )?;
    tmpfs(&spec.scratch, "mode=0755")?;
    // Where the kernel does not layer the machine's root (in a user namespace), it is put together from binds.
    let root = layered_root(&spec.scratch).or_else(|_| composed_root(&spec.scratch))?;
    kernel_mounts(&root)?;
    swap(&root)?;
    programs(spec)?;
    volumes(&spec.binds)?;
    hide(&spec.hidden)?;
    files(spec)?;
    let old = Path::new(OLD_ROOT);
    umount2(old, MntFlags::MNT_DETACH).map_err(|e| system("unmount", old, e))?;
    if spec.read_only {
        read_only(Path::new("/"))
    } else {
        Ok(())
    }
}

/// Overlay of the root, and of the kept folders that are separate file systems.
fn layered_root(scratch: &Path) -> Result<PathBuf, RootError> {
    let root = scratch.join("root");
    overlay(scratch, 0, Path::new("/"), &root)?;
    for (index, folder) in KEPT
        .iter()
        .map(Path::new)
        .filter(|f| is_mount_point(f))
        .enumerate()
    {
        overlay(scratch, index + 1, folder, &inside(&root, folder))?;
    }
    Ok(root)
}

fn overlay(scratch: &Path, index: usize, lower: &Path, target: &Path) -> Result<(), RootError> {
    let (upper, work) = (
        scratch.join(format!("upper{index}")),
        scratch.join(format!("work{index}")),
    );
    for folder in [&upper, &work, &target.to_owned()] {
        make_dirs(folder)?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let plain = attach(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(&options),
    );
    // A user namespace may not write trusted attributes.
    plain.or_else(|_| {
        let options = format!("{options},userxattr");
        attach(
            Some("overlay"),
            target,
            Some("overlay"),
            MsFlags::empty(),
            Some(&options),
        )
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
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
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
    binds
        .iter()
        .filter(|v| v.read_only)
        .try_for_each(|v| read_only(&v.target))
}

fn hide(folders: &[PathBuf]) -> Result<(), RootError> {
    folders
        .iter()
        .filter(|f| f.is_dir())
        .try_for_each(|f| tmpfs(f, "mode=0755"))
}

fn files(spec: &NewRoot) -> Result<(), RootError> {
    for (path, content) in &spec.files {
        if let Some(parent) = path.parent() {
            make_dirs(parent)?;
        }
        if let Err(error) = write(path, content) {
            if !is_closed(&error) {
                return Err(file(path, error));
            }
            cover_above(path)?;
            // What covering bound again.
            let _ = umount2(path, MntFlags::MNT_DETACH);
            write(path, content).map_err(|e| file(path, e))?;
        }
    }
    Ok(())
}

/// Replaces a file; a link, such as systemd's resolv.conf, is not followed.
fn write(path: &Path, content: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn is_mount_point(path: &Path) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().any(|line| {
        line.split(' ')
            .nth(4)
            .is_some_and(|point| Path::new(point) == path)
    })
}

fn is_plain(path: &Path) -> bool {
    path.is_absolute()
        && path
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_paths_that_climb_are_not_plain() {
        for (path, plain) in [
            ("/a/b", true),
            ("a/b", false),
            ("/a/../b", false),
            ("/", true),
        ] {
            assert_eq!(is_plain(Path::new(path)), plain, "{path}");
        }
    }
}
