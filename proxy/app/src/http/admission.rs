//! Admission control: requests are refused while too many answers are bad.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use lateen_proxy_admit::is_refused;
use lateen_proxy_model::{AdmissionControl, AdmissionWindow, ResetReason};
use lateen_proxy_relay::http::{
    AnswerBody, ChainFilter, Exchange, FilterCounters, LocalReply, OwnBody, is_grpc,
};
use lateen_proxy_telemetry::Flags;

/// What the filter counts.
const REJECTED: usize = 0;
const SUCCESS: usize = 1;
const FAILURE: usize = 2;

/// A request that counts, however it ends: given up, it has failed.
pub(crate) struct Sampled {
    control: Arc<AdmissionControl>,
    window: Rc<RefCell<AdmissionWindow>>,
    counters: FilterCounters,
    judged: bool,
}

impl std::fmt::Debug for Sampled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sampled").finish_non_exhaustive()
    }
}

/// Lets a request in or not; `None` does not count.
pub(crate) fn enter(
    exchange: &Exchange,
    filter: &ChainFilter,
    control: &Arc<AdmissionControl>,
) -> Result<Option<Sampled>, LocalReply> {
    let Some(window) = filter.window.as_ref().filter(|_| control.enabled) else {
        return Ok(None);
    };
    if exchange.is_health_check() {
        return Ok(None);
    }
    let now = Instant::now();
    let mut seen = window.borrow_mut();
    if seen.average_rps(now) >= u64::from(control.rps_threshold) {
        let counts = seen.counts(control.window, now);
        if is_refused(control, counts, fastrand::u64(..)) {
            filter.count(REJECTED);
            let status = StatusCode::SERVICE_UNAVAILABLE;
            let details = "denied_by_admission_control";
            return Err(LocalReply::new(status, "", Flags::NONE, details));
        }
    }
    Ok(Some(Sampled {
        control: Arc::clone(control),
        window: Rc::clone(window),
        counters: filter.counters(),
        judged: false,
    }))
}

impl Sampled {
    /// Judges an answer by its head, or by its trailers where a gRPC status stands there.
    pub(crate) fn answered<U>(
        mut self,
        exchange: &Exchange,
        outcome: Result<Response<AnswerBody<U>>, LocalReply>,
    ) -> Result<Response<AnswerBody<U>>, LocalReply>
    where
        U: Body<Data = Bytes, Error = ResetReason> + Unpin + 'static,
    {
        let response = match outcome {
            Ok(response) => response,
            Err(reply) => {
                let success = match reply.grpc_code(exchange.is_grpc()) {
                    Some(code) => self.control.grpc_succeeds(code),
                    None => self.control.http_succeeds(reply.status.as_u16()),
                };
                self.judge(success);
                return Err(reply);
            }
        };
        let status = grpc_status(response.headers());
        let ended = response.body().is_end_stream();
        let grpc = match ended {
            true => status.is_some(),
            false => response.status() == StatusCode::OK && is_grpc(response.headers()),
        };
        if !grpc {
            let success = self.control.http_succeeds(response.status().as_u16());
            self.judge(success);
            return Ok(response);
        }
        if let Some(code) = status {
            let success = self.control.grpc_succeeds(code);
            self.judge(success);
            return Ok(response);
        }
        Ok(response.map(|body| {
            AnswerBody::Own(Box::pin(Watched {
                body: body.into_own(),
                sampled: self,
            }))
        }))
    }

    fn judge(&mut self, success: bool) {
        if std::mem::replace(&mut self.judged, true) {
            return;
        }
        self.counters.count(if success { SUCCESS } else { FAILURE });
        let mut window = self.window.borrow_mut();
        window.record(self.control.window, Instant::now(), success);
    }
}

impl Drop for Sampled {
    fn drop(&mut self) {
        self.judge(false);
    }
}

fn grpc_status(headers: &HeaderMap) -> Option<u32> {
    let status = headers.get("grpc-status")?;
    Some(status.to_str().ok()?.parse().unwrap_or(2))
}

/// A gRPC answer whose status is to come.
struct Watched {
    body: OwnBody,
    sampled: Sampled,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = ResetReason;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ResetReason>>> {
        let this = self.get_mut();
        let frame = std::task::ready!(this.body.as_mut().poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            let code = grpc_status(trailers);
            let success = code.is_some_and(|code| this.sampled.control.grpc_succeeds(code));
            this.sampled.judge(success);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
