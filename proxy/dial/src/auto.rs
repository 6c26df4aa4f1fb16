//! Endpoints that say in the TLS handshake which protocol they speak.

use std::error::Error;

use http::Version;
use http_body::Body;
use lateen_proxy_model::{SendFailure, Target};

use crate::connect::{self, Plan};
use crate::guard::ConnectionGuard;
use crate::pool::{Key, Pools, overflow};
use crate::{http1, http2};

/// Most endpoints that are remembered; beyond that the memory starts anew.
const MOST: usize = 16 * 1024;

impl<B> Pools<B>
where
    B: Body + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    /// The protocol that the target speaks. The first request to it makes a connection to find out, which goes into the
    /// pool of its protocol.
    pub(crate) async fn agreed(&self, target: &Target<'_>) -> Result<Version, SendFailure> {
        let key = self.any_version(target);
        if let Some(http2) = self.inner.learned.borrow().get(&key) {
            return Ok(version(*http2));
        }
        let guard = ConnectionGuard::enter(target.cluster, target.endpoint, target.high, true);
        let guard = guard.ok_or_else(overflow)?;
        let mut plan = Plan::new(target, Some(Version::HTTP_2));
        let (_, tls) = target.cluster.transport(&target.endpoint.metadata);
        if tls.is_some_and(|tls| tls.alpn.is_empty()) {
            plan.alpn = Some(vec![b"h2".to_vec(), b"http/1.1".to_vec()]);
        }
        let (stream, connection) = connect::connect(&plan).await?;
        let http2 = connection.alpn.as_deref() == Some(b"h2");
        let version = version(http2);
        let pool = self.pool(target, version).ok_or_else(overflow)?;
        match http2 {
            true => http2::adopt(&pool, &plan, (stream, connection), guard).await?,
            false => http1::adopt(&pool, &plan, (stream, connection), guard).await?,
        }
        let mut learned = self.inner.learned.borrow_mut();
        if learned.len() >= MOST {
            learned.clear();
        }
        learned.insert(key, http2);
        Ok(version)
    }

    /// Finds out anew for the next request.
    pub(crate) fn forget(&self, target: &Target<'_>) {
        let key = self.any_version(target);
        self.inner.learned.borrow_mut().remove(&key);
    }

    fn any_version(&self, target: &Target<'_>) -> Key {
        self.key(target, Version::HTTP_11)
    }
}

fn version(http2: bool) -> Version {
    match http2 {
        true => Version::HTTP_2,
        false => Version::HTTP_11,
    }
}
