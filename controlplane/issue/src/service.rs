//! `istio.v1.auth.IstioCertificateService` (contract xds.md §9).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lateen_controlplane_model::caller::{Authenticate, Caller, Connection};
use lateen_xds::pb::istio::v1::auth::istio_certificate_service_server::{
    IstioCertificateService, IstioCertificateServiceServer,
};
use lateen_xds::pb::istio::v1::auth::{IstioCertificateRequest, IstioCertificateResponse};
use tonic::{Code, Request, Response, Status};

use crate::authority::{Authority, Subject};
use crate::request;

/// Largest message that is read, in bytes.
const MAX_MESSAGE: usize = 256 * 1024;

/// What happened to requests since the start; the metrics `citadel_server_*`.
#[derive(Debug, Default)]
pub struct Counts {
    /// Requests received.
    pub requests: AtomicU64,
    /// Callers that were not authenticated.
    pub unauthenticated: AtomicU64,
    /// Requests that did not read.
    pub malformed: AtomicU64,
    /// Requests that could not be signed.
    pub sign_errors: AtomicU64,
    /// Certificates given.
    pub issued: AtomicU64,
}

/// Signs certificates for authenticated callers.
pub struct CertificateService {
    authority: Arc<Authority>,
    authenticate: Arc<dyn Authenticate>,
    counts: Arc<Counts>,
}

impl CertificateService {
    /// A service over a CA. Requests must carry a [`Connection`] in their extensions.
    #[must_use]
    pub fn new(
        authority: Arc<Authority>,
        authenticate: Arc<dyn Authenticate>,
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            authority,
            authenticate,
            counts,
        }
    }

    /// The tonic server, with its size cap.
    #[must_use]
    pub fn into_server(self) -> IstioCertificateServiceServer<Self> {
        IstioCertificateServiceServer::new(self).max_decoding_message_size(MAX_MESSAGE)
    }

    fn caller(&self, request: &Request<IstioCertificateRequest>) -> Option<Caller> {
        let connection = request.extensions().get::<Connection>()?;
        if !connection.encrypted {
            tracing::warn!(remote = %connection.remote, "certificate asked for over plain text");
            return None;
        }
        let header = request
            .metadata()
            .get("authorization")
            .and_then(|value| value.to_str().ok());
        let outcome = self.authenticate.authenticate(connection, header);
        outcome.inspect_err(|error| tracing::warn!(remote = %connection.remote, %error, "certificate asked for without identity")).ok()
    }

    fn sign(
        &self,
        caller: &Caller,
        request: &IstioCertificateRequest,
    ) -> Result<Vec<String>, Status> {
        refuse_impersonation(request)?;
        let key = request::public_key(&request.csr).map_err(|error| {
            count(&self.counts.malformed);
            Status::invalid_argument(format!("CSR: {error}"))
        })?;
        let life = u64::try_from(request.validity_duration)
            .ok()
            .map(Duration::from_secs);
        let signed = self.authority.sign(
            &key,
            &Subject::Workload(caller.to_string()),
            life,
            SystemTime::now(),
        );
        let signed = signed.map_err(|error| {
            count(&self.counts.sign_errors);
            tracing::error!(%caller, %error, "cannot sign");
            Status::internal("CSR signing error")
        })?;
        Ok(signed.chain)
    }
}

#[tonic::async_trait]
impl IstioCertificateService for CertificateService {
    async fn create_certificate(
        &self,
        request: Request<IstioCertificateRequest>,
    ) -> Result<Response<IstioCertificateResponse>, Status> {
        count(&self.counts.requests);
        let Some(caller) = self.caller(&request) else {
            count(&self.counts.unauthenticated);
            return Err(Status::new(
                Code::Unauthenticated,
                "request authenticate failure",
            ));
        };
        let cert_chain = self.sign(&caller, request.get_ref())?;
        count(&self.counts.issued);
        tracing::debug!(%caller, "issued a certificate");
        Ok(Response::new(IstioCertificateResponse { cert_chain }))
    }
}

/// No account is trusted to ask for another's certificate.
fn refuse_impersonation(request: &IstioCertificateRequest) -> Result<(), Status> {
    let asked = request
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.fields.contains_key("ImpersonatedIdentity"));
    if asked {
        Err(Status::unauthenticated(
            "request authenticate failure: metadata ImpersonatedIdentity is not supported",
        ))
    } else {
        Ok(())
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
