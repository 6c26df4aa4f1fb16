//! The client's half of `grpc.health.v1.Health/Check`, which is two messages of one field.

use std::time::Duration;

use http::uri::PathAndQuery;
use thiserror::Error;
use tonic::transport::Endpoint;

/// Why a service is not healthy.
#[derive(Debug, Error)]
pub(crate) enum HealthError {
    #[error("connect: {0}")]
    Connect(#[from] tonic::transport::Error),
    #[error("health check: {0}")]
    Status(#[from] tonic::Status),
    #[error("serving status is {0}, not SERVING")]
    NotServing(i32),
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// Asks once, over plain HTTP/2.
pub(crate) async fn check(host: &str, port: u16, service: String) -> Result<(), HealthError> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    let endpoint = Endpoint::from_shared(format!("http://{host}:{port}"))?
        .connect_timeout(Duration::from_secs(10));
    let mut client = tonic::client::Grpc::new(endpoint.connect().await?);
    client.ready().await?;
    let request = tonic::Request::new(HealthCheckRequest { service });
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckResponse>::default();
    let response = client.unary(request, path, codec).await?;
    match response.into_inner().status {
        SERVING => Ok(()),
        other => Err(HealthError::NotServing(other)),
    }
}
