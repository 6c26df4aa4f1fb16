//! Bookinfo's `reviews`: what two readers think of a book.
//!
//! v1 shows no stars; v2 (`ENABLE_RATINGS=true`) asks `ratings` and shows black stars, v3 (`STAR_COLOR=red`) red ones.
//! The version comes from `SERVICE_VERSION`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use lateen_bookinfo::Caller;
use serde_json::{Value, json};

struct Reviews {
    /// `None`: this version shows no ratings.
    ratings: Option<Caller>,
    color: String,
    pod: String,
    cluster: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let version = variable("SERVICE_VERSION");
    let stars = match variable("ENABLE_RATINGS").as_str() {
        "" => version == "v2" || version == "v3",
        text => text == "true",
    };
    let color = match variable("STAR_COLOR") {
        text if !text.is_empty() => text,
        _ if version == "v3" => "red".to_owned(),
        _ => "black".to_owned(),
    };
    let state = Arc::new(Reviews {
        ratings: stars.then(|| Caller::from_env("RATINGS", "ratings")),
        color,
        pod: variable("HOSTNAME"),
        cluster: variable("CLUSTER_NAME"),
    });
    let app = Router::new()
        .route(
            "/health",
            get(|| async { Json(json!({"status": "Reviews is healthy"})) }),
        )
        .route("/reviews/{id}", get(reviews))
        .with_state(state);
    lateen_bookinfo::serve("reviews", 9080, app).await
}

async fn reviews(
    State(state): State<Arc<Reviews>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(number) = id.parse::<u64>() else {
        return (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "please provide a numeric product id"})),
        )
            .into_response();
    };
    let ratings = match &state.ratings {
        Some(ratings) => Some(ask(ratings, &state.color, number, &headers).await),
        None => None,
    };
    Json(json!({
        "id": id,
        "podname": state.pod,
        "clustername": state.cluster,
        "reviews": [
            review("Reviewer1", "Two pairs of twins, one town, and no end of mix-ups. I laughed on every page.", &state, &ratings),
            review("Reviewer2", "Light and quick. Not his deepest play, but nobody leaves it in a bad mood.", &state, &ratings),
        ]
    }))
    .into_response()
}

/// Readers of black stars are patient (10 s), those of red ones are not (2.5 s): the delay task depends on it.
async fn ask(ratings: &Caller, color: &str, id: u64, headers: &HeaderMap) -> Option<Value> {
    let limit = if color == "black" {
        Duration::from_secs(10)
    } else {
        Duration::from_millis(2500)
    };
    ratings
        .json(&format!("/ratings/{id}"), headers, limit)
        .await
        .ok()
}

fn review(reviewer: &str, text: &str, state: &Reviews, ratings: &Option<Option<Value>>) -> Value {
    let mut review = json!({"reviewer": reviewer, "text": text});
    match ratings {
        None => {}
        Some(Some(answer)) => {
            let stars = answer
                .pointer(&format!("/ratings/{reviewer}"))
                .and_then(Value::as_u64)
                .unwrap_or(0);
            review["rating"] = json!({"stars": stars, "color": state.color});
        }
        Some(None) => {
            review["rating"] = json!({"error": "Ratings service is currently unavailable"})
        }
    }
    review
}
