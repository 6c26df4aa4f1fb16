//! The pages of statistics.

use std::fmt::Write;

use http::StatusCode;
use lateen_proxy_agent::refresh_stats;
use lateen_proxy_agent::serve::{Answer, text, typed};
use lateen_proxy_state::ResourceKind;
use lateen_proxy_telemetry::{PageRow, Sample, SampleValue, StatsPage};
use regex::Regex;
use serde_json::{Value, json};

use super::Admin;
use super::histograms::Form;
use super::query::Query;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What `type` may say.
const TYPES: [&str; 5] = ["All", "Counters", "Gauges", "Histograms", "TextReadouts"];
/// What `histogram_buckets` may say.
const BUCKETS: [&str; 4] = ["cumulative", "disjoint", "detailed", "summary"];

/// Which statistics are shown.
struct Choice {
    filter: Option<Regex>,
    used_only: bool,
    kind: String,
    form: Form,
}

impl Admin {
    pub(super) fn stats(&self, path: &str, query: &Query) -> Answer {
        let known = ["filter", "format", "usedonly", "type", "histogram_buckets"];
        if let Some(name) = query.other_than(&known) {
            let known = known.join(", ");
            return bad(format!("stats: `{name}` is none of {known}\n"));
        }
        let choice = match choice(query) {
            Ok(choice) => choice,
            Err(reason) => return bad(reason),
        };
        refresh_stats(&self.state, self.metrics.stats());
        let format = match path {
            "stats" => query.value("format").unwrap_or("text"),
            _ => "prometheus",
        };
        match format {
            "prometheus" => typed(StatusCode::OK, PROMETHEUS, self.prometheus(&choice)),
            "json" => super::json_answer(&self.stats_json(&choice)),
            "text" | "" => text(StatusCode::OK, self.stats_text(&choice)),
            _ => bad("usage: /stats?format=(json|prometheus|text)\n\n".to_owned()),
        }
    }

    fn prometheus(&self, choice: &Choice) -> String {
        let mut page = choice.families(&self.metrics.render_mesh());
        let stats = self.metrics.stats();
        stats.render_prometheus(&|sample| choice.takes(sample), &mut page);
        page
    }

    /// The statistics that are asked for.
    fn page(&self, choice: &Choice) -> StatsPage {
        let mut page = StatsPage::default();
        self.metrics.stats().each(&mut |sample| {
            if choice.takes(sample) {
                page.add(sample);
            }
        });
        if matches!(&*choice.kind, "All" | "Counters") {
            self.metrics.each_of_mesh(&mut |name, value| {
                if choice.takes_name(name) && (value > 0 || !choice.used_only) {
                    page.counter(name, value);
                }
            });
        }
        for (name, value) in self.readouts(choice) {
            page.text(name, &value);
        }
        page
    }

