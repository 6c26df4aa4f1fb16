//! A caller that counts answers.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::{Parser, Subcommand};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

const MAX_BODY: usize = 64 << 20;

#[derive(Parser)]
#[command(version, about = "Calls services and counts their answers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Does nothing until asked to stop: a pod to run other commands in.
    Wait,
    /// Calls one URL many times and prints the counts as JSON; exits 1 if a call failed or was answered by no 2xx.
    ///
    /// Example: sample-curl load http://reviews:9080/reviews/0 --count 100 --tally reviews-v1 --tally reviews-v2
    Load(Load),
}

#[derive(clap::Args)]
struct Load {
    /// What to call; http only.
    url: Uri,
    /// Calls in all.
    #[arg(long, default_value_t = 1)]
    count: u64,
    /// Calls under way at a time.
    #[arg(long, default_value_t = 1)]
    concurrency: u64,
    /// Most calls a second; 0 is no limit.
    #[arg(long, default_value_t = 0)]
    rate: u64,
    /// Speak HTTP/2 with prior knowledge.
    #[arg(long)]
    http2: bool,
    /// Open a new connection for each call.
    #[arg(long)]
    no_keepalive: bool,
    /// Header to send, NAME:VALUE; repeatable.
    #[arg(long, short = 'H')]
    header: Vec<String>,
    /// Text to count answers by; repeatable.
    #[arg(long)]
    tally: Vec<String>,
    /// Text that no answer may hold; repeatable.
    #[arg(long)]
    forbid: Vec<String>,
    /// Seconds for one call.
    #[arg(long, default_value_t = 30.0)]
    timeout: f64,
}

#[derive(Default)]
struct Counts {
    started: Cell<u64>,
    good: Cell<u64>,
    statuses: RefCell<BTreeMap<u16, u64>>,
    errors: RefCell<BTreeMap<String, u64>>,
    tally: RefCell<BTreeMap<String, u64>>,
    slowest: Cell<Duration>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Wait => wait().await,
        Command::Load(load) => match headers(&load.header) {
            Ok(headers) => run(&load, &headers).await,
            Err(text) => {
                eprintln!("sample-curl: {text}: a header is given as NAME:VALUE");
                ExitCode::from(64)
            }
        },
    }
}

async fn wait() -> ExitCode {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return ExitCode::FAILURE;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    ExitCode::SUCCESS
}

fn headers(texts: &[String]) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    texts
        .iter()
        .map(|text| {
            let (name, value) = text.split_once(':').ok_or(text)?;
            Ok((
                name.trim().parse().map_err(|_| text)?,
                value.trim().parse().map_err(|_| text)?,
            ))
        })
        .collect::<Result<_, &String>>()
        .map_err(Clone::clone)
}

async fn run(load: &Load, headers: &[(HeaderName, HeaderValue)]) -> ExitCode {
    let counts = Counts::default();
    let begin = Instant::now();
    let local = tokio::task::LocalSet::new();
    let callers =
        (0..load.concurrency.clamp(1, 1024)).map(|_| caller(load, headers, &counts, begin));
    local.run_until(futures_join(callers)).await;
    let elapsed = begin.elapsed();
    let good = counts.good.get();
    let report = json!({
        "sent": load.count,
        "ok": good,
        "failed": load.count - good.min(load.count),
        "statuses": *counts.statuses.borrow(),
        "errors": *counts.errors.borrow(),
        "tally": *counts.tally.borrow(),
        "elapsed_ms": elapsed.as_millis() as u64,
        "slowest_ms": counts.slowest.get().as_millis() as u64,
    });
    let mut text = report.to_string();
    text.push('\n');
    let written = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
    if good == load.count && written.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Drives all callers on this thread until each is done.
async fn futures_join<F: Future<Output = ()>>(callers: impl Iterator<Item = F>) {
    let mut callers: Vec<_> = callers.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        callers.retain_mut(|caller| caller.as_mut().poll(cx).is_pending());
        if callers.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Calls until the count is reached. Each caller has its own connection, so that all endpoints are met.
async fn caller(
    load: &Load,
    headers: &[(HeaderName, HeaderValue)],
    counts: &Counts,
    begin: Instant,
) {
    let mut builder = Client::builder(TokioExecutor::new());
    if load.http2 {
        builder.http2_only(true);
    }
    if load.no_keepalive {
        builder.pool_max_idle_per_host(0);
    }
    let client: Client<HttpConnector, Full<Bytes>> = builder.build_http();
    while counts.started.get() < load.count {
        let number = counts.started.get();
        counts.started.set(number + 1);
        if let Some(micros) = number.saturating_mul(1_000_000).checked_div(load.rate) {
            let due = begin + Duration::from_micros(micros);
            tokio::time::sleep_until(due.into()).await;
        }
        one(&client, load, headers, counts).await;
    }
}

async fn one(
    client: &Client<HttpConnector, Full<Bytes>>,
    load: &Load,
    headers: &[(HeaderName, HeaderValue)],
    counts: &Counts,
) {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = load.url.clone();
    for (name, value) in headers {
        request.headers_mut().append(name, value.clone());
    }
    let begin = Instant::now();
    let limit = Duration::from_secs_f64(load.timeout.clamp(0.001, 3600.0));
    let outcome = tokio::time::timeout(limit, answer(client, request))
        .await
        .unwrap_or_else(|_| Err("timed out".to_owned()));
    counts
        .slowest
        .set(counts.slowest.get().max(begin.elapsed()));
    match outcome {
        Ok((status, body)) => note(load, counts, status, &body),
        Err(error) => *counts.errors.borrow_mut().entry(error).or_default() += 1,
    }
}

async fn answer(
    client: &Client<HttpConnector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(u16, Bytes), String> {
    let answer = client
        .request(request)
        .await
        .map_err(|error| causes(&error))?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_BODY)
        .collect()
        .await
        .map_err(|error| error.to_string())?;
    Ok((status, body.to_bytes()))
}

fn note(load: &Load, counts: &Counts, status: u16, body: &[u8]) {
    *counts.statuses.borrow_mut().entry(status).or_default() += 1;
    let text = String::from_utf8_lossy(body);
    for wanted in load
        .tally
        .iter()
        .filter(|wanted| text.contains(wanted.as_str()))
    {
        *counts.tally.borrow_mut().entry(wanted.clone()).or_default() += 1;
    }
    let forbidden = load
        .forbid
        .iter()
        .find(|forbidden| text.contains(forbidden.as_str()));
    if let Some(forbidden) = forbidden {
        *counts
            .errors
            .borrow_mut()
            .entry(format!("the answer holds {forbidden:?}"))
            .or_default() += 1;
    } else if (200..300).contains(&status) {
        counts.good.set(counts.good.get() + 1);
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
