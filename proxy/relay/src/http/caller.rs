//! Calls of collectors of spans and logs: [`Call`] of the model, whoever makes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use lateen_proxy_model::{Call, GrpcSettings, ServiceTarget, grpc_call};
use std::time::Duration;

/// Longest call where the configuration does not say.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a collector did not take what it was sent, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailed(String);

impl fmt::Display for CallFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a call comes to: the body of the answer, of a gRPC call its message.
pub type Called = Pin<Box<dyn Future<Output = Result<Bytes, CallFailed>>>>;

/// Calls collectors from a worker.
pub trait Caller {
    /// Posts `body`, of type `content` where it does not go over gRPC.
    fn post(&self, target: &ServiceTarget, content: &'static str, body: Vec<u8>) -> Called;
}

/// Reaches nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nobody;

impl Caller for Nobody {
    fn post(&self, _: &ServiceTarget, _: &'static str, _: Vec<u8>) -> Called {
        Box::pin(std::future::ready(Err(CallFailed("no way".to_owned()))))
    }
}

impl<C> Caller for C
where
    C: Call + Clone + 'static,
{
    fn post(&self, target: &ServiceTarget, content: &'static str, body: Vec<u8>) -> Called {
        let (service, target) = (self.clone(), target.clone());
        Box::pin(async move {
            let limit = Some(target.timeout.unwrap_or(PATIENCE));
            if let Some(method) = target.method {
                let settings = GrpcSettings {
                    timeout: limit,
                    authority: Some(&target.authority),
                    metadata: &target.headers,
                };
                let answer = grpc_call(&service, &target.cluster, method, &body, settings).await;
                return answer.map_err(|failure| CallFailed(failure.to_string()));
            }
            let request = request(&target, content, body);
            let answer = service.call(&target.cluster, request, limit).await;
            let answer = answer.map_err(|failure| CallFailed(failure.to_string()))?;
            match answer.status.is_success() {
                true => Ok(answer.body),
                false => Err(CallFailed(format!("answered {}", answer.status.as_u16()))),
            }
        })
    }
}

fn request(target: &ServiceTarget, content: &'static str, body: Vec<u8>) -> Request<Bytes> {
    let mut request = Request::new(Bytes::from(body));
    *request.method_mut() = Method::POST;
    if let Ok(uri) = target.path.parse() {
        *request.uri_mut() = uri;
    }
    let headers = request.headers_mut();
    headers.insert(HOST, target.authority.clone());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    for (name, value) in &target.headers {
        headers.insert(name, value.clone());
    }
    request
}
