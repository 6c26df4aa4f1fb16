//! Snapshot and proxy to xDS resources.
//!
//! [`Config`] is one snapshot, ready to answer any proxy. Proxies with equal traits ([`view`]) share a scope and every resource made from
//! it; what a change does not touch is carried from one [`Config`] to the next. Reading order: [`config`] answers, [`cluster`],
//! [`endpoint`], [`listener`] and [`route`] make the resources of a type, [`policy`], [`tls`], [`filters`] and [`manager`] their parts,
//! [`check`] says what could not be made.

mod access_log;
mod check;
mod cluster;
mod config;
mod endpoint;
mod filters;
mod listener;
mod locality;
mod manager;
mod name_table;
mod names;
mod own;
mod pb;
mod policy;
mod route;
mod secret;
mod servers;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod view;
mod wire;

pub use config::Config;
