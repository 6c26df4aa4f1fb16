//! Measuring: wrk for load, `/proc` for CPU time and memory.

use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::peers::Proxy;

/// One round of load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests answered for each second of CPU that the proxies used together.
    pub(crate) per_cpu_second: f64,
    /// 99th percentile of the latency, µs.
    pub(crate) p99_micros: f64,
}

/// Memory of an idle proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) anonymous_kib: f64,
    pub(crate) resident_kib: f64,
}

/// Loads `port` with wrk; any answer that is no 2xx fails the run.
pub(crate) fn load(port: u16, proxies: &[Proxy], seconds: u32, connections: u32) -> Result<Load> {
    let url = format!("http://127.0.0.1:{port}/");
    wrk(&url, 1, connections)?;
    let before = cpu_seconds(proxies)?;
    let report = wrk(&url, seconds, connections)?;
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
        p99_micros: p99,
    })
}

/// The round with the median rate.
pub(crate) fn median(mut rounds: Vec<Load>) -> Load {
    rounds.sort_by(|one, other| one.per_cpu_second.total_cmp(&other.per_cpu_second));
    rounds.get(rounds.len() / 2).copied().unwrap_or(Load {
        per_cpu_second: f64::NAN,
        p99_micros: f64::NAN,
    })
}

impl Memory {
    /// What the kernel says of the process now.
    pub(crate) fn of(proxy: &Proxy) -> Result<Self> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", proxy.process.id()))?;
        let kib = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
                .with_context(|| format!("smaps_rollup has no {name}"))
        };
        Ok(Self {
            anonymous_kib: kib("Anonymous:")?,
            resident_kib: kib("Rss:")?,
        })
    }
}

fn wrk(url: &str, seconds: u32, connections: u32) -> Result<String> {
    let (seconds, connections) = (format!("-d{seconds}s"), format!("-c{connections}"));
    let output = Command::new("taskset")
        .args([
            "-c",
            "0",
            "wrk",
            "-t1",
            "--latency",
            &seconds,
            &connections,
            url,
        ])
        .output()?;
    ensure!(
        output.status.success(),
        "wrk: {}",
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

/// User and system time of all proxies since their start.
fn cpu_seconds(proxies: &[Proxy]) -> Result<f64> {
    // The kernel counts in hundredths of a second on every platform we run on.
    const TICKS: f64 = 100.0;
    let mut sum = 0.0;
    for proxy in proxies {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", proxy.process.id()))?;
        let fields = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest)
            .context("no stat")?;
        let times = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|text| text.parse::<f64>().ok());
        sum += times.sum::<f64>() / TICKS;
    }
    Ok(sum)
}
