//! The source of objects from folders: a thread that reads, waits for events, and sends what changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use lateen_api::check::check_object;
use lateen_api::object::{Object, Problem};
use lateen_controlplane_model::change::{Batch, Change};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::mpsc::Sender;

use crate::claims::Claims;
use crate::debounce::{Debounce, Due};
use crate::file::{self, Check, File};

/// Where objects come from.
#[derive(Clone)]
pub struct FileSourceConfig {
    /// Folders whose files ending in `.yaml`, `.yml` and `.json` are read; folders in them are not.
    pub folders: Vec<PathBuf>,
    /// The namespace of objects that name none.
    pub default_namespace: String,
    /// What objects must pass.
    pub check: Check,
}

impl FileSourceConfig {
    /// A source of folders with the namespace `default` and the rules of [`check_object`].
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        let check: Check = Arc::new(|object: &Object| check_object(object));
        Self {
            folders,
            default_namespace: "default".to_owned(),
            check,
        }
    }
}

impl std::fmt::Debug for FileSourceConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = out.debug_struct("FileSourceConfig");
        out.field("folders", &self.folders)
            .field("default_namespace", &self.default_namespace)
            .finish_non_exhaustive()
    }
}

/// Why a source cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FileSourceError {
    /// The system gives no way to learn of changes.
    #[error("cannot watch for changes of files: {0}")]
    Watcher(#[source] notify::Error),
    /// A folder cannot be watched.
    #[error("cannot watch the folder {}: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: notify::Error,
    },
    /// The system gives no thread.
    #[error("cannot start the thread that reads files: {0}")]
    Thread(#[source] std::io::Error),
}

enum Signal {
    Event(notify::Result<notify::Event>),
    Stop,
}

/// Objects from folders. Dropping it ends the source.
#[derive(Debug)]
pub struct FileSource {
    problems: Arc<Mutex<Vec<Problem>>>,
    signals: mpsc::Sender<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl FileSource {
    /// Starts to watch the folders and reads them. The first batch holds all there is and is synced, with or without problems; it comes
    /// also if it is empty. Later batches hold what changed, at most 20 ms after a file was closed, renamed or removed.
    ///
    /// # Errors
    /// When a folder is missing or cannot be watched.
    pub fn start(
        config: FileSourceConfig,
        batches: Sender<Batch>,
    ) -> Result<Self, FileSourceError> {
        let (signals, received) = mpsc::channel();
        let events = signals.clone();
        let mut watcher = notify::recommended_watcher(move |event| {
            // Nobody listens any more when the source ends.
            let _ = events.send(Signal::Event(event));
        })
        .map_err(FileSourceError::Watcher)?;
        // Watched before it is read, so that no change falls in between.
        for folder in &config.folders {
            watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(|source| FileSourceError::Folder {
                    folder: folder.clone(),
                    source,
                })?;
        }
        let problems = Arc::new(Mutex::new(Vec::new()));
        let (claims, listed) = (Claims::default(), Arc::clone(&problems));
        let reader = Reader {
            config,
            batches,
            claims,
            problems: listed,
            _watcher: watcher,
        };
        let thread = thread::Builder::new()
            .name("config-files".to_owned())
            .spawn(move || reader.run(&received))
            .map_err(FileSourceError::Thread)?;
        Ok(Self {
            problems,
            signals,
            thread: Some(thread),
        })
    }

    /// All that is wrong with the files at present.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.lock().clone()
    }
}

impl Drop for FileSource {
    fn drop(&mut self) {
        let _ = self.signals.send(Signal::Stop);
        // The thread is not waited for: it may be waiting for room in the channel of batches.
        drop(self.thread.take());
    }
}

/// The thread's own.
struct Reader {
    config: FileSourceConfig,
    batches: Sender<Batch>,
    claims: Claims,
    problems: Arc<Mutex<Vec<Problem>>>,
    _watcher: RecommendedWatcher,
}

/// The receiver of batches is gone.
struct Closed;

impl Reader {
    fn run(mut self, signals: &mpsc::Receiver<Signal>) {
        let changes = self.read(Due {
            files: Vec::new(),
            rescan: true,
        });
        if self.send(changes).is_err() {
            return;
        }
        let mut debounce = Debounce::default();
        while let Some(due) = wait(signals, &mut debounce) {
            let changes = self.read(due);
            if !changes.is_empty() && self.send(changes).is_err() {
                return;
            }
        }
    }

    fn send(&self, changes: Vec<Change>) -> Result<(), Closed> {
        self.batches
            .blocking_send(Batch {
                changes,
                synced: true,
            })
            .map_err(|_| Closed)
    }

    /// Reads what is due, lists what is wrong, and gives what changed.
    fn read(&mut self, due: Due) -> Vec<Change> {
        let mut files = due.files;
        let mut problems = Vec::new();
        if due.rescan {
            for folder in &self.config.folders {
                // What is gone is read too, and so taken away.
                files.extend(self.claims.files_in(folder));
                match file::list(folder) {
                    Ok(found) => files.extend(found),
                    Err(error) => {
                        let message = format!("the folder cannot be read: {error}");
                        problems.push(Problem::file_error(folder.display().to_string(), message));
                    }
                }
            }
            dedup(&mut files);
        }
        let changes = files.iter().flat_map(|path| self.read_file(path)).collect();
        problems.extend(self.claims.problems());
        self.list(problems);
        changes
    }

    fn read_file(&mut self, path: &Path) -> Vec<Change> {
        let Some(text) = file::text(path) else {
            return self.claims.update(path, None);
        };
        let rules = (self.config.default_namespace.as_str(), &self.config.check);
        match File::reread(self.claims.file(path), path, text, rules) {
            Some(file) => self.claims.update(path, Some(file)),
            None => Vec::new(),
        }
    }

    fn list(&self, problems: Vec<Problem>) {
        let mut listed = self.problems.lock();
        for problem in problems.iter().filter(|problem| !listed.contains(problem)) {
            if problem.is_error() {
                tracing::error!("{problem}");
            } else {
                tracing::warn!("{problem}");
            }
        }
        *listed = problems;
    }
}

/// Removes what is there twice, and keeps the order of first places: the folders' order, names in each.
fn dedup(files: &mut Vec<PathBuf>) {
    let mut seen = std::collections::HashSet::new();
    files.retain(|file| seen.insert(file.clone()));
}

/// Waits until files are due; `None` at the end.
fn wait(signals: &mpsc::Receiver<Signal>, debounce: &mut Debounce) -> Option<Due> {
    loop {
        if let Some(due) = debounce.due(Instant::now()) {
            return Some(due);
        }
        let signal = match debounce.deadline() {
            Some(deadline) => {
                signals.recv_timeout(deadline.saturating_duration_since(Instant::now()))
            }
            None => signals.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match signal {
            Ok(Signal::Event(Ok(event))) => debounce.take(event, Instant::now()),
            Ok(Signal::Event(Err(error))) => {
                tracing::warn!("events of files were lost, reading all folders again: {error}");
                debounce.mark_rescan(Instant::now());
            }
            Ok(Signal::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
