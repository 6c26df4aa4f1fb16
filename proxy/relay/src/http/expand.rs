//! Texts with format operators, written for a request under way.

use http::HeaderMap;
use lateen_proxy_model::{BodyFormat, Expand, Template};
use lateen_proxy_telemetry::Format;

use super::exchange::Exchange;

/// Writes templates for one request.
#[derive(Debug)]
pub struct Expander<'a> {
    exchange: &'a Exchange,
    /// The request's headers, when those of its answer are being changed.
    request: Option<&'a HeaderMap>,
    /// What an answer made here was going to say.
    body: &'a [u8],
}

impl Exchange {
    /// Writes templates for the request's own headers, or with `request`, the request's headers, for those of its answer.
    pub fn expander<'a>(&'a self, request: Option<&'a HeaderMap>) -> Expander<'a> {
        Expander {
            exchange: self,
            request,
            body: &[],
        }
    }

    /// The body and its type as a format writes them. `headers` are those of the answer.
    pub fn formatted(
        &self,
        format: &BodyFormat,
        request: &HeaderMap,
        headers: &HeaderMap,
        body: &[u8],
    ) -> (Vec<u8>, Option<http::HeaderValue>) {
        let expander = Expander {
            exchange: self,
            request: Some(request),
            body,
        };
        let text = expander.expand(&format.text, headers);
        (text, format.content_type.value(headers, &expander))
    }
}

impl Expand for Expander<'_> {
    fn expand(&self, template: &Template, headers: &HeaderMap) -> Vec<u8> {
        let Some(format) = template.inside::<Format>() else {
            return Vec::new();
        };
        let mut record = self.exchange.record_now();
        match self.request {
            Some(request) => {
                record.request_headers = Some(request);
                record.response_headers = Some(headers);
            }
            None => record.request_headers = Some(headers),
        }
        record.local_reply_body = Some(self.body);
        format.expand(&record)
    }
}
