//! The pages of statistics.

use http::StatusCode;
use lateen_proxy_agent::refresh_stats;
use lateen_proxy_agent::serve::{Answer, text, typed};
use lateen_proxy_state::ResourceKind;
use regex::Regex;
use serde_json::{Value, json};

use super::Admin;
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
            "prometheus" => {
                let all = self.metrics.render();
                typed(StatusCode::OK, PROMETHEUS, choice.families(&all))
            }
            "json" => super::json_answer(&self.stats_json(&choice)),
            "text" | "" => text(StatusCode::OK, self.stats_text(&choice)),
            _ => bad("usage: /stats?format=(json|prometheus|text)\n\n".to_owned()),
        }
    }

    /// All statistics, a line each.
    fn plain(&self) -> String {
        self.metrics.render_plain()
    }

    fn stats_text(&self, choice: &Choice) -> String {
        let plain = self.plain();
        let mut lines: Vec<String> = plain
            .lines()
            .filter(|line| choice.takes_line(line, self))
            .map(|line| format!("{line}\n"))
            .collect();
        for (name, value) in self.readouts(choice) {
            lines.push(format!("{name}: \"{value}\"\n"));
        }
        lines.sort_unstable();
        lines.concat()
    }

    fn stats_json(&self, choice: &Choice) -> Value {
        let plain = self.plain();
        let lines = plain.lines().filter(|line| choice.takes_line(line, self));
        let mut stats: Vec<Value> = lines
            .filter_map(|line| line.rsplit_once(": "))
            .filter_map(|(name, value)| {
                let value: u64 = value.parse().ok()?;
                Some(json!({ "name": name, "value": value }))
            })
            .collect();
        let readouts = self.readouts(choice).into_iter();
        stats.extend(readouts.map(|(name, value)| json!({ "name": name, "value": value })));
        json!({ "stats": stats })
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

    fn takes_line(&self, line: &str, admin: &Admin) -> bool {
        let Some((name, value)) = line.rsplit_once(": ") else {
            return false;
        };
        let stats = admin.metrics.stats();
        let of_kind = match &*self.kind {
            "All" => true,
            "Counters" => !stats.is_gauge(name) && !stats.is_distribution(name),
            "Gauges" => stats.is_gauge(name),
            "Histograms" => stats.is_distribution(name),
            _ => false,
        };
        of_kind
            && self.takes_name(name)
            && !(self.used_only && matches!(value, "0" | "No recorded values"))
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
    if let Some(form) = query.value("histogram_buckets")
        && !BUCKETS.contains(&form)
    {
        let forms = BUCKETS.join("|");
        return Err(format!("usage: /stats?histogram_buckets=({forms})\n"));
    }
    Ok(Choice {
        filter,
        used_only: query.has("usedonly"),
        kind: kind.to_owned(),
    })
}

fn bad(reason: String) -> Answer {
    text(StatusCode::BAD_REQUEST, reason)
}
