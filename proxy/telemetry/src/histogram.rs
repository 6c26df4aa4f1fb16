//! Fixed-bucket histograms with one writer and any number of readers.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Upper bounds of the buckets of every standard histogram (ms and bytes alike); `+Inf` follows (contract/telemetry.md §1).
pub const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

const BUCKETS: usize = BOUNDS.len() + 1;

/// Counts a bucket, not cumulative, and the sum of values.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

/// The sum of several shards' histograms.
#[derive(Debug, Default)]
pub(crate) struct HistogramSum {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Histogram {
    /// Adds a value. Only one thread at a time may call it: plain loads and stores keep the bus quiet.
    pub(crate) fn observe(&self, value: u64) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "bounds end at 3.6e6, where f64 is exact"
        )]
        let place = BOUNDS.partition_point(|bound| *bound < value as f64);
        if let Some(bucket) = self.buckets.get(place) {
            bump(bucket, 1);
        }
        bump(&self.sum, value);
    }
}

impl HistogramSum {
    pub(crate) fn add(&mut self, shard: &Histogram) {
        for (total, bucket) in self.buckets.iter_mut().zip(&shard.buckets) {
            *total = total.saturating_add(bucket.load(Relaxed));
        }
        self.sum = self.sum.saturating_add(shard.sum.load(Relaxed));
    }

    /// Appends the series in Prometheus text: cumulative buckets, sum, count.
    pub(crate) fn render(&self, name: &str, labels: &str, out: &mut String) {
        let mut count = 0_u64;
        let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bucket, bound) in self.buckets.iter().zip(bounds) {
            count = count.saturating_add(*bucket);
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, bucket| sum.saturating_add(*bucket))
    }
}

/// Adds without a locked instruction; correct for one writer.
pub(crate) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).saturating_add(by), Relaxed);
}

#[cfg(test)]
mod tests {
    use super::{Histogram, HistogramSum};

    #[test]
    fn a_value_on_a_bound_belongs_to_that_bucket() {
        let shard = Histogram::default();
        for value in [0, 1, 2, 5_000_000] {
            shard.observe(value);
        }
        let mut sum = HistogramSum::default();
        sum.add(&shard);
        let mut text = String::new();
        sum.render("h", "a=\"b\"", &mut text);
        assert!(text.starts_with("h_bucket{a=\"b\",le=\"0.5\"} 1\nh_bucket{a=\"b\",le=\"1\"} 2\nh_bucket{a=\"b\",le=\"5\"} 3\n"));
        assert!(text.ends_with(
            "le=\"3600000\"} 3\nh_bucket{a=\"b\",le=\"+Inf\"} 4\nh_sum{a=\"b\"} 5000003\nh_count{a=\"b\"} 4\n"
        ));
    }
}
