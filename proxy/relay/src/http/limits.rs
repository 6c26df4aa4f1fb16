//! Time limits of a request until its answer begins.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::reply::LocalReply;
use super::request_body::Progress;

/// The limits of one request.
pub(crate) struct Limits {
    /// When the request began.
    pub(crate) begun: Instant,
    /// Its body; `None` when it has none.
    pub(crate) progress: Option<Rc<Progress>>,
    /// From the end of the request to the end of the answer.
    pub(crate) total: Option<Duration>,
    /// Without any byte.
    pub(crate) idle: Option<Duration>,
    /// From the begin of the request to its end.
    pub(crate) request: Option<Duration>,
    /// From the begin of the request to the end of the answer.
    pub(crate) stream: Option<Duration>,
}

/// Which limit was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expired {
    Total,
    Idle { request_complete: bool },
    Request,
    Stream { request_complete: bool },
}

impl From<Expired> for LocalReply {
    fn from(expired: Expired) -> Self {
        match expired {
            Expired::Total => Self::upstream_timeout("response_timeout"),
            Expired::Idle { request_complete } => Self::stream_idle(request_complete),
            Expired::Request => Self::request_timeout(),
            Expired::Stream { request_complete } => Self::stream_duration(request_complete),
        }
    }
}

impl Limits {
    /// Runs `work` within the limits. It comes pinned: a future taken by value would be stored twice.
    pub(crate) async fn guard<F: Future>(
        &self,
        mut work: Pin<&mut F>,
    ) -> Result<F::Output, Expired> {
        let none = self.total.is_none() && self.idle.is_none();
        if none && self.request.is_none() && self.stream.is_none() {
            return Ok(work.await);
        }
        loop {
            let due = self.due();
            tokio::select! {
                biased;
                done = work.as_mut() => return Ok(done),
                () = sleep_until(due), if due.is_some() => {
                    if let Some(expired) = self.expired(Instant::now()) {
                        return Err(expired);
                    }
                }
                () = self.request_end(), if self.ended().is_none() => {}
            }
        }
    }

    fn ended(&self) -> Option<Instant> {
        match &self.progress {
            Some(progress) => progress.ended.get(),
            None => Some(self.begun),
        }
    }

    async fn request_end(&self) {
        if let Some(progress) = &self.progress {
            progress.ended().await;
        }
    }

    fn total_end(&self) -> Option<Instant> {
        // A try may begin long after the request's end.
        self.ended()?.max(self.begun).checked_add(self.total?)
    }

    fn idle_end(&self) -> Option<Instant> {
        let active = self
            .progress
            .as_ref()
            .map_or(self.begun, |it| it.active.get().max(self.begun));
        active.checked_add(self.idle?)
    }

    fn request_limit(&self) -> Option<Instant> {
        if self.ended().is_some() {
            return None;
        }
        self.begun.checked_add(self.request?)
    }

    fn stream_end(&self) -> Option<Instant> {
        self.begun.checked_add(self.stream?)
    }

    fn due(&self) -> Option<Instant> {
        [
            self.total_end(),
            self.idle_end(),
            self.request_limit(),
            self.stream_end(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn expired(&self, now: Instant) -> Option<Expired> {
        let past = |end: Option<Instant>| end.is_some_and(|end| end <= now);
        if past(self.total_end()) {
            return Some(Expired::Total);
        }
        if past(self.request_limit()) {
            return Some(Expired::Request);
        }
        if past(self.stream_end()) {
            return Some(Expired::Stream {
                request_complete: self.ended().is_some(),
            });
        }
        past(self.idle_end()).then(|| Expired::Idle {
            request_complete: self.ended().is_some(),
        })
    }
}

async fn sleep_until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}
