//! Sources of objects: files today. A source lists what there is in one [`Batch`], says that it is synced, and then sends each change.
//!
//! [`FileSource`] reads folders of YAML and JSON files. Mistakes in a file never take away what worked: an object that cannot be read
//! any more keeps its last good state, and the problem is logged and listed.
//!
//! [`Batch`]: lateen_controlplane_model::change::Batch

mod claims;
mod debounce;
mod file;
mod source;

#[cfg(test)]
mod tests;

pub use file::Check;
pub use source::{FileSource, FileSourceConfig, FileSourceError};
