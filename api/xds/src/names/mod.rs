//! Every name of the contract (xds.md §2 and §4), built and parsed in one place.
//!
//! Each kind is an enum with `Display` and `FromStr`, and `name.to_string().parse()` gives the name back. A text that
//! starts like a known form and is none is an error; any other text is `Other`, since clients may use names of their own.

mod cluster;
mod error;
mod listener;
mod resource;
mod route;
mod secret;

pub use cluster::{ClusterName, SpecialCluster};
pub use error::NameError;
pub use listener::{FilterChainName, ListenerName};
pub use resource::{PREFIX, ResourceType, SHORT_PREFIXES, type_url};
pub use route::{RouteName, VirtualHostName};
pub use secret::SecretName;

#[cfg(test)]
mod tests;
