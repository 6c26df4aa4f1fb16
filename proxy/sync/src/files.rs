//! Files that give resources: watched for renames, read whole.
//!
//! As in Envoy, a change is a rename onto the file's name, or any rename in the watched folder: whoever writes a file
//! writes it elsewhere first, and nobody reads half of one.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryResponse;
use notify::event::{ModifyKind, RenameMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use prost::Message;
use tokio::sync::mpsc;

use crate::session::Answer;
use crate::source::{PathSource, SourceId};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// Reads the text of a `DiscoveryResponse`, YAML or JSON, into its encoding.
pub type ReadText = dyn Fn(&str) -> Result<Vec<u8>, String> + Send + Sync;

/// Something to do about a file.
#[derive(Debug)]
pub(crate) enum FileEvent {
    /// These may have changed.
    Renamed(Vec<SourceId>),
    /// One was read.
    Read(SourceId, Result<Answer, String>),
}

/// The files that are followed.
pub(crate) struct Files {
    read: Arc<ReadText>,
    events: mpsc::UnboundedSender<FileEvent>,
    places: Arc<std::sync::Mutex<Places>>,
    watcher: Option<RecommendedWatcher>,
}

/// What is watched: folder, then the name in it that matters (none: any), and whose it is.
type Places = HashMap<PathBuf, Vec<(Option<OsString>, SourceId)>>;

impl Files {
    pub(crate) fn new(read: Arc<ReadText>, events: mpsc::UnboundedSender<FileEvent>) -> Self {
        Self {
            read,
            events,
            places: Arc::default(),
            watcher: None,
        }
    }

    /// Reads by another way.
    pub(crate) fn read_by(&mut self, read: Arc<ReadText>) {
        self.read = read;
    }

    /// Begins to follow a file.
    ///
    /// # Errors
    /// When its folder cannot be watched.
    pub(crate) fn follow(&mut self, id: SourceId, source: &PathSource) -> Result<(), String> {
        let (folder, name) = source.place();
        let known = {
            let mut places = lock(&self.places);
            let names = places.entry(folder.clone()).or_default();
            let known = !names.is_empty();
            names.push((name, id));
            known
        };
        if known {
            return Ok(());
        }
        let watched = self.watch(&folder);
        if watched.is_err() {
            lock(&self.places).remove(&folder);
        }
        watched
    }

    fn watch(&mut self, folder: &Path) -> Result<(), String> {
        let failed = |error: notify::Error| format!("{}: {error}", folder.display());
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => {
                let (events, places) = (self.events.clone(), Arc::clone(&self.places));
                let made = notify::recommended_watcher(move |event| {
                    told(event, &places, &events);
                });
                none.insert(made.map_err(failed)?)
            }
        };
        watcher
            .watch(folder, RecursiveMode::NonRecursive)
            .map_err(failed)
    }

    /// Reads a file, on another thread; what comes of it is an event.
    pub(crate) fn load(&self, id: SourceId, path: &Path) {
        let (read, events) = (Arc::clone(&self.read), self.events.clone());
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || {
            let content = content(&path, &*read);
            let content = content.map_err(|error| format!("{}: {error}", path.display()));
            // A closed channel means that the client has ended.
            let _ = events.send(FileEvent::Read(id, content));
        });
    }
}

fn lock(places: &std::sync::Mutex<Places>) -> std::sync::MutexGuard<'_, Places> {
    places
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn told(
    event: notify::Result<notify::Event>,
    places: &std::sync::Mutex<Places>,
    events: &mpsc::UnboundedSender<FileEvent>,
) {
    let event = match event {
        Ok(event) => event,
        Err(error) => {
            tracing::warn!("watching files: {error}");
            return;
        }
    };
    // The kernel's queue was too short: anything may have happened.
    let everything = event.need_rescan();
    if !everything && event.kind != EventKind::Modify(ModifyKind::Name(RenameMode::To)) {
        return;
    }
    let places = lock(places);
    let mut changed = Vec::new();
    for (folder, names) in &*places {
        let here = |name: &Option<OsString>| {
            everything
                || event.paths.iter().any(|path| {
                    let inside = path.parent() == Some(folder);
                    inside
                        && name
                            .as_ref()
                            .is_none_or(|name| path.file_name() == Some(name))
                })
        };
        changed.extend(
            names
                .iter()
                .filter(|(name, _)| here(name))
                .map(|(_, id)| *id),
        );
    }
    if !changed.is_empty() {
        let _ = events.send(FileEvent::Renamed(changed));
    }
}

fn content(path: &Path, read: &ReadText) -> Result<Answer, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut text = String::new();
    file.take(MAX_FILE + 1)
        .read_to_string(&mut text)
        .map_err(|error| error.to_string())?;
    if text.len() as u64 > MAX_FILE {
        return Err(format!("larger than {MAX_FILE} bytes"));
    }
    let bytes = read(&text)?;
    let response = DiscoveryResponse::decode(&*bytes).map_err(|error| error.to_string())?;
    Ok(response.into())
}

/// The message of a file's text: the half that takes the descriptors of all messages.
///
/// # Errors
/// What is malformed or not known, with its place.
pub fn resources_from_text(text: &str) -> Result<Vec<u8>, String> {
    let documents = lateen_api::yaml::parse(text).map_err(|error| error.to_string())?;
    let [document] = &documents[..] else {
        return Err(format!(
            "resources are one document, not {}",
            documents.len()
        ));
    };
    let value = lateen_api::yaml::read(&document.root).map_err(|error| error.to_string())?;
    let message: DiscoveryResponse =
        lateen_xds::json::message_from_json(&value).map_err(|error| error.to_string())?;
    Ok(message.encode_to_vec())
}
