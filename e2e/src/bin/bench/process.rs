//! What the kernel counts of the proxies: CPU time and memory.

use anyhow::{Context, Result};

use crate::peers::Proxy;

/// Memory of a proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) anonymous_kib: f64,
    pub(crate) resident_kib: f64,
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

/// User and system time of all proxies since their start.
pub(crate) fn cpu_seconds(proxies: &[Proxy]) -> Result<f64> {
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
