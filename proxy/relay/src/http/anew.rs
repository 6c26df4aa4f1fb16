//! Requests that begin anew: an upstream's redirect that is followed here ends one exchange and begins the next, on the
//! client's same stream.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use lateen_proxy_model::{ClusterRef, ResetReason};

use super::client_body::ClientBody;
use super::exchange::Exchange;
use super::tries::discard;
use super::worker::KnownCluster;

/// What an exchange keeps for the one that may follow it, or has of the one before.
#[derive(Debug, Default)]
pub(crate) struct Anew {
    /// The head as it was sent on.
    pub(crate) head: Option<Parts>,
    /// When the first exchange of the stream began.
    pub(crate) first: Option<Instant>,
    /// The scheme that a redirect asked for.
    pub(crate) scheme: Option<&'static str>,
    /// The stream goes on in another exchange.
    pub(crate) over: bool,
    /// Body bytes that exchanges before counted.
    pub(crate) received: u64,
    /// The cluster that logs show in place of the one that was asked: where a redirect leads, be it nowhere.
    pub(crate) shown: Option<Option<Rc<KnownCluster>>>,
}

impl Exchange {
    /// Keeps the head of a request that may begin anew.
    pub(crate) fn keep_head(&mut self, parts: &Parts) {
        self.anew.get_or_insert_default().head = Some(parts.clone());
    }

    /// The request as it was sent on, when it came to its end and all of it is still here.
    pub fn again(&mut self) -> Option<(Parts, ClientBody)> {
        let body = match (&self.replay, &self.progress) {
            (Some(replay), _) => replay.0.again()?,
            (None, None) => ClientBody::kept(Vec::new(), None),
            (None, Some(_)) => return None,
        };
        let head = self.anew.as_mut()?.head.take()?;
        Some((head, body))
    }

    /// Notes where a redirect would lead, for the access log.
    pub fn show_target(&mut self, slot: Option<&ClusterRef>) {
        let known = slot.and_then(|slot| self.conn.chain.worker.cluster(slot));
        self.anew.get_or_insert_default().shown = Some(known);
    }

    /// Ends with a redirect that is followed by the request of this head.
    pub fn lead<B>(&mut self, response: Response<B>, parts: &Parts)
    where
        B: Body<Data = Bytes, Error = ResetReason> + 'static,
    {
        self.note_status(response.status());
        self.method = parts.method.clone();
        self.keep_request(parts);
        self.details = Some("internal_redirect".into());
        self.complete = true;
        self.keep_response(response.headers());
        self.anew.get_or_insert_default().over = true;
        discard(response.into_body());
    }

    /// The exchange that follows one that was led, over `https` or not.
    pub fn begin_anew(&mut self, parts: &Parts, https: bool) -> Box<Self> {
        let mut next = Self::on_stream(Rc::clone(&self.conn), parts);
        let first = self.anew.as_ref().and_then(|anew| anew.first);
        let received = self.received();
        next.anew = Some(Box::new(Anew {
            first: first.or(Some(self.begun)),
            received,
            scheme: Some(if https { "https" } else { "http" }),
            ..Anew::default()
        }));
        next.begin_as(self);
        next
    }

    /// Counts what became of a redirect that a route would follow: why it was not, where it was not.
    pub fn count_redirect(&self, refused: Option<&'static str>, followed: bool) {
        let chain = &self.conn.chain;
        let stats = chain.worker.recorder.stats();
        if let (Some(counters), Some(name)) = (&chain.counters, refused) {
            counters.redirected(stats, &chain.manager.stat_prefix, name);
        }
        let cluster = self.cluster.as_deref();
        if let Some(counters) = cluster.and_then(|cluster| cluster.counters.as_ref()) {
            counters.redirected(stats, followed);
        }
    }
}
