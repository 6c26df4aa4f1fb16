//! Each message of the analyzers of routing: an input that raises it and one that nearly does.

#[path = "traffic/support.rs"]
mod support;

#[path = "traffic/destinations.rs"]
mod destinations;
#[path = "traffic/gateways.rs"]
mod gateways;
#[path = "traffic/own_policies.rs"]
mod own_policies;
#[path = "traffic/own_routes.rs"]
mod own_routes;
#[path = "traffic/patches.rs"]
mod patches;
#[path = "traffic/samples.rs"]
mod samples;
#[path = "traffic/schema.rs"]
mod schema;
#[path = "traffic/secrets.rs"]
mod secrets;
#[path = "traffic/service_entries.rs"]
mod service_entries;
