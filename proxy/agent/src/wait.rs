//! `wait` and `request`: what an injected pod's hooks call.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Uri};
use thiserror::Error;

use crate::fetch::{Fetch, FetchError, Fetched};

/// How `wait` polls.
#[derive(Clone, Debug)]
pub struct WaitOptions {
    /// Page that answers 200 when the proxy is ready.
    pub url: String,
    /// For the whole wait.
    pub timeout: Duration,
    /// For one request.
    pub request_timeout: Duration,
    /// Between requests.
    pub period: Duration,
}

/// The proxy did not get ready.
#[derive(Debug, Error)]
pub enum WaitError {
    /// The last answer before time was over.
    #[error(
        "timeout waiting for the proxy to become ready at {url} after {timeout:?}. Last error: {last}"
    )]
    Timeout {
        /// Page that was polled.
        url: String,
        /// Time that passed.
        timeout: Duration,
        /// Last answer.
        last: String,
    },
    /// The URL is not understood.
    #[error(transparent)]
    Url(FetchError),
}

/// Polls until the page answers 200.
///
/// # Errors
/// When time is over, with the last answer; when the URL is not understood.
pub async fn wait(options: &WaitOptions) -> Result<(), WaitError> {
    let (host, port, path) = parse_url(&options.url).map_err(WaitError::Url)?;
    let deadline = Instant::now() + options.timeout;
    loop {
        let last = match Fetch::get(&host, port, &path, options.request_timeout)
            .send()
            .await
        {
            Ok(fetched) if fetched.status == StatusCode::OK => return Ok(()),
            Ok(fetched) => format!(
                "{}: {}",
                fetched.status,
                String::from_utf8_lossy(&fetched.body).trim()
            ),
            Err(error) => error.to_string(),
        };
        if Instant::now() + options.period >= deadline {
            return Err(WaitError::Timeout {
                url: options.url.clone(),
                timeout: options.timeout,
                last,
            });
        }
        tokio::time::sleep(options.period).await;
    }
}

/// Sends one request to a port of this machine.
///
/// # Errors
/// When nothing answers.
pub async fn request(
    port: u16,
    method: Method,
    path: &str,
    body: Bytes,
) -> Result<Fetched, FetchError> {
    let path = format!("/{}", path.trim_start_matches('/'));
    let mut fetch = Fetch::get("127.0.0.1", port, &path, Duration::from_secs(60));
    fetch.method = method;
    fetch.body = body;
    fetch.max_body = 256 << 20;
    fetch.send().await
}

fn parse_url(url: &str) -> Result<(String, u16, String), FetchError> {
    let wrong = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    if uri.scheme_str() != Some("http") {
        return Err(wrong());
    }
    let host = uri.host().ok_or_else(wrong)?.to_owned();
    let path = uri
        .path_and_query()
        .map_or_else(|| "/".to_owned(), ToString::to_string);
    Ok((host, uri.port_u16().unwrap_or(80), path))
}

#[cfg(test)]
mod tests {
    use super::parse_url;

    #[test]
    fn urls_need_scheme_and_host() {
        let parsed = parse_url("http://localhost:15021/healthz/ready?x=1").expect("parses");
        assert_eq!(
            parsed,
            (
                "localhost".to_owned(),
                15021,
                "/healthz/ready?x=1".to_owned()
            )
        );
        for bad in ["localhost:15021", "https://localhost/", "", "http://"] {
            assert!(parse_url(bad).is_err(), "{bad}");
        }
    }
}
