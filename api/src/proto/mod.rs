//! The JSON form of protocol buffer messages, as Istio's API uses it: `camelCase` out, `camelCase` or `snake_case` in, `null` as absent,
//! integers as numbers or strings, enums by name, durations as text.
//!
//! The macros `message!`, `oneof!` and `proto_enum!` declare types; [`Value`] is what each of them and each scalar can do.

mod bytes;
mod duration;
pub(crate) mod macros;
mod names;
mod scalars;
mod schema;
mod value;

pub use bytes::Bytes;
pub use duration::{Duration, DurationError};
pub(crate) use macros::{message, oneof, proto_enum};
pub use names::{json_name, name_matches};
pub use schema::{Schema, SchemaField, Shape};
pub use value::{MapKey, Message, OneOf, Struct, Value};
pub(crate) use value::{OptionSeed, Written};
