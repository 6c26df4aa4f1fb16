//! Bookinfo's `ratings`: how many stars each reviewer gave.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

/// Books whose ratings were set since the start; others have the ratings everyone knows. Bounded.
type Ratings = Arc<Mutex<BTreeMap<u64, BTreeMap<String, u8>>>>;

const MAX_BOOKS: usize = 1000;
const MAX_REVIEWERS: usize = 100;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let app = Router::new()
        .route(
            "/health",
            get(|| async { Json(json!({"status": "Ratings is healthy"})) }),
        )
        .route("/ratings/{id}", get(read).post(write))
        .with_state(Ratings::default());
    lateen_bookinfo::serve("ratings", 9080, app).await
}

async fn read(State(all): State<Ratings>, Path(id): Path<String>) -> Response {
    let Ok(id) = id.parse::<u64>() else {
        return no_number();
    };
    let all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let ratings = match all.get(&id) {
        Some(ratings) => json!(ratings),
        None => json!({"Reviewer1": 5, "Reviewer2": 4}),
    };
    Json(json!({"id": id, "ratings": ratings})).into_response()
}

async fn write(
    State(all): State<Ratings>,
    Path(id): Path<String>,
    Json(ratings): Json<BTreeMap<String, u8>>,
) -> Response {
    let Ok(id) = id.parse::<u64>() else {
        return no_number();
    };
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    if ratings.len() > MAX_REVIEWERS || (all.len() >= MAX_BOOKS && !all.contains_key(&id)) {
        return StatusCode::INSUFFICIENT_STORAGE.into_response();
    }
    all.insert(id, ratings.clone());
    Json(json!({"id": id, "ratings": ratings})).into_response()
}

fn no_number() -> Response {
    (
        StatusCode::BAD_REQUEST,
        Json(json!({"error": "please provide a numeric product id"})),
    )
        .into_response()
}
