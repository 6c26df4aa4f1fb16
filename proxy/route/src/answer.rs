//! Answers made here: redirects and fixed responses.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue};
use http::{StatusCode, header};
use lateen_proxy_model::{
    BodyFormat, DirectResponse, Expand, Redirect, RequestView, Route, RouteTable, VirtualHost,
};

use crate::find::path_only;
use crate::finish::finish_response;

/// An answer made without an upstream.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// The table the route is from.
    pub table: &'a RouteTable,
    /// Virtual host.
    pub host: &'a Arc<VirtualHost>,
    /// Route; none for a redirect to https that the virtual host asks for.
    pub route: Option<&'a Arc<Route>>,
    /// Status.
    pub status: StatusCode,
    /// `Location` header.
    pub location: Option<HeaderValue>,
    /// Body; may be empty. Its type is `text/plain`.
    pub body: Bytes,
    /// What is made of the body.
    pub format: Option<&'a BodyFormat>,
}

type At<'a> = (&'a RouteTable, &'a Arc<VirtualHost>, &'a Arc<Route>);

impl<'a> Answer<'a> {
    pub(crate) fn to_https(
        table: &'a RouteTable,
        host: &'a Arc<VirtualHost>,
        request: &RequestView<'_>,
    ) -> Self {
        let location = format!("https://{}{}", request.authority, request.path);
        Self {
            table,
            host,
            route: None,
            status: StatusCode::MOVED_PERMANENTLY,
            location: None,
            body: Bytes::new(),
            format: None,
        }
        .with_location(location)
    }

    pub(crate) fn direct((table, host, route): At<'a>, direct: &'a DirectResponse) -> Self {
        Self {
            table,
            host,
            route: Some(route),
            status: direct.status,
            location: None,
            body: direct.body.clone(),
            format: direct.format.as_ref(),
        }
    }

    pub(crate) fn redirect(
        (table, host, route): At<'a>,
        redirect: &'a Redirect,
        request: &RequestView<'_>,
    ) -> Self {
        Self {
            table,
            host,
            route: Some(route),
            status: redirect.status,
            location: None,
            body: Bytes::new(),
            format: None,
        }
        .with_location(location(route, redirect, request))
    }

    /// Sets `Location` and applies the header changes of route, virtual host and table.
    pub fn finish_response(&self, headers: &mut HeaderMap, expand: &dyn Expand) {
        if let Some(location) = &self.location {
            headers.insert(header::LOCATION, location.clone());
        }
        // A redirect that the virtual host asks for belongs to no route, and nothing is changed for it.
        if self.route.is_some() {
            finish_response((self.table, self.host, self.route), headers, expand);
        }
    }

    /// A host or path that cannot stand in a header makes the request a bad one.
    fn with_location(mut self, location: String) -> Self {
        match HeaderValue::try_from(location) {
            Ok(value) => self.location = Some(value),
            Err(_) => self.status = StatusCode::BAD_REQUEST,
        }
        self
    }
}

fn location(route: &Route, redirect: &Redirect, request: &RequestView<'_>) -> String {
    let scheme = match (&redirect.scheme, redirect.https) {
        (Some(scheme), _) => scheme.as_str(),
        (None, true) => "https",
        (None, false) => request.scheme,
    };
    let host = redirect
        .host
        .as_deref()
        .unwrap_or_else(|| kept_host(request, scheme, redirect.port.is_some()));
    let port = redirect
        .port
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    format!(
        "{scheme}://{host}{port}{}",
        new_path(route, redirect, request.path)
    )
}

/// The request's host. Its port goes when a new one comes, or when it was the default of a scheme that changes.
fn kept_host<'r>(request: &RequestView<'r>, scheme: &str, new_port: bool) -> &'r str {
    let host = request.authority;
    let bare = crate::host::strip_port(host);
    let port = host.get(bare.len()..).unwrap_or_default();
    let was_default = matches!((request.scheme, port), ("https", ":443") | ("http", ":80"));
    if new_port || (scheme != request.scheme && was_default) {
        bare
    } else {
        host
    }
}

fn new_path(route: &Route, redirect: &Redirect, path: &str) -> String {
    let query = path.get(path_only(path).len()..).unwrap_or_default();
    let kept = if redirect.strip_query { "" } else { query };
    match (&redirect.path, &redirect.prefix) {
        (Some(new), _) if new.contains('?') => new.to_string(),
        (Some(new), _) => format!("{new}{kept}"),
        (None, Some(prefix)) => {
            let old = path_only(path);
            let rest = old
                .get(route.matches.path.matched_len(old)..)
                .unwrap_or_default();
            format!("{prefix}{rest}{kept}")
        }
        (None, None) => match &redirect.rewrite {
            Some(rewrite) => {
                let old = path_only(path);
                let new = rewrite.pattern.replace_all(old, &*rewrite.replacement);
                format!("{new}{kept}")
            }
            None => format!("{}{kept}", path_only(path)),
        },
    }
}
