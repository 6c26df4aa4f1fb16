//! `/ready`, `/version`, `/metrics` and `/debug` (contract xds.md §1 and §13).
//!
//! Health is free to all. Debug pages are free on this machine; from elsewhere they need a bearer token or a client certificate
//! (security case S8).

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use lateen_controlplane_model::caller::{Authenticate, Caller, Connection};
use serde_json::json;

use crate::debug::{Debug, DebugError, Viewer};
use crate::hub::Hub;
use crate::listen::{Incoming, Peer};

/// What the pages are made of.
pub struct Pages {
    /// Readiness and metrics.
    pub hub: Arc<Hub>,
    /// Debug pages.
    pub debug: Arc<Debug>,
    /// Who calls.
    pub authenticate: Arc<dyn Authenticate>,
}

/// `/ready`, `/version` and `/debug`, for the HTTP and HTTPS ports.
pub fn status_router(pages: Arc<Pages>) -> Router {
    common(Arc::clone(&pages)).route("/version", get(guarded_version).with_state(pages))
}

/// The same and `/metrics`, with `/version` open to scrapers too, for the monitoring port.
pub fn monitoring_router(pages: Arc<Pages>) -> Router {
    let open = Router::new()
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .with_state(Arc::clone(&pages));
    common(pages).merge(open)
}

fn common(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/ready", get(ready))
        .route("/debug", get(index))
        .route("/debug/", get(index))
        .route("/debug/{*page}", get(page))
        .with_state(pages)
}

/// Serves a router until `stop` resolves; requests under way are finished.
///
/// # Errors
/// What the system says when the socket fails.
pub async fn serve(
    incoming: Incoming,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(
        incoming,
        router.into_make_service_with_connect_info::<Peer>(),
    )
    .with_graceful_shutdown(stop)
    .await
}

async fn ready(State(pages): State<Arc<Pages>>) -> Response {
    if pages.hub.is_ready() {
        StatusCode::OK.into_response()
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the configuration is not complete yet\n",
        )
            .into_response()
    }
}

async fn version(State(pages): State<Arc<Pages>>) -> Response {
    let info = pages.debug.info();
    axum::Json(json!({ "version": info.version, "revision": info.revision, "status": "Clean", "tag": info.version })).into_response()
}

async fn guarded_version(
    state: State<Arc<Pages>>,
    ConnectInfo(Peer(connection)): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    match state.caller(&connection, &headers, "version") {
        Ok(_) => version(state).await,
        Err(refusal) => *refusal,
    }
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        pages.hub.metrics().text(),
    )
        .into_response()
}

async fn index(
    state: State<Arc<Pages>>,
    peer: ConnectInfo<Peer>,
    query: Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    page(state, Path(String::new()), peer, query, headers).await
}

async fn page(
    State(pages): State<Arc<Pages>>,
    Path(name): Path<String>,
    ConnectInfo(Peer(connection)): ConnectInfo<Peer>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let caller = match pages.caller(&connection, &headers, &name) {
        Ok(caller) => caller,
        Err(refusal) => return *refusal,
    };
    let viewer = caller.as_ref().map_or(Viewer::Local, Viewer::Caller);
    match pages
        .debug
        .page(&name, query.get("proxyID").map(String::as_str), viewer)
    {
        Ok(body) => axum::Json(body).into_response(),
        Err(error) => (status(&error), format!("{error}\n")).into_response(),
    }
}

impl Pages {
    /// Who asks: nobody in particular on this machine, an authenticated caller from elsewhere.
    fn caller(
        &self,
        connection: &Connection,
        headers: &HeaderMap,
        page: &str,
    ) -> Result<Option<Caller>, Box<Response>> {
        if connection.is_local() {
            return Ok(None);
        }
        let header = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        self.authenticate.authenticate(connection, header).map(Some).map_err(|error| {
            tracing::warn!(remote = %connection.remote, %error, page, "page asked for without identity");
            let reason = "authentication required: bearer token or client certificate\n";
            Box::new((StatusCode::UNAUTHORIZED, reason).into_response())
        })
    }
}

fn status(error: &DebugError) -> StatusCode {
    match error {
        DebugError::NoPage(_) | DebugError::NotConnected(_) => StatusCode::NOT_FOUND,
        DebugError::NoProxyId => StatusCode::BAD_REQUEST,
        DebugError::Forbidden => StatusCode::FORBIDDEN,
        DebugError::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use lateen_api::identity::SpiffeId;
    use lateen_controlplane_model::caller::{AuthError, CallerSource};
    use tower_service::Service;

    use super::*;
    use crate::debug::Info;
    use crate::metrics::Metrics;

    /// Believes `<namespace>` in the header.
    struct Believer;

    impl Authenticate for Believer {
        fn authenticate(
            &self,
            _: &Connection,
            authorization: Option<&str>,
        ) -> Result<Caller, AuthError> {
            let id = SpiffeId::new("td", authorization.ok_or(AuthError::Missing)?, "x")?;
            Ok(Caller {
                id,
                source: CallerSource::Token,
            })
        }
    }

    async fn get(
        remote: &str,
        monitoring: bool,
        path: &str,
        authorization: Option<&str>,
    ) -> (u16, String) {
        let hub = Hub::new(Metrics::new("0.1.0"));
        let info = Info {
            version: "0.1.0".into(),
            revision: String::new(),
            id: String::new(),
            cluster: String::new(),
        };
        let debug = Debug::new(Arc::clone(&hub), info, "istio-system")
            .with_page("registryz", Box::new(|| json!(["a"])));
        let pages = Arc::new(Pages {
            hub,
            debug: Arc::new(debug),
            authenticate: Arc::new(Believer),
        });
        let mut router = if monitoring {
            monitoring_router(pages)
        } else {
            status_router(pages)
        };
        let remote: SocketAddr = remote.parse().expect("address");
        let mut request =
            Request::get(path).extension(ConnectInfo(Peer(Connection::plain(remote))));
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        let response = router
            .call(request.body(Body::empty()).expect("request"))
            .await
            .expect("answer");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn pages_are_for_this_machine_or_the_authenticated() {
        let (local, remote) = ("127.0.0.1:1", "10.0.0.9:1");
        for (from, path, authorization, expected) in [
            (local, "/debug/registryz", None, 200),
            (local, "/debug", None, 200),
            (local, "/debug/syncz", None, 200),
            (local, "/debug/nonsense", None, 404),
            (local, "/debug/config_dump", None, 400),
            (local, "/debug/config_dump?proxyID=a.b", None, 404),
            (remote, "/debug/registryz", None, 401),
            (remote, "/debug", None, 401),
            (remote, "/version", None, 401),
            (remote, "/debug/registryz", Some("istio-system"), 200),
            (remote, "/version", Some("shop"), 200),
            (remote, "/debug/registryz", Some("shop"), 403),
            (
                remote,
                "/debug/config_dump?proxyID=a.bank",
                Some("shop"),
                403,
            ),
            (
                remote,
                "/debug/config_dump?proxyID=a.shop",
                Some("shop"),
                404,
            ),
            (remote, "/metrics", None, 404),
            (remote, "/ready", None, 503),
        ] {
            assert_eq!(
                get(from, false, path, authorization).await.0,
                expected,
                "{from} {path} {authorization:?}"
            );
        }
        let (status, body) = get(remote, true, "/metrics", None).await;
        assert!(status == 200 && body.contains("pilot_info"), "{body}");
        assert_eq!(get(remote, true, "/debug/syncz", None).await.0, 401);
    }
}
