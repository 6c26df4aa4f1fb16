//! What a change costs: the time from a new route table in the watched file to the first answer by it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::Bench;
use crate::bootstrap::{self, Bootstrap, ROUTES, Service};
use crate::peers::Engine;
use crate::rows::Rows;

/// Clusters, and virtual hosts of the table.
const CLUSTERS: usize = 1_000;
/// Changes; the median counts.
const CHANGES: usize = 15;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(30);

/// Adds the row.
pub(crate) fn measure(bench: &Bench, engines: &[Engine; 2], rows: &mut Rows) -> Result<()> {
    let [ours, theirs] = engines;
    let took = [one(bench, ours)?, one(bench, theirs)?];
    rows.add(
        &format!("{CLUSTERS} clusters"),
        "ms until a changed route answers",
        took.map(|took| took.as_secs_f64() * 1e3),
    );
    Ok(())
}

fn one(bench: &Bench, engine: &Engine) -> Result<Duration> {
    put(bench, 0)?;
    let bootstrap = Bootstrap {
        clusters: CLUSTERS,
        routes_from_file: true,
        ..Bootstrap::default()
    };
    let proxy = engine.start(&bench.places, bootstrap, bench.port(Service::Http1))?;
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    until(&mut stream, 0)?;
    let mut times = Vec::with_capacity(CHANGES);
    for version in 1..=CHANGES {
        let begun = put(bench, version)?;
        until(&mut stream, version)?;
        times.push(begun.elapsed());
    }
    times.sort();
    times.get(CHANGES / 2).copied().context("no change")
}

/// Puts a version of the table in place of the one before, at once; the moment it was there.
fn put(bench: &Bench, version: usize) -> Result<Instant> {
    let new = bench.places.folder.join("routes.new");
    std::fs::write(&new, bootstrap::routes(version, CLUSTERS))?;
    let begun = Instant::now();
    std::fs::rename(&new, bench.places.folder.join(ROUTES))?;
    Ok(begun)
}

/// Asks until the answer is of this version.
fn until(stream: &mut TcpStream, version: usize) -> Result<()> {
    let (begun, wanted) = (Instant::now(), format!("<{version}>"));
    let mut buffer = [0; 4096];
    loop {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: bench\r\n\r\n")?;
        let mut have = 0;
        let answer = loop {
            let space = buffer.get_mut(have..).unwrap_or_default();
            let count = stream.read(space)?;
            ensure!(count > 0, "the proxy closed the connection");
            have += count;
            let answer = String::from_utf8_lossy(buffer.get(..have).unwrap_or_default());
            if answer.ends_with('>') {
                break answer;
            }
        };
        if answer.ends_with(&wanted) {
            return Ok(());
        }
        ensure!(begun.elapsed() < PATIENCE, "no answer by version {version}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
