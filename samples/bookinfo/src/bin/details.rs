//! Bookinfo's `details`: what a book is.

use std::process::ExitCode;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let app = Router::new()
        .route(
            "/health",
            get(|| async { Json(json!({"status": "Details is healthy"})) }),
        )
        .route("/details/{id}", get(details));
    lateen_bookinfo::serve("details", 9080, app).await
}

async fn details(Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<u64>() else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "please provide a numeric product id"})),
        )
            .into_response();
    };
    Json(json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890"
    }))
    .into_response()
}
