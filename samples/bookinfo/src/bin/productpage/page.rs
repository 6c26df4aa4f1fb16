//! The HTML.

use std::fmt::Write;

use lateen_bookinfo::CallError;
use serde_json::Value;

const STYLE: &str = "
:root { color-scheme: light; --ink: #1b2733; --soft: #5b6b7a; --line: #dde4ea; --sea: #0b5c7a; --paper: #fff; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #f3f6f8; }
header { background: var(--sea); color: #fff; padding: .8rem 1.5rem; display: flex; gap: 1rem; align-items: center; }
header a { color: #fff; text-decoration: none; font-weight: 600; }
header form, header .user { margin-left: auto; display: flex; gap: .5rem; align-items: center; }
header input { padding: .35rem .6rem; border: 0; border-radius: 4px; font: inherit; }
header button, header .button { padding: .35rem .9rem; border: 1px solid #fff8; border-radius: 4px; background: none;
  color: #fff; font: inherit; cursor: pointer; }
main { max-width: 60rem; margin: 1.5rem auto; padding: 0 1.5rem; }
h1 { margin: 0 0 .25rem; font-size: 1.9rem; }
.lead { color: var(--soft); margin: 0 0 1.5rem; }
.cards { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr); gap: 1.25rem; align-items: start; }
.card { background: var(--paper); border: 1px solid var(--line); border-radius: 8px; padding: 1.1rem 1.3rem; }
.card h2 { margin: 0 0 .6rem; font-size: 1.15rem; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .25rem 1rem; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; }
blockquote { margin: 0 0 1rem; padding: 0 0 0 .9rem; border-left: 3px solid var(--line); }
blockquote footer { color: var(--soft); font-size: .9rem; }
.stars { font-size: 1.2rem; letter-spacing: .1em; }
.stars .off { opacity: .2; }
.error { color: #a02222; }
.served { color: var(--soft); font-size: .85rem; margin: 1rem 0 0; }
@media (max-width: 46rem) { .cards { grid-template-columns: 1fr; } }
";

/// What the page shows.
pub(crate) struct Page<'a> {
    /// Signed-in user.
    pub(crate) user: Option<&'a str>,
    /// Answer of `details`.
    pub(crate) details: &'a Result<Value, CallError>,
    /// Answer of `reviews`.
    pub(crate) reviews: &'a Result<Value, CallError>,
}

/// The entry page.
pub(crate) fn index() -> String {
    frame(
        "<h1>Bookinfo</h1><p class=\"lead\">A bookshop of four services, made to watch a service mesh at work.</p>\
         <p><a href=\"/productpage\">Open the product page</a></p>",
        "",
    )
}

impl Page<'_> {
    /// The product page.
    pub(crate) fn render(&self) -> String {
        let user = match self.user {
            Some(name) => format!(
                "<span class=\"user\">signed in as <b>{}</b> <a class=\"button\" href=\"/logout\">Sign out</a></span>",
                escape(name)
            ),
            None => "<form method=\"post\" action=\"/login\"><input name=\"username\" aria-label=\"User name\" \
                     placeholder=\"User name\" required><button>Sign in</button></form>"
                .to_owned(),
        };
        let mut body = String::from(
            "<h1>The Comedy of Errors</h1><p class=\"lead\">Two sets of identical twins, parted by a shipwreck, end up in \
             the same town on the same day.</p><div class=\"cards\">",
        );
        self.details(&mut body);
        self.reviews(&mut body);
        body.push_str("</div>");
        frame(&body, &user)
    }

    fn details(&self, body: &mut String) {
        body.push_str("<section class=\"card\" id=\"details\"><h2>Book Details</h2>");
        match self.details {
            Ok(details) => {
                body.push_str("<dl>");
                let rows = [
                    ("Type", "type"),
                    ("Pages", "pages"),
                    ("Publisher", "publisher"),
                    ("Language", "language"),
                    ("Author", "author"),
                    ("Year", "year"),
                    ("ISBN-10", "ISBN-10"),
                    ("ISBN-13", "ISBN-13"),
                ];
                for (title, key) in rows {
                    let _ = write!(body, "<dt>{title}</dt><dd>{}</dd>", text(details.get(key)));
                }
                body.push_str("</dl>");
            }
            Err(error) => problem(
                body,
                "Error fetching product details!",
                "product details",
                error,
            ),
        }
        body.push_str("</section>");
    }

    fn reviews(&self, body: &mut String) {
        body.push_str("<section class=\"card\" id=\"reviews\"><h2>Book Reviews</h2>");
        match self.reviews {
            Ok(answer) => {
                for review in answer
                    .get("reviews")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                {
                    let _ = write!(body, "<blockquote><p>{}</p>", text(review.get("text")));
                    rating(body, review.get("rating"));
                    let _ = write!(
                        body,
                        "<footer>{}</footer></blockquote>",
                        text(review.get("reviewer"))
                    );
                }
                let pod = text(answer.get("podname"));
                let _ = write!(
                    body,
                    "<p class=\"served\">Reviews served by: <b>{pod}</b> (version {})</p>",
                    version(&pod)
                );
            }
            Err(error) => problem(
                body,
                "Error fetching product reviews!",
                "product reviews",
                error,
            ),
        }
        body.push_str("</section>");
    }
}

fn rating(body: &mut String, rating: Option<&Value>) {
    let Some(rating) = rating else { return };
    if let Some(error) = rating.get("error").and_then(Value::as_str) {
        let _ = write!(body, "<p class=\"error\"><i>{}</i></p>", escape(error));
        return;
    }
    let stars = rating
        .get("stars")
        .and_then(Value::as_u64)
        .unwrap_or(0)
        .min(5) as usize;
    let color = match rating.get("color").and_then(Value::as_str) {
        Some("red") => "red",
        _ => "black",
    };
    let _ = write!(
        body,
        "<div class=\"stars\" style=\"color:{color}\" data-color=\"{color}\" aria-label=\"{stars} of 5 stars\">{}<span \
         class=\"off\">{}</span></div>",
        "★".repeat(stars),
        "★".repeat(5 - stars)
    );
}

fn problem(body: &mut String, title: &str, what: &str, error: &CallError) {
    let _ = write!(
        body,
        "<p class=\"error\"><b>{title}</b></p><p>Sorry, {what} are currently unavailable for this book.</p><p \
         class=\"served\">{}</p>",
        escape(&error.to_string())
    );
}

/// The version in a pod's name such as `reviews-v2-7d9c…`.
fn version(pod: &str) -> &str {
    pod.split('-')
        .find(|part| {
            part.len() > 1 && part.starts_with('v') && part[1..].bytes().all(|b| b.is_ascii_digit())
        })
        .unwrap_or("?")
}

fn frame(body: &str, user: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Simple Bookstore App</title><style>{STYLE}</style></head><body><header><a \
         href=\"/productpage\">BookInfo Sample</a>{user}</header><main>{body}</main></body></html>"
    )
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => escape(text),
        Some(other) => escape(&other.to_string()),
        None => String::new(),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
