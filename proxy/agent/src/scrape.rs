//! The merged metrics page: agent, proxy and application, one after the other (contract/telemetry.md §2).

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::header::{ACCEPT, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use thiserror::Error;

use crate::agent_metrics::AgentMetrics;
use crate::fetch::{Fetch, Fetched};
use crate::serve::{Answer, text};

/// Largest page taken from an application, in bytes.
const MAX_PAGE: usize = 32 << 20;
const SCRAPE_TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Where the application shows its metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScrapeConfig {
    targets: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    port: u16,
    path: String,
}

/// `ISTIO_PROMETHEUS_ANNOTATIONS` that cannot be used.
#[derive(Debug, Error)]
pub enum ScrapeError {
    /// No JSON of the expected form.
    #[error("ISTIO_PROMETHEUS_ANNOTATIONS is not the JSON that injection writes: {0}")]
    Json(#[from] serde_json::Error),
    /// A port that is none, or the agent's own.
    #[error("ISTIO_PROMETHEUS_ANNOTATIONS: port `{0}` is not a port of the application")]
    Port(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    #[serde(default)]
    scrape: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    port: String,
    #[serde(default)]
    targets: Vec<AnnotatedTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnnotatedTarget {
    port: String,
    #[serde(default)]
    path: String,
}

/// A page of the application with its format.
struct Page {
    body: Bytes,
    content_type: Option<HeaderValue>,
    open_metrics: bool,
}

impl ScrapeConfig {
    /// Reads the variable; `None` (or `scrape` being `false`) means that there is nothing to merge.
    ///
    /// # Errors
    /// When it is not the JSON that injection writes, or names a port that is none.
    pub(crate) fn parse(
        variable: Option<&str>,
        status_port: u16,
    ) -> Result<Option<Self>, ScrapeError> {
        let Some(variable) = variable else {
            return Ok(None);
        };
        let annotations: Annotations = serde_json::from_str(variable)?;
        if annotations.scrape == "false" {
            return Ok(None);
        }
        let one = AnnotatedTarget {
            port: annotations.port,
            path: annotations.path,
        };
        let given = if annotations.targets.is_empty() {
            vec![one]
        } else {
            annotations.targets
        };
        let targets = given
            .into_iter()
            .map(|target| target.read(status_port))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { targets }))
    }
}

impl AnnotatedTarget {
    fn read(self, status_port: u16) -> Result<Target, ScrapeError> {
        let port = if self.port.is_empty() {
            "80".to_owned()
        } else {
            self.port
        };
        let number = port
            .parse()
            .ok()
            .filter(|number| *number != 0 && *number != status_port);
        let path = if self.path.is_empty() {
            "/metrics".to_owned()
        } else {
            self.path
        };
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        Ok(Target {
            port: number.ok_or(ScrapeError::Port(port))?,
            path,
        })
    }
}

/// Answers a scrape: always 200, with what could be had.
pub(crate) async fn merged(
    config: Option<&ScrapeConfig>,
    request_headers: &HeaderMap,
    proxy_page: Option<String>,
    agent: &AgentMetrics,
) -> Answer {
    agent.scrapes.inc();
    let pages = match config {
        Some(config) => application(config, request_headers, agent).await,
        None => Vec::new(),
    };
    let mut body = agent.render();
    body.push_str(&proxy_page.unwrap_or_default());
    let mut body = body.into_bytes();
    let content_type = append(pages, &mut body);
    let mut answer = text(StatusCode::OK, body);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// Appends the application's pages and says what format the whole now has.
fn append(pages: Vec<Page>, body: &mut Vec<u8>) -> HeaderValue {
    let all_open = !pages.is_empty() && pages.iter().all(|page| page.open_metrics);
    let first_type = pages.first().and_then(|page| page.content_type.clone());
    for page in pages {
        let content = without_end(&page.body);
        body.extend_from_slice(content);
        if !content.is_empty() && !content.ends_with(b"\n") {
            body.push(b'\n');
        }
    }
    if all_open {
        body.extend_from_slice(b"# EOF\n");
        return first_type.unwrap_or(HeaderValue::from_static(TEXT));
    }
    HeaderValue::from_static(TEXT)
}

fn without_end(body: &[u8]) -> &[u8] {
    let trimmed = body.trim_ascii_end();
    trimmed.strip_suffix(b"# EOF").unwrap_or(body)
}

async fn application(
    config: &ScrapeConfig,
    headers: &HeaderMap,
    agent: &AgentMetrics,
) -> Vec<Page> {
    let timeout = timeout(headers);
    let forwarded = forwarded(headers);
    let fetches = config.targets.iter().map(|target| {
        let mut fetch = Fetch::get("localhost", target.port, &target.path, timeout);
        fetch.headers = forwarded.clone();
        fetch.max_body = MAX_PAGE;
        fetch.send()
    });
    let mut pages = Vec::new();
    for (target, outcome) in config.targets.iter().zip(join_all(fetches).await) {
        match outcome {
            Ok(fetched) if fetched.status == StatusCode::OK => pages.push(Page::new(fetched)),
            Ok(fetched) => {
                agent.application_scrape_failures.inc();
                tracing::warn!(port = target.port, path = target.path, status = %fetched.status, "the application's metrics answered an error");
            }
            Err(error) => {
                agent.application_scrape_failures.inc();
                tracing::warn!(port = target.port, path = target.path, %error, "the application's metrics cannot be had");
            }
        }
    }
    pages
}

impl Page {
    fn new(fetched: Fetched) -> Self {
        let content_type = fetched.headers.get(CONTENT_TYPE).cloned();
        let open_metrics = content_type
            .as_ref()
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .trim_start()
                    .starts_with("application/openmetrics-text")
            });
        Self {
            body: fetched.body,
            content_type,
            open_metrics,
        }
    }
}

fn timeout(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(SCRAPE_TIMEOUT)
        .and_then(|value| value.to_str().ok()?.parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= 300.0);
    seconds.map_or(DEFAULT_TIMEOUT, Duration::from_secs_f64)
}

/// The scraper's own headers that the application may see, its formats without protobuf.
fn forwarded(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in [USER_AGENT, SCRAPE_TIMEOUT] {
        if let Some(value) = headers.get(&name) {
            kept.insert(name, value.clone());
        }
    }
    let wanted = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or(TEXT);
    let texts: Vec<&str> = wanted
        .split(',')
        .map(str::trim)
        .filter(|format| is_text(format))
        .collect();
    let accept = if texts.is_empty() {
        TEXT.to_owned()
    } else {
        texts.join(",")
    };
    if let Ok(value) = HeaderValue::try_from(accept) {
        kept.insert(ACCEPT, value);
    }
    kept
}

fn is_text(format: &str) -> bool {
    [
        "application/openmetrics-text",
        "text/plain",
        "text/*",
        "*/*",
    ]
    .iter()
    .any(|kind| format.starts_with(kind))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};

    use super::{Page, ScrapeConfig, append, forwarded};

    fn page(body: &'static str, open_metrics: bool) -> Page {
        let kind = if open_metrics {
            "application/openmetrics-text; version=1.0.0"
        } else {
            "text/plain"
        };
        Page {
            body: Bytes::from_static(body.as_bytes()),
            content_type: Some(HeaderValue::from_static(kind)),
            open_metrics,
        }
    }

    #[test]
    fn one_end_marker_closes_all_pages() {
        let cases = [
            (
                vec![],
                "own 1\n",
                "text/plain; version=0.0.4; charset=utf-8",
            ),
            (
                vec![page("a 1\n# EOF\n", true), page("b 2\n# EOF", true)],
                "own 1\na 1\nb 2\n# EOF\n",
                "application/openmetrics-text; version=1.0.0",
            ),
            (
                vec![page("a 1\n# EOF\n", true), page("b 2", false)],
                "own 1\na 1\nb 2\n",
                "text/plain; version=0.0.4; charset=utf-8",
            ),
        ];
        for (pages, expected, kind) in cases {
            let mut body = b"own 1\n".to_vec();
            assert_eq!(append(pages, &mut body), kind);
            assert_eq!(String::from_utf8(body).expect("UTF-8"), expected);
        }
    }

    #[test]
    fn protobuf_is_never_asked_for() {
        let mut headers = HeaderMap::new();
        let accept = "application/vnd.google.protobuf;proto=x;q=0.9,application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1";
        headers.insert("accept", accept.parse().expect("value"));
        headers.insert("cookie", "secret=1".parse().expect("value"));
        let kept = forwarded(&headers);
        assert_eq!(
            kept["accept"],
            "application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1"
        );
        assert!(!kept.contains_key("cookie"));
    }

    #[test]
    fn annotations_give_targets() {
        let parse = |text: &str| ScrapeConfig::parse(Some(text), 15020);
        let one = parse(r#"{"scrape":"true","path":"","port":"9090"}"#)
            .expect("reads")
            .expect("scrapes");
        assert_eq!(
            (one.targets[0].port, one.targets[0].path.as_str()),
            (9090, "/metrics")
        );
        let two = parse(
            r#"{"scrape":"","path":"/a","port":"1","targets":[{"port":"1","path":"/a"},{"port":"2","path":""}]}"#,
        );
        assert_eq!(two.expect("reads").expect("scrapes").targets.len(), 2);
        assert!(
            parse(r#"{"scrape":"false","path":"","port":""}"#)
                .expect("reads")
                .is_none()
        );
        assert!(parse(r#"{"scrape":"","path":"","port":"15020"}"#).is_err());
    }
}
