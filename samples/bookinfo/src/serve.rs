//! Serving with an end that loses no request.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

/// A service that was asked to stop serves on until nobody has asked it anything for this long.
const QUIET: Duration = Duration::from_secs(2);
/// The longest it serves on.
const PATIENCE: Duration = Duration::from_secs(15);

/// Serves `app` on the port of the first argument, `default_port` without one, until SIGTERM or SIGINT.
///
/// After the signal it goes on serving while callers that have not heard of its end still come, then finishes what is
/// under way. Prints why it cannot start and ends with exit code 1.
pub async fn serve(name: &str, default_port: u16, app: Router) -> std::process::ExitCode {
    let port = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(default_port);
    match run(app, port).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: port {port}: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(app: Router, port: u16) -> std::io::Result<()> {
    let seen = Arc::new(AtomicU64::new(0));
    let app = app.layer(from_fn_with_state(seen.clone(), count));
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => return,
            }
            quiet(&seen).await;
        })
        .await
}

async fn count(State(seen): State<Arc<AtomicU64>>, request: Request, next: Next) -> Response {
    seen.fetch_add(1, Ordering::Relaxed);
    let response = next.run(request).await;
    seen.fetch_add(1, Ordering::Relaxed);
    response
}

async fn quiet(seen: &AtomicU64) {
    let deadline = Instant::now() + PATIENCE;
    let mut last = seen.load(Ordering::Relaxed);
    while Instant::now() < deadline {
        sleep(QUIET).await;
        let now = seen.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}
