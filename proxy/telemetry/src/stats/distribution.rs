//! Histograms of objects: times, where they are kept.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use super::{Scope, Stats, family};
use crate::histogram::{Histogram, HistogramSum};
use crate::labels::escape_into;

/// How values are spread; clones count into the same buckets.
#[derive(Clone, Debug)]
pub struct Distribution(Arc<Histogram>);

/// One of them in the table.
#[derive(Debug)]
pub(super) struct Named {
    family: String,
    /// Without braces.
    labels: String,
    values: Arc<Histogram>,
}

impl Distribution {
    /// Adds a time, in milliseconds.
    pub fn observe(&self, time: Duration) {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.0.observe_shared(millis);
    }
}

impl Stats {
    /// A histogram of an object, if it is kept.
    pub fn distribution(&self, scope: Scope<'_>, name: &str) -> Option<Distribution> {
        let full = format!("{}.{}.{name}", scope.group, scope.value);
        let prefix = self.prefix_if_kept(&full)?;
        let mut table = self.distributions.lock();
        let named = table.entry(full).or_insert_with(|| {
            let mut labels = format!("{prefix}{}=\"", scope.tag);
            escape_into(scope.value, &mut labels);
            labels.push('"');
            Named {
                family: family(&format!("{}.{name}", scope.group)),
                labels,
                values: Arc::default(),
            }
        });
        Some(Distribution(Arc::clone(&named.values)))
    }

    /// Appends `name: value` lines: for each bucket that has a value its upper bound and how many are in it.
    pub(super) fn plain_distributions(&self, out: &mut String) {
        for (name, named) in &*self.distributions.lock() {
            let mut sum = HistogramSum::default();
            sum.add(&named.values);
            let _ = writeln!(out, "{name}: {}", sum.summary());
        }
    }

    pub(super) fn forget_distributions(&self, stays: impl Fn(&str, &str) -> bool) {
        let mut table = self.distributions.lock();
        table.retain(|name, named| stays(name, &named.labels));
    }

    pub(super) fn prometheus_distributions(&self, out: &mut String) {
        let table = self.distributions.lock();
        let mut known: Vec<&Named> = table.values().collect();
        known.sort_by(|one, other| (&one.family, &one.labels).cmp(&(&other.family, &other.labels)));
        let mut last = "";
        for named in known {
            let mut sum = HistogramSum::default();
            sum.add(&named.values);
            // As in Envoy: a family is there when something was observed.
            if sum.count() == 0 {
                continue;
            }
            if last != named.family {
                let _ = writeln!(out, "# TYPE {} histogram", named.family);
            }
            last = &named.family;
            sum.render(&named.family, &named.labels, out);
        }
    }

    /// Whether the statistic of this name is a histogram.
    pub fn is_distribution(&self, name: &str) -> bool {
        self.distributions.lock().contains_key(name)
    }
}