    fn stats_text(&self, choice: &Choice) -> String {
        let stats = self.metrics.stats();
        let mut page = self.page(choice);
        let rows: Vec<PageRow<'_>> = page.rows().collect();
        // As in Envoy: texts come first, and histograms last.
        let part = |value: SampleValue<'_>| match value {
            SampleValue::Text(_) => 0,
            SampleValue::Counter(_) | SampleValue::Gauge(_) => 1,
            SampleValue::Histogram(_) => 2,
        };
        let parts = (0..3).flat_map(|now| rows.iter().filter(move |row| part(row.value) == now));
        let mut out = String::new();
        for row in parts {
            // Writing to a text cannot fail.
            let _ = match row.value {
                SampleValue::Counter(value) | SampleValue::Gauge(value) => {
                    writeln!(out, "{}: {value}", row.name)
                }
                SampleValue::Text(value) => writeln!(out, "{}: \"{value}\"", row.name),
                SampleValue::Histogram(spread) => {
                    let bounds = || stats.bounds(row.name);
                    writeln!(out, "{}:{}", row.name, choice.form.text(spread, bounds))
                }
            };
        }
        out
    }

    fn stats_json(&self, choice: &Choice) -> Value {
        let stats = self.metrics.stats();
        let (mut shown, mut histograms) = (Vec::new(), Vec::new());
        for row in self.page(choice).rows() {
            let name = row.name;
            match row.value {
                SampleValue::Counter(value) | SampleValue::Gauge(value) => {
                    shown.push(json!({ "name": name, "value": value }));
                }
                SampleValue::Text(value) => shown.push(json!({ "name": name, "value": value })),
                SampleValue::Histogram(spread) => {
                    histograms.push(choice.form.json(name, spread, || stats.bounds(name)));
                }
            }
        }
        if !histograms.is_empty() {
            shown.push(json!({ "histograms": choice.form.whole(histograms) }));
        }
        json!({ "stats": shown })
    }

    /// Statistics whose value is a text.
    fn readouts(&self, choice: &Choice) -> Vec<(&'static str, String)> {
        if !matches!(&*choice.kind, "All" | "TextReadouts") {
            return Vec::new();
        }
        let facts = self.state.readiness().control_plane();
        let version = |kind: ResourceKind| {
            let version = facts.versions.get(kind as usize);
            version.map(ToString::to_string).unwrap_or_default()
        };
        [
            ("control_plane.identifier", facts.identifier.clone()),
            (
                "cluster_manager.cds.version_text",
                version(ResourceKind::Cluster),
            ),
            (
                "listener_manager.lds.version_text",
                version(ResourceKind::Listener),
            ),
        ]
        .into_iter()
        .filter(|(name, value)| choice.takes_name(name) && !(choice.used_only && value.is_empty()))
        .collect()
    }
}

impl Choice {
    fn takes_name(&self, name: &str) -> bool {
        self.filter
            .as_ref()
            .is_none_or(|filter| filter.is_match(name))
    }

    fn takes(&self, sample: &Sample<'_>) -> bool {
        let of_kind = match sample.value {
            SampleValue::Counter(_) => matches!(&*self.kind, "All" | "Counters"),
            SampleValue::Gauge(_) => matches!(&*self.kind, "All" | "Gauges"),
            SampleValue::Histogram(_) => matches!(&*self.kind, "All" | "Histograms"),
            SampleValue::Text(_) => matches!(&*self.kind, "All" | "TextReadouts"),
        };
        of_kind && self.takes_name(sample.name) && (sample.is_used() || !self.used_only)
    }

    /// The lines of a Prometheus page that are asked for, with the type lines of their families.
    fn families(&self, page: &str) -> String {
        if self.filter.is_none() && !self.used_only {
            return page.to_owned();
        }
        let mut out = String::new();
        let mut heading = None;
        for line in page.lines() {
            if line.starts_with('#') {
                heading = Some(line);
                continue;
            }
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let plain = name.strip_prefix("envoy_").unwrap_or(name);
            let dotted = plain.replace('_', ".");
            let found = [name, plain, &dotted];
            let taken = found.into_iter().any(|name| self.takes_name(name));
            if !taken || self.used_only && line.ends_with(" 0") {
                continue;
            }
            for line in heading.take().into_iter().chain([line]) {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

fn choice(query: &Query) -> Result<Choice, String> {
    let filter = query.value("filter").filter(|text| !text.is_empty());
    let filter = filter
        .map(Regex::new)
        .transpose()
        .map_err(|error| format!("Invalid re2 regex: {error}\n"))?;
    let kind = query.value("type").unwrap_or("All");
    if !TYPES.contains(&kind) {
        return Err("invalid &type= param\n".to_owned());
    }
    let form = match query.value("histogram_buckets") {
        None => Form::Summary,
        Some(name) => Form::named(name).ok_or_else(|| {
            let forms = BUCKETS.join("|");
            format!("usage: /stats?histogram_buckets=({forms})\n")
        })?,
    };
    Ok(Choice {
        filter,
        used_only: query.has("usedonly"),
        kind: kind.to_owned(),
        form,
    })
}

fn bad(reason: String) -> Answer {
    text(StatusCode::BAD_REQUEST, reason)
}
