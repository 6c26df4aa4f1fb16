//! A root without layers: binds of the machine's folders, and folders of memory over those that must take something new.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, umount2};

use super::mounts::{RootError, bind, file, inside, read_only, system, tmpfs};

/// Folders that a container gets anew.
const OWN: [&str; 5] = ["proc", "sys", "dev", "run", "tmp"];
/// Where a folder is kept while it is covered.
const ASIDE: &str = "/.lateen/aside";

/// A root in memory that shows the machine's folders, read-only.
pub(super) fn composed_root(scratch: &Path) -> Result<PathBuf, RootError> {
    let root = scratch.join("composed");
    tmpfs(&root, "mode=0755")?;
    show_again(Path::new("/"), &root, &OWN)?;
    for name in OWN {
        let folder = root.join(name);
        fs::create_dir_all(&folder).map_err(|e| file(&folder, e))?;
    }
    Ok(root)
}

/// Covers the deepest existing folder above a path with memory that shows again what is in it. The root must have been changed.
pub(super) fn cover_above(path: &Path) -> Result<(), RootError> {
    let folder = path
        .ancestors()
        .skip(1)
        .find(|p| p.is_dir())
        .unwrap_or(Path::new("/"));
    // A link, such as /var/run, would be covered at another place than it is left.
    let folder = fs::canonicalize(folder).map_err(|e| file(folder, e))?;
    let aside = Path::new(ASIDE);
    fs::create_dir_all(aside).map_err(|e| file(aside, e))?;
    bind(&folder, aside)?;
    tmpfs(&folder, "mode=0755")?;
    show_again(aside, &folder, &[])?;
    umount2(aside, MntFlags::MNT_DETACH).map_err(|e| system("unmount", aside, e))
}

/// Binds everything in a folder into another one; what may not be read is left out.
fn show_again(from: &Path, to: &Path, leave_out: &[&str]) -> Result<(), RootError> {
    for entry in fs::read_dir(from).map_err(|e| file(from, e))?.flatten() {
        let name = entry.file_name();
        if leave_out.iter().any(|n| name == *n) {
            continue;
        }
        let (source, target) = (entry.path(), inside(to, Path::new(&name)));
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let made = if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target))
        } else if kind.is_dir() {
            fs::create_dir(&target)
        } else {
            fs::write(&target, "")
        };
        made.map_err(|e| file(&target, e))?;
        if !kind.is_symlink() && bind(&source, &target).is_ok() {
            // Flags that came with the mount may forbid a change; the machine's own permissions still hold.
            let _ = read_only(&target);
        }
    }
    Ok(())
}

/// Makes a folder with its parents.
pub(super) fn make_dirs(path: &Path) -> Result<(), RootError> {
    fs::create_dir_all(path).or_else(|error| {
        if !is_closed(&error) {
            return Err(file(path, error));
        }
        cover_above(path)?;
        fs::create_dir_all(path).map_err(|e| file(path, e))
    })
}

/// Makes an empty file where there is none, to mount on.
pub(super) fn make_file(path: &Path) -> Result<(), RootError> {
    if path.exists() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent)?;
    }
    let create = || {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map(drop)
    };
    create().or_else(|error| {
        if !is_closed(&error) {
            return Err(file(path, error));
        }
        cover_above(path)?;
        create().map_err(|e| file(path, e))
    })
}

/// The folder belongs to someone whom this namespace does not know, or is bound read-only.
pub(super) fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::ResourceBusy
    )
}
