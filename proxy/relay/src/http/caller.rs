//! Calls of collectors of spans and logs: [`Call`] of the model, whoever makes it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue};
use http::{Method, Request};
use lateen_proxy_model::{
    Call, CallStream, GrpcSettings, Received, ServiceTarget, grpc_call, grpc_head,
};
use std::time::Duration;
use tokio::sync::mpsc;

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

/// The pieces of a stream on their way; it ends when this is dropped, and refuses pieces when the service has ended it.
pub type Pieces = mpsc::UnboundedSender<Bytes>;

/// Calls collectors from a worker.
pub trait Caller {
    /// Posts `body`, of type `content` where it does not go over gRPC.
    fn post(&self, target: &ServiceTarget, content: &'static str, body: Vec<u8>) -> Called;

    /// Opens a gRPC stream that only this side says something on; `None` without such a cluster.
    fn stream(&self, target: &ServiceTarget) -> Option<Pieces>;
}

/// Reaches nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nobody;

impl Caller for Nobody {
    fn post(&self, _: &ServiceTarget, _: &'static str, _: Vec<u8>) -> Called {
        Box::pin(std::future::ready(Err(CallFailed("no way".to_owned()))))
    }

    fn stream(&self, _: &ServiceTarget) -> Option<Pieces> {
        None
    }
}

impl<C> Caller for C
where
    C: Call + Clone + 'static,
    C::Stream: 'static,
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

    fn stream(&self, target: &ServiceTarget) -> Option<Pieces> {
        let mut head = Request::new(());
        *head.uri_mut() = http::Uri::from_static(target.method?);
        let settings = GrpcSettings {
            timeout: None,
            authority: Some(&target.authority),
            metadata: &target.headers,
        };
        grpc_head(&mut head, &target.cluster, settings);
        let stream = self.open(&target.cluster, head).ok()?;
        let (sender, pieces) = mpsc::unbounded_channel();
        tokio::task::spawn_local(pass_on(stream, pieces));
        Some(sender)
    }
}

/// Sends what comes, until one side ends.
async fn pass_on<S: CallStream>(mut stream: S, mut pieces: mpsc::UnboundedReceiver<Bytes>) {
    loop {
        tokio::select! {
            piece = pieces.recv() => match piece {
                Some(piece) => {
                    if !stream.send(piece) {
                        return;
                    }
                }
                None => break,
            },
            answer = stream.receive() => match answer {
                Ok(Received::Data(_)) => {}
                Ok(Received::End(_)) | Err(_) => return,
            },
        }
    }
    stream.finish();
    let rest = async { while let Ok(Received::Data(_)) = stream.receive().await {} };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
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
