//! Where resources come from: the aggregated stream, a stream for one type, or a file.
//!
//! A resource is known by its name where the aggregated stream gives it, and by its name and the number of its source
//! elsewhere, so that two files may each have a table `local`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::wire::extension::Expected;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};

/// Most sources that configuration may name in the life of a process.
const MAX_SOURCES: usize = 1024;
/// Parts a name and the number of its source; no name of a resource may hold it.
const MARK: char = '\0';

/// The number of a source; 0 is the aggregated stream.
pub(crate) type SourceId = u32;

/// The aggregated stream.
pub(crate) const ADS: SourceId = 0;

/// Where resources come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Source {
    /// The aggregated stream.
    Ads,
    /// A file.
    Path(PathSource),
    /// A stream for one type.
    Api(ApiSource),
}

/// A file with a `DiscoveryResponse`, read again when another file takes its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PathSource {
    /// The file.
    pub(crate) path: PathBuf,
    /// The folder in which any rename means a change; `None` is a rename to the file's own name.
    pub(crate) watched: Option<PathBuf>,
}

/// Which form of the protocol a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Variant {
    /// Changes alone.
    Delta,
    /// The state of the world.
    Sotw,
}

/// A gRPC service that gives resources.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiSource {
    /// Form of the protocol.
    pub(crate) variant: Variant,
    /// Servers; the next one is tried when one fails.
    pub(crate) servers: Vec<Server>,
    /// The node is said in the first request of a stream alone.
    pub(crate) node_once: bool,
}

/// One server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Server {
    /// Where it is.
    pub(crate) target: Target,
    /// Headers of streams.
    pub(crate) metadata: Vec<(MetadataKey<Ascii>, MetadataValue<Ascii>)>,
    /// First and longest wait between attempts.
    pub(crate) backoff: Option<(Duration, Duration)>,
    /// Bytes of one response, at most.
    pub(crate) max_message: Option<usize>,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A cluster of the bootstrap.
    Cluster {
        /// Its name.
        name: String,
        /// `:authority` of requests; the cluster's name by default.
        authority: Option<String>,
    },
    /// `host:port`, without TLS.
    Address(String),
}

/// All sources that were named.
#[derive(Debug)]
pub(crate) struct Sources {
    known: Mutex<Vec<Arc<Source>>>,
    ads: bool,
    agent: bool,
    expected: Mutex<HashMap<Arc<str>, Expected>>,
}

impl Sources {
    /// `ads`: there is an aggregated stream. `agent`: this process has the pod's own certificates.
    pub(crate) fn new(ads: bool, agent: bool) -> Self {
        Self {
            known: Mutex::new(vec![Arc::new(Source::Ads)]),
            ads,
            agent,
            expected: Mutex::default(),
        }
    }

    /// Whether this process has the pod's own certificates.
    pub(crate) fn has_agent(&self) -> bool {
        self.agent
    }

    /// Says what may fill the place of a discovered filter.
    pub(crate) fn expect(&self, key: &str, expected: Expected) {
        let mut known = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key.into(), expected);
    }

    /// What may fill the place of a discovered filter.
    pub(crate) fn expected(&self, key: &str) -> Expected {
        let known = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned().unwrap_or_default()
    }

    /// Forgets a discovered filter.
    pub(crate) fn forget(&self, key: &str) {
        let mut known = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(key);
    }

    /// Whether there is an aggregated stream.
    pub(crate) fn has_ads(&self) -> bool {
        self.ads
    }

    /// The number of a source; `None` when there are too many.
    pub(crate) fn id(&self, source: Source) -> Option<SourceId> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.iter().position(|one| **one == source);
        if let Some(place) = place {
            return u32::try_from(place).ok();
        }
        if known.len() >= MAX_SOURCES {
            return None;
        }
        known.push(Arc::new(source));
        u32::try_from(known.len() - 1).ok()
    }

    /// The source of a number.
    pub(crate) fn of(&self, id: SourceId) -> Option<Arc<Source>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(usize::try_from(id).ok()?).cloned()
    }
}

/// A reference of a resource to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// Where the other one comes from.
    pub(crate) source: SourceId,
    /// How long it is waited for; `None` is for ever.
    pub(crate) wait: Option<Duration>,
}

impl Reference {
    /// What the resource is known by.
    pub(crate) fn key<'a>(&self, name: &'a str) -> Cow<'a, str> {
        key(self.source, name)
    }
}

/// What a resource of a source is known by.
pub(crate) fn key(source: SourceId, name: &str) -> Cow<'_, str> {
    match source {
        ADS => Cow::Borrowed(name),
        id => Cow::Owned(format!("{name}{MARK}{id}")),
    }
}

/// The name and the source of a key.
pub(crate) fn parts(key: &str) -> (&str, SourceId) {
    match key.split_once(MARK) {
        None => (key, ADS),
        Some((name, id)) => (name, id.parse().unwrap_or(ADS)),
    }
}

impl PathSource {
    /// The folder to watch, and the name in it that matters (`None`: any).
    pub(crate) fn place(&self) -> (PathBuf, Option<std::ffi::OsString>) {
        if let Some(folder) = &self.watched {
            return (folder.clone(), None);
        }
        let folder = self.path.parent().filter(|path| *path != Path::new(""));
        (
            folder.unwrap_or(Path::new(".")).to_owned(),
            self.path.file_name().map(ToOwned::to_owned),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_part_sources() {
        assert_eq!(key(ADS, "a"), "a");
        assert_eq!(parts(&key(3, "a")), ("a", 3));
        assert_eq!(parts("a"), ("a", ADS));
        let sources = Sources::new(true, false);
        let file = |path: &str| {
            Source::Path(PathSource {
                path: path.into(),
                watched: None,
            })
        };
        assert_eq!(sources.id(Source::Ads), Some(ADS));
        assert_eq!(sources.id(file("a")), Some(1));
        assert_eq!(sources.id(file("b")), Some(2));
        assert_eq!(sources.id(file("a")), Some(1));
        assert_eq!(sources.of(2).as_deref(), Some(&file("b")));
        for number in 0..2000 {
            sources.id(file(&number.to_string()));
        }
        assert_eq!(sources.id(file("more")), None);
    }

    #[test]
    fn a_file_is_watched_in_its_folder() {
        let source = PathSource {
            path: "/etc/x/cds.yaml".into(),
            watched: None,
        };
        assert_eq!(source.place(), ("/etc/x".into(), Some("cds.yaml".into())));
        let bare = PathSource {
            path: "cds.yaml".into(),
            watched: None,
        };
        assert_eq!(bare.place().0, PathBuf::from("."));
    }
}
