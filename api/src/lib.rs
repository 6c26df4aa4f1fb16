//! The typed mesh API: resources, mesh config, hosts, identity, labels. Data and pure functions.
//!
//! [`object::parse_documents`] reads a file into typed [`object::Object`]s and a list of [`object::Problem`]s, each with file, line and
//! field.

mod causes;
pub mod cel;
pub mod check;
pub mod crd;
pub mod extensions;
pub mod host;
pub mod identity;
pub mod labels;
pub mod mesh;
pub mod networking;
pub mod object;
pub mod proto;
pub mod protocol;
pub mod security;
pub mod telemetry;
pub mod validate;
pub mod yaml;

pub use causes::causes;
pub use proto::Duration;
