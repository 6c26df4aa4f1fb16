//! A body that is passed on as it is, while its length is no longer said.

use bytes::Bytes;
use http::HeaderMap;
use lateen_proxy_model::{BodyChange, BodyFailure};

/// Gives what it takes.
#[derive(Clone, Debug, Default)]
pub struct AsItIs(Option<Bytes>);

impl BodyChange for AsItIs {
    fn feed(&mut self, data: Bytes) {
        self.0 = Some(data);
    }

    fn take(&mut self) -> Result<Option<Bytes>, BodyFailure> {
        Ok(self.0.take())
    }

    fn finish(&mut self, trailers: Option<HeaderMap>) -> Option<HeaderMap> {
        trailers
    }
}
