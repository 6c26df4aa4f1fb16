//! Diagnosis of a whole configuration: what single objects do not show, such as references that lead nowhere and policies that select
//! nothing. The codes `IST0xxx` and the analyzers' names are Istio's; `LAT0xxx` are checks that are only here.
//!
//! Pure: objects in, [`Message`]s out. [`analyze`] runs the analyzers over [`Cluster`]s.

pub mod analyzers;
mod call_graph;
mod cluster;
pub mod code;
mod default_objects;
pub mod fix;
mod host_patterns;
pub mod hosts;
mod localities;
mod message;
pub mod output;
mod peer_modes;
pub mod pods;
mod pods_in_common;
mod routes;
mod run;
pub mod selectors;
pub mod services;

pub use analyzers::Analyzer;
pub use cluster::{Cluster, ClusterInput, Input};
pub use code::{Code, Level};
pub use message::{Message, Messages, Origin, Place};
pub use run::{Analysis, Options, Suppression, SuppressionError, analyze};
