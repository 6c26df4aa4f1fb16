//! The agent's own metrics, prefix `istio_agent_` (contract/telemetry.md §1).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Instant, SystemTime};

use lateen_proxy_telemetry::Counter;
use std::sync::Mutex;

/// Counts of the pod's side. Clones of a counter count into the same value.
#[derive(Debug)]
pub struct AgentMetrics {
    /// Scrapes of the merged page.
    pub scrapes: Counter,
    /// Targets of the application that gave no page.
    pub application_scrape_failures: Counter,
    /// Certificate requests.
    pub csr_requests: Counter,
    /// Certificate requests that failed.
    pub csr_failures: Counter,
    /// Certificate requests tried again.
    pub csr_retries: Counter,
    /// Secret files that could not be read.
    pub file_secret_failures: Counter,
    started: Instant,
    ready_after: Mutex<Option<f64>>,
    expiries: Mutex<BTreeMap<String, SystemTime>>,
}

impl Default for AgentMetrics {
    fn default() -> Self {
        Self {
            scrapes: Counter::default(),
            application_scrape_failures: Counter::default(),
            csr_requests: Counter::default(),
            csr_failures: Counter::default(),
            csr_retries: Counter::default(),
            file_secret_failures: Counter::default(),
            started: Instant::now(),
            ready_after: Mutex::default(),
            expiries: Mutex::default(),
        }
    }
}

impl AgentMetrics {
    /// Notes the first time that the proxy was ready.
    pub(crate) fn ready(&self) {
        let mut ready_after = lock(&self.ready_after);
        ready_after.get_or_insert_with(|| self.started.elapsed().as_secs_f64());
    }

    /// Notes when a secret ends.
    pub(crate) fn expires(&self, resource: &str, at: SystemTime) {
        lock(&self.expiries).insert(resource.to_owned(), at);
    }

    /// Everything as Prometheus text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        let counters = [
            ("scrapes_total", &self.scrapes),
            ("num_outgoing_requests", &self.csr_requests),
            ("num_failed_outgoing_requests", &self.csr_failures),
            ("num_outgoing_retries", &self.csr_retries),
            ("num_file_secret_failures_total", &self.file_secret_failures),
        ];
        for (name, counter) in counters {
            let _ = writeln!(
                out,
                "# TYPE istio_agent_{name} counter\nistio_agent_{name} {}",
                counter.value()
            );
        }
        out.push_str("# TYPE istio_agent_scrape_failures_total counter\n");
        let failures = self.application_scrape_failures.value();
        let _ = writeln!(
            out,
            "istio_agent_scrape_failures_total{{type=\"application\"}} {failures}"
        );
        if let Some(seconds) = *lock(&self.ready_after) {
            let name = "istio_agent_startup_duration_seconds";
            let _ = writeln!(out, "# TYPE {name} gauge\n{name} {seconds}");
        }
        self.render_expiries(&mut out);
        out
    }

    fn render_expiries(&self, out: &mut String) {
        let expiries = lock(&self.expiries);
        if expiries.is_empty() {
            return;
        }
        out.push_str("# TYPE istio_agent_cert_expiry_seconds gauge\n");
        for (resource, at) in &*expiries {
            let left = match at.duration_since(SystemTime::now()) {
                Ok(left) => left.as_secs_f64(),
                Err(passed) => -passed.duration().as_secs_f64(),
            };
            let _ = writeln!(
                out,
                "istio_agent_cert_expiry_seconds{{resource_name=\"{resource}\"}} {left:.0}"
            );
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
