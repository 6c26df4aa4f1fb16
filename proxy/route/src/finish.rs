//! Changes of a request on its way out and of an answer on its way back.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use lateen_proxy_model::{
    Expand, HeaderMutations, HostRewrite, PathRewrite, Route, RouteTable, VirtualHost,
};

use crate::decide::Target;
use crate::find::path_only;

static ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");

/// What a route changes of a request beside its headers.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// New path and query; `None` leaves it.
    pub path: Option<String>,
    /// New host; `None` leaves it.
    pub host: Option<NewHost>,
}

/// The host that a request is sent on with.
#[derive(Clone, Debug)]
pub enum NewHost {
    /// This one.
    Value(HeaderValue),
    /// The endpoint's own, which is not known yet.
    Auto,
}

impl Target<'_> {
    /// Applies the header changes of weighted cluster, route, virtual host and table, in the order of the table, and says
    /// how path and host change. `path` is the normalised path with query; when it changes, `x-envoy-original-path`
    /// keeps it.
    pub fn finish_request(
        &self,
        path: &str,
        headers: &mut HeaderMap,
        expand: &dyn Expand,
    ) -> Rewritten {
        if let Some(weighted) = self.weighted {
            weighted.request_headers.apply(headers, expand);
        }
        let route = &self.route.request_headers;
        for changes in ordered(self.table, route, &self.host.request_headers, |table| {
            &table.request_headers
        }) {
            changes.apply(headers, expand);
        }
        let host = self.new_host(path, headers, expand);
        let new_path = self.rewrite_path(path, headers, expand);
        if new_path.is_some()
            && let Ok(old) = HeaderValue::from_str(path)
        {
            headers.insert(&ORIGINAL_PATH, old);
        }
        Rewritten {
            path: new_path,
            host,
        }
    }

    /// Applies the header changes of an answer, in the same order.
    pub fn finish_response(&self, headers: &mut HeaderMap, expand: &dyn Expand) {
        if let Some(weighted) = self.weighted {
            weighted.response_headers.apply(headers, expand);
        }
        finish_response((self.table, self.host, Some(self.route)), headers, expand);
    }

    /// Whether some change of the answer is made for each request, and may ask for the request.
    pub fn response_has_templates(&self) -> bool {
        self.weighted
            .is_some_and(|weighted| weighted.response_headers.has_templates())
            || self.route.response_headers.has_templates()
            || self.host.response_headers.has_templates()
            || self.table.response_headers.has_templates()
    }

    /// The rewrite of the host; the weighted cluster's beats the route's.
    pub fn host_rewrite(&self) -> Option<&HostRewrite> {
        self.weighted
            .and_then(|weighted| weighted.host_rewrite.as_ref())
            .or(self.forward.host_rewrite.as_ref())
    }

    fn new_host(&self, path: &str, headers: &HeaderMap, expand: &dyn Expand) -> Option<NewHost> {
        let text = match self.host_rewrite()? {
            HostRewrite::Literal(host) => return Some(NewHost::Value(host.clone())),
            HostRewrite::Auto => return Some(NewHost::Auto),
            HostRewrite::Header(name) => headers.get(name)?.as_bytes().to_vec(),
            HostRewrite::Path(rewrite) => {
                let old = path_only(path);
                let new = rewrite.pattern.replace_all(old, &*rewrite.replacement);
                new.into_owned().into_bytes()
            }
            HostRewrite::Template(template) => expand.expand(template, headers),
        };
        let value = HeaderValue::from_bytes(&text).ok()?;
        (!value.is_empty()).then_some(NewHost::Value(value))
    }

    /// The new path with the query kept; `None` when the route leaves it.
    pub fn rewrite_path(
        &self,
        path: &str,
        headers: &HeaderMap,
        expand: &dyn Expand,
    ) -> Option<String> {
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
            PathRewrite::Template(template) => {
                let text = String::from_utf8(expand.expand(template, headers)).ok()?;
                if text.is_empty() {
                    return None;
                }
                match text.contains('?') {
                    true => text,
                    false => format!("{text}{query}"),
                }
            }
        };
        if new.starts_with('/') {
            Some(new)
        } else {
            Some(format!("/{new}"))
        }
    }
}

/// Applies the header changes of an answer by route, virtual host and table, in the order of the table.
pub(crate) fn finish_response(
    (table, host, route): (&RouteTable, &Arc<VirtualHost>, Option<&Arc<Route>>),
    headers: &mut HeaderMap,
    expand: &dyn Expand,
) {
    static NONE: HeaderMutations = HeaderMutations::NONE;
    let route = route.map_or(&NONE, |route| &route.response_headers);
    for changes in ordered(table, route, &host.response_headers, |table| {
        &table.response_headers
    }) {
        changes.apply(headers, expand);
    }
}

/// The changes of three levels in the order of the table: the most specific first, or last.
fn ordered<'a>(
    table: &'a RouteTable,
    route: &'a HeaderMutations,
    host: &'a HeaderMutations,
    of_table: impl Fn(&'a RouteTable) -> &'a HeaderMutations,
) -> [&'a HeaderMutations; 3] {
    match table.most_specific_last {
        true => [of_table(table), host, route],
        false => [route, host, of_table(table)],
    }
}
