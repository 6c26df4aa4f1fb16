//! Which files have settled: writers are waited for until they close a file, bursts of events become one reading.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use notify::{Event, event::Flag};

use crate::file::counts;

/// How long after the last event a burst counts as over.
const QUIET: Duration = Duration::from_millis(4);
/// How long a burst is gathered at most.
const BURST: Duration = Duration::from_millis(20);
/// How long a writer that has not closed its file is waited for after its last write.
const WRITER: Duration = Duration::from_millis(300);

/// Events that were not acted on yet. It has no clock of its own.
#[derive(Debug, Default)]
pub(crate) struct Debounce {
    ready: HashSet<PathBuf>,
    writing: HashMap<PathBuf, Instant>,
    rescan: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What is to be read again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// These files.
    pub(crate) files: Vec<PathBuf>,
    /// All folders.
    pub(crate) rescan: bool,
}

impl Debounce {
    /// Takes an event.
    pub(crate) fn take(&mut self, event: Event, now: Instant) {
        if event.attrs.flag() == Some(Flag::Rescan) {
            self.mark_rescan(now);
            return;
        }
        for path in event.paths {
            if is_data_link(&path) {
                self.mark_rescan(now);
            } else if counts(&path) {
                self.take_file(path, &event.kind, now);
            }
        }
    }

    /// Asks for a reading of all folders.
    pub(crate) fn mark_rescan(&mut self, now: Instant) {
        self.rescan = true;
        self.touch(now);
    }

    fn take_file(&mut self, path: PathBuf, kind: &EventKind, now: Instant) {
        match kind {
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) => {
                self.writing.insert(path, now + WRITER);
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(_)
            | EventKind::Remove(_) => {
                self.writing.remove(&path);
                self.ready.insert(path);
                self.touch(now);
            }
            EventKind::Any | EventKind::Access(_) | EventKind::Other => {}
        }
    }

    fn touch(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// When something will be due, if nothing else happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let burst = self
            .first
            .zip(self.last)
            .map(|(first, last)| (last + QUIET).min(first + BURST));
        let writer = self.writing.values().min().copied();
        match (burst, writer) {
            (Some(burst), Some(writer)) => Some(burst.min(writer)),
            (burst, writer) => burst.or(writer),
        }
    }

    /// What is due now; `None` if that is nothing.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Due> {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return None;
        }
        let abandoned: Vec<PathBuf> = self
            .writing
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in abandoned {
            self.writing.remove(&path);
            self.ready.insert(path);
        }
        (self.first, self.last) = (None, None);
        let mut files: Vec<PathBuf> = self.ready.drain().collect();
        files.sort();
        Some(Due {
            files,
            rescan: std::mem::take(&mut self.rescan),
        })
    }
}

/// A mounted ConfigMap changes by a swap of the link `..data`, on which all of its files hang.
fn is_data_link(path: &std::path::Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(".."))
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, DataChange, RemoveKind, RenameMode};

    use super::*;

    fn event(kind: EventKind, path: &str) -> Event {
        Event::new(kind).add_path(path.into())
    }

    fn files(due: Option<Due>) -> Vec<String> {
        due.map(|due| {
            due.files
                .iter()
                .map(|file| file.display().to_string())
                .collect()
        })
        .unwrap_or_default()
    }

    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);

    #[test]
    fn a_file_is_read_once_its_writer_has_closed_it() {
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        let mut debounce = Debounce::default();
        debounce.take(event(CREATED, "/c/a.yaml"), start);
        debounce.take(event(WRITTEN, "/c/a.yaml"), after(50));
        assert_eq!(
            files(debounce.due(after(100))),
            Vec::<String>::new(),
            "still being written"
        );
        debounce.take(event(CLOSED, "/c/a.yaml"), after(110));
        assert_eq!(
            files(debounce.due(after(111))),
            Vec::<String>::new(),
            "more may come"
        );
        assert_eq!(files(debounce.due(after(114))), ["/c/a.yaml"]);
        assert_eq!(debounce.deadline(), None);
    }

    #[test]
    fn a_writer_that_does_not_close_is_not_waited_for_for_ever() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        debounce.take(event(WRITTEN, "/c/a.yaml"), start);
        assert_eq!(debounce.deadline(), Some(start + WRITER));
        assert_eq!(files(debounce.due(start + WRITER)), ["/c/a.yaml"]);
    }

    #[test]
    fn a_burst_is_one_reading_and_ends_in_time() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        for i in 0..10 {
            let kind = if i % 2 == 0 { RENAMED } else { REMOVED };
            debounce.take(
                event(kind, &format!("/c/{i}.yaml")),
                start + Duration::from_millis(3 * i),
            );
        }
        assert_eq!(debounce.deadline(), Some(start + BURST));
        assert_eq!(files(debounce.due(start + BURST)).len(), 10);
    }

    #[test]
    fn other_names_do_not_count_but_a_swapped_mount_is_read_anew() {
        let start = Instant::now();
        let mut debounce = Debounce::default();
        for name in [
            "/c/a.yaml~",
            "/c/.a.yaml.swp",
            "/c/.#a.yaml",
            "/c/4913",
            "/c/a.txt",
        ] {
            debounce.take(event(CLOSED, name), start);
        }
        assert_eq!(debounce.deadline(), None);
        debounce.take(event(RENAMED, "/c/..data"), start);
        assert!(debounce.due(start + BURST).is_some_and(|due| due.rescan));
    }
}
