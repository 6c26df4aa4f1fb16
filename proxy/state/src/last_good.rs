//! The last accepted configuration on disk, from which a restarted proxy serves while the control plane is away.
//!
//! One file, replaced whole by rename, readable by its owner alone: a magic text, then for each resource its kind (one
//! byte), name, version and body, each with its length (32 bits, big endian). The folder should be in memory, since
//! secrets are among the resources.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, Bytes};

use crate::resources::{Resource, ResourceKind};
use crate::state::State;

const MAGIC: &[u8] = b"lateen-config-1\n";
const FILE: &str = "lateen-config.bin";
/// More than any proxy is sent; a larger file is not ours.
const MAX_BYTES: u64 = 512 << 20;
/// Quiet time after a change before it is written.
const SETTLE: Duration = Duration::from_millis(100);
/// Longest wait for that quiet.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// Why the copy could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LastGoodError {
    /// The file cannot be read or written.
    #[error("{path}: {source}; the last good configuration is not kept")]
    Io {
        /// File.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file holds something else, or only a part.
    #[error("{path}: not a saved configuration of this version ({reason}); delete it")]
    Malformed {
        /// File.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The folder the copy lives in.
#[derive(Clone, Debug)]
pub struct LastGood {
    path: PathBuf,
}

impl LastGood {
    /// The copy in `folder`, such as a pod's `/etc/istio/proxy`.
    pub fn new(folder: &Path) -> Self {
        Self {
            path: folder.join(FILE),
        }
    }

    /// What was kept; nothing when there is no file.
    pub fn load(&self) -> Result<Vec<(ResourceKind, Arc<str>, Resource)>, LastGoodError> {
        match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Ok(facts) if facts.len() > MAX_BYTES => return Err(self.malformed("too large")),
            _ => {}
        }
        let bytes = fs::read(&self.path).map_err(|source| self.io(source))?;
        let updated = SystemTime::now();
        decode(bytes.into(), updated).ok_or_else(|| self.malformed("cut short or foreign"))
    }

    /// Writes what `state` holds from the control plane.
    pub fn save(&self, state: &State) -> Result<(), LastGoodError> {
        let temporary = self.path.with_extension("new");
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map(io::BufWriter::new)
            .map_err(|source| self.io(source))?;
        encode(state, &mut file)
            .and_then(|()| file.flush())
            .and_then(|()| fs::rename(&temporary, &self.path))
            .map_err(|source| self.io(source))
    }

    /// Keeps the copy up to date for as long as it is polled: after each change that is followed by a short quiet time,
    /// and not before clusters and listeners are both known, so that a half-built configuration never replaces a whole
    /// one. The writing happens on a blocking thread.
    pub async fn keep(&self, state: Arc<State>) {
        let mut ready = state.readiness().watch();
        let whole = ready.wait_for(|facts| facts.clusters && facts.listeners);
        if whole.await.is_err() {
            return;
        }
        let mut changes = state.resources().watch();
        loop {
            settle(&mut changes).await;
            let (copy, now) = (self.clone(), Arc::clone(&state));
            match tokio::task::spawn_blocking(move || copy.save(&now)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!("{error}"),
                Err(error) => tracing::warn!("the last good configuration is not kept: {error}"),
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    fn io(&self, source: io::Error) -> LastGoodError {
        LastGoodError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn malformed(&self, reason: &'static str) -> LastGoodError {
        LastGoodError::Malformed {
            path: self.path.clone(),
            reason,
        }
    }
}

async fn settle(changes: &mut tokio::sync::watch::Receiver<u64>) {
    let quiet = async {
        loop {
            changes.borrow_and_update();
            let next = tokio::time::timeout(SETTLE, changes.changed()).await;
            if !matches!(next, Ok(Ok(()))) {
                return;
            }
        }
    };
    let _ = tokio::time::timeout(SETTLE_MAX, quiet).await;
}

fn encode(state: &State, out: &mut impl Write) -> io::Result<()> {
    out.write_all(MAGIC)?;
    for kind in ResourceKind::ALL {
        for (name, resource) in state.resources().all(kind) {
            // What did not come over the aggregated stream has the number of its source in its name, which the next
            // process gives to another one.
            if resource.is_static || name.contains('\0') {
                continue;
            }
            out.write_all(&[kind as u8])?;
            for part in [name.as_bytes(), resource.version.as_bytes(), &resource.body] {
                let length = u32::try_from(part.len()).map_err(io::Error::other)?;
                out.write_all(&length.to_be_bytes())?;
                out.write_all(part)?;
            }
        }
    }
    Ok(())
}

fn decode(
    mut bytes: Bytes,
    updated: SystemTime,
) -> Option<Vec<(ResourceKind, Arc<str>, Resource)>> {
    if !bytes.starts_with(MAGIC) {
        return None;
    }
    bytes.advance(MAGIC.len());
    let mut found = Vec::new();
    while bytes.has_remaining() {
        let kind = usize::from(bytes.get_u8());
        let kind = *ResourceKind::ALL.get(kind)?;
        let name = part(&mut bytes)?;
        let version = part(&mut bytes)?;
        let resource = Resource {
            version: std::str::from_utf8(&version).ok()?.into(),
            body: Bytes::copy_from_slice(&part(&mut bytes)?),
            updated,
            is_static: false,
        };
        found.push((kind, std::str::from_utf8(&name).ok()?.into(), resource));
    }
    Some(found)
}

fn part(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(bytes.try_get_u32().ok()?).ok()?;
    (length <= bytes.len()).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn resource(body: &'static [u8], is_static: bool) -> Resource {
        Resource {
            version: "v".into(),
            body: Bytes::from_static(body),
            updated: SystemTime::now(),
            is_static,
        }
    }

    #[test]
    fn what_is_saved_is_read_again() {
        let folder = tempfile::tempdir().expect("folder");
        let copy = LastGood::new(folder.path());
        assert!(copy.load().expect("no file is no error").is_empty());
        let state = State::new();
        let kinds = [ResourceKind::Listener, ResourceKind::Cluster];
        for kind in kinds {
            state
                .resources()
                .accept(kind, "a", resource(b"body", false));
        }
        state
            .resources()
            .accept(ResourceKind::Cluster, "own", resource(b"x", true));
        copy.save(&state).expect("saved");
        let read = copy.load().expect("read");
        let names: Vec<_> = read
            .iter()
            .map(|(kind, name, one)| (*kind, &**name, &one.body[..]))
            .collect();
        assert_eq!(
            names,
            [
                (ResourceKind::Cluster, "a", &b"body"[..]),
                (ResourceKind::Listener, "a", &b"body"[..]),
            ]
        );
        let mode = fs::metadata(folder.path().join(FILE)).expect("file");
        assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn damaged_files_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let copy = LastGood::new(folder.path());
        for content in [
            &b"other"[..],
            b"lateen-config-1\n\x09",
            b"lateen-config-1\n\x00\xff\xff\xff\xff",
            b"lateen-config-1\n\x00\x00\x00",
        ] {
            fs::write(folder.path().join(FILE), content).expect("written");
            assert!(matches!(copy.load(), Err(LastGoodError::Malformed { .. })));
        }
    }
}
