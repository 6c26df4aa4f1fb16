//! Objects as files and the API server hold them: a kind, a name, metadata, a typed spec, and where it was read.

mod content;
mod kind;
mod metadata;
mod problem;
mod read;
mod source;
mod spec;
mod types;

#[cfg(test)]
mod tests;

pub use kind::{Kind, KindError};
pub use metadata::Metadata;
pub use problem::{Problem, Severity};
pub use read::{
    Parsed, ReadOptions, UnknownObject, list_items, parse_documents, read_node, read_part,
    read_text,
};
pub use source::Source;
pub use spec::Spec;
pub use types::{Object, ObjectKey};
