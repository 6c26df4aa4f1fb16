//! Bookinfo's `productpage`: one HTML page made of what `details` and `reviews` answer.
//!
//! Sign in with any name (POST `/login`); the name then travels as the header `end-user`, by which routes can tell users
//! apart. Reviews get three seconds and one more try, details three seconds.

mod page;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, Path, State};
use axum::http::header::{COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use lateen_bookinfo::{CallError, Caller};
use serde::Deserialize;
use serde_json::{Value, json};

use page::Page;

const PATIENCE: Duration = Duration::from_secs(3);
const MAX_NAME: usize = 64;

struct Services {
    details: Caller,
    reviews: Caller,
    ratings: Caller,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let services = Arc::new(Services {
        details: Caller::from_env("DETAILS", "details"),
        reviews: Caller::from_env("REVIEWS", "reviews"),
        ratings: Caller::from_env("RATINGS", "ratings"),
    });
    let app = Router::new()
        .route("/", get(|| async { Html(page::index()) }))
        .route("/health", get(|| async { "Product page is healthy" }))
        .route("/productpage", get(productpage))
        .route("/login", post(login))
        .route("/logout", get(logout))
        .route(
            "/api/v1/products",
            get(|| async { Json(json!([product(0)])) }),
        )
        .route("/api/v1/products/{id}", get(api_details))
        .route("/api/v1/products/{id}/reviews", get(api_reviews))
        .route("/api/v1/products/{id}/ratings", get(api_ratings))
        .with_state(services);
    lateen_bookinfo::serve("productpage", 9080, app).await
}

fn product(id: u64) -> Value {
    json!({
        "id": id,
        "title": "The Comedy of Errors",
        "descriptionHtml": "Two sets of identical twins, parted by a shipwreck, end up in the same town on the same day."
    })
}

async fn productpage(State(services): State<Arc<Services>>, headers: HeaderMap) -> Response {
    let (user, headers) = signed_in(headers);
    let details = services.details.json("/details/0", &headers, PATIENCE);
    let (details, reviews) =
        tokio::join!(details, reviews_with_retry(&services.reviews, 0, &headers));
    let page = Page {
        user: user.as_deref(),
        details: &details,
        reviews: &reviews,
    };
    Html(page.render()).into_response()
}

async fn reviews_with_retry(
    reviews: &Caller,
    id: u64,
    headers: &HeaderMap,
) -> Result<Value, CallError> {
    let path = format!("/reviews/{id}");
    match reviews.json(&path, headers, PATIENCE).await {
        Ok(answer) => Ok(answer),
        Err(_) => reviews.json(&path, headers, PATIENCE).await,
    }
}

#[derive(Deserialize)]
struct Login {
    username: String,
}

async fn login(Form(form): Form<Login>) -> Response {
    let name: String = form
        .username
        .chars()
        .filter(|letter| is_name_letter(*letter))
        .take(MAX_NAME)
        .collect();
    back_to_page(&format!("session={name}; Path=/; HttpOnly; SameSite=Lax"))
}

async fn logout() -> Response {
    back_to_page("session=; Path=/; Max-Age=0")
}

fn back_to_page(cookie: &str) -> Response {
    let mut response = StatusCode::FOUND.into_response();
    response
        .headers_mut()
        .insert(LOCATION, HeaderValue::from_static("/productpage"));
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// The signed-in user of the session cookie, and the headers with that user as `end-user`. What the client itself sends
/// under that name does not count.
fn signed_in(mut headers: HeaderMap) -> (Option<String>, HeaderMap) {
    let user = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("session=").map(str::to_owned))
        .filter(|name| {
            !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_name_letter)
        });
    headers.remove(COOKIE);
    headers.remove("end-user");
    if let Some(value) = user
        .as_deref()
        .and_then(|name| HeaderValue::from_str(name).ok())
    {
        headers.insert("end-user", value);
    }
    (user, headers)
}

fn is_name_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-_.@".contains(letter)
}

async fn api_details(
    State(services): State<Arc<Services>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let (_, headers) = signed_in(headers);
    answer(
        services
            .details
            .json(&format!("/details/{id}"), &headers, PATIENCE)
            .await,
    )
}

async fn api_reviews(
    State(services): State<Arc<Services>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let (_, headers) = signed_in(headers);
    answer(reviews_with_retry(&services.reviews, id, &headers).await)
}

async fn api_ratings(
    State(services): State<Arc<Services>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let (_, headers) = signed_in(headers);
    answer(
        services
            .ratings
            .json(&format!("/ratings/{id}"), &headers, PATIENCE)
            .await,
    )
}

fn answer(outcome: Result<Value, CallError>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(CallError::Status(status)) => (
            status,
            Json(json!({"error": "the service answered with an error"})),
        )
            .into_response(),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            Json(json!({"error": error.to_string()})),
        )
            .into_response(),
    }
}
