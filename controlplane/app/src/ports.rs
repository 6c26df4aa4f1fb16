//! The ports, all bound before anything is served, so that a port in use leaves nothing half started.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Context;
use lateen_controlplane_serve::listen::{self, Bound};
use serde_json::{Map, Value};

use crate::address::Address;
use crate::options::Discovery;

/// Bound sockets; absent where the port is off.
pub(crate) struct Ports {
    pub(crate) grpc: Option<Bound>,
    pub(crate) secure_grpc: Option<Bound>,
    pub(crate) http: Option<Bound>,
    pub(crate) https: Option<Bound>,
    pub(crate) monitoring: Option<Bound>,
}

impl Ports {
    /// Binds every port that is on.
    ///
    /// # Errors
    /// With the flag and the address that cannot be bound.
    pub(crate) async fn bind(options: &Discovery) -> anyhow::Result<Self> {
        Ok(Self {
            secure_grpc: bind("--secureGRPCAddr", options.secure_grpc_addr).await?,
            grpc: bind("--grpcAddr", options.grpc_addr).await?,
            http: bind("--httpAddr", options.http_addr).await?,
            https: bind("--httpsAddr", options.https_addr).await?,
            monitoring: bind("--monitoringAddr", options.monitoring_addr).await?,
        })
    }

    /// Logs the addresses in use, and writes them to a file if one is asked for.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn announce(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let all = [
            ("grpc", &self.grpc),
            ("secureGRPC", &self.secure_grpc),
            ("http", &self.http),
            ("https", &self.https),
            ("monitoring", &self.monitoring),
        ];
        let mut addresses = Map::new();
        for (name, bound) in all {
            if let Some(bound) = bound {
                tracing::info!(port = name, address = %bound.address(), "listening");
                addresses.insert(name.to_owned(), Value::String(bound.address().to_string()));
            }
        }
        let Some(file) = file else { return Ok(()) };
        let part = file.with_extension("part");
        let written = std::fs::write(&part, Value::Object(addresses).to_string())
            .and_then(|()| std::fs::rename(&part, file));
        written.with_context(|| format!("--addressFile {}", file.display()))
    }
}

async fn bind(flag: &str, address: Address) -> anyhow::Result<Option<Bound>> {
    let (wanted, bound) = match address {
        Address::Off => return Ok(None),
        Address::One(one) => (one, listen::bind(one).await),
        Address::Wildcard(port) => {
            let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            match listen::bind(both).await {
                Err(error) if has_no_ipv6(&error) => {
                    let four = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
                    (four, listen::bind(four).await)
                }
                bound => (both, bound),
            }
        }
    };
    bound
        .map(Some)
        .with_context(|| format!("{flag}: cannot listen on {wanted}"))
}

/// A machine without IPv6 knows no such address, or not even the family (`EAFNOSUPPORT`).
fn has_no_ipv6(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(97)
}
