//! YAML and JSON texts as trees that know where everything stands, and serde's reading from such trees.
//!
//! One parse serves typed reading, strict fields, messages with positions, and passing documents through byte for byte. All input is
//! bounded: see [`Limits`].

mod build;
mod cut;
mod de;
mod error;
mod json;
mod merge;
mod print;
mod resolve;
mod split;
mod tree;

#[cfg(test)]
mod tests;

pub use build::{Limits, parse, parse_part, parse_with};
pub use de::{Ignored, ReadError, Reader, read, read_strict, read_with};
pub use error::{SyntaxError, SyntaxErrorKind};
pub use print::to_text;
pub use resolve::{Resolved, Scalar};
pub use split::{Part, split};
pub use tree::{Content, Document, Entry, Mark, Node, Step, key_step, path_steps};
