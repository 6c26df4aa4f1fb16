//! Wire to model: one file a message family.
//!
//! Every function takes the supported fields out of a message and ends with
//! [`nothing_left`](at::nothing_left): what is still set then is not supported, and refuses the resource by its path.

pub(crate) mod access_log;
mod admission_control;
pub(crate) mod at;
mod balance;
mod breakers;
mod cel_ast;
pub(crate) mod cluster;
mod codec;
pub(crate) mod common;
mod compression;
pub(crate) mod config_source;
mod connection_manager;
pub(crate) mod context;
mod csrf;
mod dns;
pub(crate) mod endpoint;
mod ext_authz;
mod ext_proc;
pub(crate) mod extension;
mod forward_proxy;
pub(crate) mod fuzzing;
mod global_rate_limit;
mod head;
mod health_check;
mod health_filter;
mod http_filters;
mod ignored;
mod internal_redirect;
mod jwt;
pub(crate) mod listener;
mod listener_filters;
mod listener_socket;
mod local_rate_limit;
mod local_reply;
mod log_filter;
mod log_service;
pub(crate) mod matcher;
mod metadata_exchange;
mod metadata_matcher;
mod mongo;
mod mutation;
mod network_authz;
mod network_filters;
mod outlier;
pub(crate) mod overload;
mod path_template;
mod per_filter;
mod protocol;
mod quic;
mod rate_limit;
mod rbac;
mod re2;
mod redirect;
mod retry;
mod route_action;
pub(crate) mod route_table;
mod service;
mod sessions;
mod socket;
mod socket_option;
pub(crate) mod statistics;
mod stats;
mod subset;
mod tcp_proxy;
mod template;
pub(crate) mod tls;
mod tracing;
mod uri_template;

#[cfg(test)]
mod features;
#[cfg(test)]
mod tests;
