//! Where settings come from: the process's environment and a few files, or a test's map.

use std::io;
use std::path::Path;

/// Environment variables and small files, read once when the proxy starts.
pub trait Source {
    /// The variable's value; `None` if it is not set or not UTF-8.
    fn var(&self, name: &str) -> Option<String>;

    /// All variables with UTF-8 names and values.
    fn vars(&self) -> Vec<(String, String)>;

    /// A file's text.
    ///
    /// # Errors
    /// When the file cannot be read or is not UTF-8.
    fn file(&self, path: &Path) -> io::Result<String>;

    /// Whether something is at this path.
    fn exists(&self, path: &Path) -> bool;
}

/// The real environment and file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSource;

impl Source for SystemSource {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn vars(&self) -> Vec<(String, String)> {
        let text = |part: std::ffi::OsString| part.into_string().ok();
        std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect()
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}
