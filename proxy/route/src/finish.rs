//! Changes of a request on its way out and of an answer on its way back.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{HostRewrite, PathRewrite};

use crate::decide::Target;
use crate::find::path_only;

static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// What a route changes of a request beside its headers.
#[derive(Clone, Debug)]
pub struct Rewritten<'a> {
    /// New path and query; `None` leaves it.
    pub path: Option<String>,
    /// New host; `None` leaves it.
    pub host: Option<&'a HostRewrite>,
}

impl<'a> Target<'a> {
    /// Applies the header changes of weighted cluster, route, virtual host and table, in that order, and says how path
    /// and host change. `path` is the normalised path with query; when it changes, `x-envoy-original-path` keeps it.
    pub fn finish_request(&self, path: &str, headers: &mut HeaderMap) -> Rewritten<'a> {
        if let Some(weighted) = self.weighted {
            weighted.request_headers.apply(headers);
        }
        self.route.request_headers.apply(headers);
        self.host.request_headers.apply(headers);
        self.table.request_headers.apply(headers);
        let new_path = self.rewrite_path(path);
        if new_path.is_some()
            && let Ok(old) = HeaderValue::from_str(path)
        {
            headers.insert(&ORIGINAL_PATH, old);
        }
        Rewritten {
            path: new_path,
            host: self.host_rewrite(),
        }
    }

    /// Applies the header changes of an answer, in the same order.
    pub fn finish_response(&self, headers: &mut HeaderMap) {
        if let Some(weighted) = self.weighted {
            weighted.response_headers.apply(headers);
        }
        self.route.response_headers.apply(headers);
        self.host.response_headers.apply(headers);
        self.table.response_headers.apply(headers);
    }

    /// The new host; the weighted cluster's beats the route's.
    pub fn host_rewrite(&self) -> Option<&'a HostRewrite> {
        self.weighted
            .and_then(|weighted| weighted.host_rewrite.as_ref())
            .or(self.forward.host_rewrite.as_ref())
    }

    /// The new path with the query kept; `None` when the route leaves it, or the result would not start with `/`.
    pub fn rewrite_path(&self, path: &str) -> Option<String> {
        let rewrite = self.forward.path_rewrite.as_ref()?;
        let old = path_only(path);
        let query = path.get(old.len()..).unwrap_or_default();
        let new = match rewrite {
            PathRewrite::Prefix(prefix) => {
                let rest = old.get(self.route.matches.path.matched_len(old)..)?;
                format!("{prefix}{rest}{query}")
            }
            PathRewrite::Regex {
                pattern,
                replacement,
            } => format!("{}{query}", pattern.replace_all(old, &**replacement)),
        };
        if new.starts_with('/') {
            Some(new)
        } else {
            Some(format!("/{new}"))
        }
    }
}
