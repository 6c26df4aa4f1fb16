//! What waiting costs: an idle proxy, its clusters and its connections, and the time until it answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Bench;
use crate::bootstrap::{Bootstrap, Service};
use crate::peers::{Engine, Proxy};
use crate::process::Memory;
use crate::rows::Rows;

/// Connections count as idle after this long.
const SETTLE: Duration = Duration::from_secs(5);
/// Clusters of the larger configurations.
const CLUSTERS: [usize; 2] = [1_000, 10_000];

/// Adds the rows of all of it.
pub(crate) fn measure(
    bench: &Bench,
    engines: &[Engine; 2],
    connections: usize,
    rows: &mut Rows,
) -> Result<()> {
    let bare = both(engines, |engine| {
        let proxy = start(bench, engine, 0)?;
        let before = Memory::of(&proxy)?;
        let held = hold(&proxy, connections)?;
        std::thread::sleep(SETTLE);
        let after = Memory::of(&proxy)?;
        drop(held);
        Ok((before, after))
    })?;
    rows.add(
        "idle",
        "anonymous memory, KiB",
        bare.map(|(idle, _)| idle.anonymous_kib),
    );
    rows.add(
        "idle",
        "resident memory, KiB",
        bare.map(|(idle, _)| idle.resident_kib),
    );
    rows.add(
        &format!("{connections} idle connections"),
        "anonymous memory for them, KiB",
        bare.map(|(idle, busy)| busy.anonymous_kib - idle.anonymous_kib),
    );
    for clusters in CLUSTERS {
        let loaded = both(engines, |engine| {
            let begun = Instant::now();
            let proxy = start(bench, engine, clusters)?;
            let took = begun.elapsed();
            Ok((Memory::of(&proxy)?, took))
        })?;
        let each = |index: usize| -> Option<f64> {
            let more = loaded.get(index)?.0.anonymous_kib - bare.get(index)?.0.anonymous_kib;
            Some(more / clusters as f64)
        };
        let title = format!("{clusters} clusters");
        rows.add(
            &title,
            "anonymous memory each, KiB",
            [0, 1].map(|index| each(index).unwrap_or(f64::NAN)),
        );
        rows.add(
            &title,
            "ms from start to answers",
            loaded.map(|(_, took)| took.as_secs_f64() * 1e3),
        );
    }
    Ok(())
}

fn both<T>(engines: &[Engine; 2], one: impl Fn(&Engine) -> Result<T>) -> Result<[T; 2]> {
    let [ours, theirs] = engines;
    Ok([one(ours)?, one(theirs)?])
}

fn start(bench: &Bench, engine: &Engine, clusters: usize) -> Result<Proxy> {
    let bootstrap = Bootstrap {
        clusters,
        ..Bootstrap::default()
    };
    engine.start(&bench.places, bootstrap, bench.port(Service::Http1))
}

/// Connections that have had one answer and now wait.
fn hold(proxy: &Proxy, count: usize) -> Result<Vec<TcpStream>> {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, most) = nix::sys::resource::getrlimit(limit)?;
    nix::sys::resource::setrlimit(limit, most, most)?;
    let mut held = Vec::with_capacity(count);
    let mut buffer = [0; 4096];
    for number in 0..count {
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port))
            .with_context(|| format!("connection {number} of {count}"))?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let read = stream.read(&mut buffer)?;
        let answer = buffer.get(..read).unwrap_or_default();
        ensure!(
            answer.starts_with(b"HTTP/1.1 200"),
            "connection {number} was answered {:?}",
            String::from_utf8_lossy(answer)
        );
        held.push(stream);
    }
    Ok(held)
}
