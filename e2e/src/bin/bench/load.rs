//! Load and what it cost: wrk for HTTP/1.1, h2load for HTTP/2, a reader of our own for bytes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::peers::{OTHER_CORE, Proxy};
use crate::process::cpu_seconds;

/// How much load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Amount {
    /// Seconds of load that count.
    pub(crate) seconds: u32,
    /// Requests under way.
    pub(crate) concurrent: u32,
}

/// One round of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// What was done (requests, or gigabits) for each second of CPU that the proxies used together.
    pub(crate) per_cpu_second: f64,
    /// 99th percentile of the latency, µs; none for bytes.
    pub(crate) p99_micros: Option<f64>,
}

/// Connections of HTTP/2 load; each carries an equal share of the requests under way.
const H2_CONNECTIONS: u32 = 8;

impl Load {
    /// The round with the median rate.
    pub(crate) fn median(mut rounds: Vec<Self>) -> Self {
        rounds.sort_by(|one, other| one.per_cpu_second.total_cmp(&other.per_cpu_second));
        rounds.get(rounds.len() / 2).copied().unwrap_or(Self {
            per_cpu_second: f64::NAN,
            p99_micros: None,
        })
    }
}

/// HTTP/1.1 with wrk; any answer that is no 2xx fails the run.
pub(crate) fn http1(proxies: &[Proxy], amount: Amount) -> Result<Load> {
    let url = format!("http://127.0.0.1:{}/", entry(proxies)?);
    wrk(&url, 1, amount.concurrent)?;
    let before = cpu_seconds(proxies)?;
    let report = wrk(&url, amount.seconds, amount.concurrent)?;
    let used = cpu_seconds(proxies)? - before;
    ensure!(
        !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "answers failed:\n{report}"
    );
    let requests: f64 = report
        .lines()
        .find_map(|line| line.trim().split_once(" requests in "))
        .and_then(|(count, _)| count.parse().ok())
        .with_context(|| format!("wrk counted no requests:\n{report}"))?;
    let p99 = report
        .lines()
        .find_map(|line| line.trim().strip_prefix("99%"))
        .and_then(micros)
        .with_context(|| format!("wrk gave no latency:\n{report}"))?;
    Ok(Load {
        per_cpu_second: requests / used,
        p99_micros: Some(p99),
    })
}

/// HTTP/2 over plain text with h2load; any answer that is no 2xx fails the run.
pub(crate) fn http2(proxies: &[Proxy], amount: Amount, folder: &Path) -> Result<Load> {
    let url = format!("http://127.0.0.1:{}/", entry(proxies)?);
    let log = folder.join("h2load.tsv");
    h2load(&url, 1, amount.concurrent, &log)?;
    let before = cpu_seconds(proxies)?;
    h2load(&url, amount.seconds, amount.concurrent, &log)?;
    let used = cpu_seconds(proxies)? - before;
    // Columns: begin (µs since 1970), status, duration (µs).
    let text = std::fs::read_to_string(&log)?;
    let mut durations = Vec::new();
    for line in text.lines() {
        let mut columns = line.split_whitespace().skip(1);
        let (status, took) = (columns.next(), columns.next());
        ensure!(status == Some("200"), "an answer failed: {line}");
        durations.extend(took.and_then(|took| took.parse::<u64>().ok()));
    }
    durations.sort_unstable();
    let p99 = durations.get(durations.len() * 99 / 100);
    Ok(Load {
        per_cpu_second: durations.len() as f64 / used,
        p99_micros: p99.map(|micros| *micros as f64),
    })
}

/// Bytes from a sender behind the proxies, in gigabits.
pub(crate) fn bytes(proxies: &[Proxy], amount: Amount) -> Result<Load> {
    let mut stream = TcpStream::connect(("127.0.0.1", entry(proxies)?))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut buffer = vec![0; 1 << 20];
    read_for(&mut stream, &mut buffer, Duration::from_secs(1))?;
    let before = cpu_seconds(proxies)?;
    let took = Duration::from_secs(amount.seconds.into());
    let count = read_for(&mut stream, &mut buffer, took)?;
    let used = cpu_seconds(proxies)? - before;
    Ok(Load {
        per_cpu_second: count as f64 * 8e-9 / used,
        p99_micros: None,
    })
}

/// Sends bytes to whoever connects, until they go away.
pub(crate) fn sender() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let block = vec![b'x'; 1 << 18];
                while stream.write_all(&block).is_ok() {}
            });
        }
    });
    Ok(port)
}

fn read_for(stream: &mut TcpStream, buffer: &mut [u8], time: Duration) -> Result<u64> {
    let (begun, mut count) = (Instant::now(), 0);
    while begun.elapsed() < time {
        let read = stream.read(buffer)?;
        ensure!(read > 0, "the stream ended after {count} bytes");
        count += read as u64;
    }
    Ok(count)
}

fn entry(proxies: &[Proxy]) -> Result<u16> {
    Ok(proxies.first().context("no proxy")?.port)
}

fn wrk(url: &str, seconds: u32, connections: u32) -> Result<String> {
    let (seconds, connections) = (format!("-d{seconds}s"), format!("-c{connections}"));
    run("wrk", &["-t1", "--latency", &seconds, &connections, url])
}

fn h2load(url: &str, seconds: u32, concurrent: u32, log: &Path) -> Result<()> {
    let _ = std::fs::remove_file(log);
    let streams = (concurrent / H2_CONNECTIONS).max(1);
    let report = run(
        "h2load",
        &[
            &format!("--duration={seconds}"),
            &format!("--clients={H2_CONNECTIONS}"),
            &format!("--max-concurrent-streams={streams}"),
            &format!("--log-file={}", log.display()),
            url,
        ],
    )?;
    ensure!(
        report.contains(" 0 failed") && report.contains(" 0 errored"),
        "requests failed:\n{report}"
    );
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new("taskset")
        .args(["-c", OTHER_CORE, program])
        .args(arguments)
        .output()?;
    ensure!(
        output.status.success(),
        "{program}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn micros(text: &str) -> Option<f64> {
    let text = text.trim();
    let (number, scale) = [("us", 1.0), ("ms", 1e3), ("s", 1e6)]
        .iter()
        .find_map(|(unit, scale)| text.strip_suffix(unit).map(|number| (number, scale)))?;
    number.parse::<f64>().ok().map(|number| number * scale)
}
