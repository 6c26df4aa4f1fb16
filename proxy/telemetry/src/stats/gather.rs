//! All statistics as somebody sees them: names as pages show them, families and labels as Prometheus does.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::log_linear::Spread;
use super::objects::{Cut, Label, Value, part};
use super::{Kind, Scope, Stats, StatsTag};
use crate::histogram::BOUNDS;
use crate::labels::escape_into;

/// One statistic.
#[derive(Debug)]
pub struct Sample<'a> {
    /// Its full name.
    pub name: &'a str,
    /// Its value.
    pub value: SampleValue<'a>,
    tags: Tags<'a>,
}

/// What a statistic is.
#[derive(Clone, Copy, Debug)]
pub enum SampleValue<'a> {
    /// It only goes up.
    Counter(u64),
    /// It goes up and down.
    Gauge(u64),
    /// How values are spread.
    Histogram(&'a Spread),
    /// A text.
    Text(&'a str),
}

#[derive(Clone, Copy, Debug)]
enum Tags<'a> {
    /// Written down: the family, and labels in braces.
    Made(&'a str, &'a str),
    /// Parts of the name: of the object, and of what stands behind it.
    Parts {
        labels: &'a [Label],
        name_at: usize,
        cut: Option<&'a Cut>,
        prefix: &'a str,
    },
}

/// Takes what is counted elsewhere, while somebody looks.
pub struct Collector<'a> {
    stats: &'a Stats,
    see: &'a mut dyn FnMut(&Sample<'_>),
    name: String,
}

impl std::fmt::Debug for Collector<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

impl Collector<'_> {
    /// Where all other statistics are.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        self.stats
    }

    /// A counter of an object.
    pub fn counter(&mut self, scope: Scope<'_>, name: &str, value: u64) {
        self.add(scope, name, SampleValue::Counter(value));
    }

    /// A gauge of an object.
    pub fn gauge(&mut self, scope: Scope<'_>, name: &str, value: u64) {
        self.add(scope, name, SampleValue::Gauge(value));
    }

    fn add(&mut self, scope: Scope<'_>, name: &str, value: SampleValue<'_>) {
        self.name.clear();
        self.name.push_str(&scope.prefix());
        self.name.push('.');
        let name_at = self.name.len();
        self.name.push_str(name);
        let Some(prefix) = self.stats.prefix_if_kept(&self.name) else {
            return;
        };
        (self.see)(&Sample {
            name: &self.name,
            value,
            tags: Tags::Parts {
                labels: &scope.labels(),
                name_at,
                cut: None,
                prefix,
            },
        });
    }
}

impl Sample<'_> {
    /// Whether it ever had a value.
    #[must_use]
    pub fn is_used(&self) -> bool {
        match self.value {
            SampleValue::Counter(value) | SampleValue::Gauge(value) => value > 0,
            SampleValue::Histogram(spread) => !spread.bins.is_empty(),
            SampleValue::Text(text) => !text.is_empty(),
        }
    }

    /// Writes the Prometheus family.
    fn family(&self, tags: &[StatsTag], out: &mut String) {
        let own = tags.iter().filter_map(|tag| tag.found(self.name));
        let own: Vec<Range<usize>> = own.map(|(without, _)| without).collect();
        if let (Tags::Made(family, _), true) = (self.tags, own.is_empty()) {
            out.push_str(family);
            return;
        }
        let mut gone = own;
        if let Tags::Parts {
            labels,
            name_at,
            cut,
            ..
        } = self.tags
        {
            let wide = |place: &Range<u32>| place.start as usize..place.end as usize;
            // With the point before it.
            gone.extend(labels.iter().map(|label| {
                let place = wide(&label.place);
                place.start.saturating_sub(1)..place.end
            }));
            gone.extend(cut.map(|cut| {
                let place = wide(&cut.without);
                name_at + place.start..name_at + place.end
            }));
        }
        out.push_str("envoy_");
        for (at, character) in self.name.char_indices() {
            if !gone.iter().any(|range| range.contains(&at)) {
                out.push(match character.is_ascii_alphanumeric() {
                    true => character,
                    false => '_',
                });
            }
        }
    }

    /// Writes labels without braces.
    fn labels(&self, tags: &[StatsTag], out: &mut String) {
        let start = out.len();
        match self.tags {
            Tags::Made(_, labels) => out.push_str(labels.trim_matches(['{', '}'])),
            Tags::Parts {
                labels,
                name_at,
                cut,
                prefix,
            } => {
                if let Some(cut) = cut {
                    let name = self.name.get(name_at..).unwrap_or_default();
                    let value = part(name, &cut.value).unwrap_or_default();
                    label(prefix, cut.tag, value, out);
                }
                for one in labels {
                    if out.len() > start {
                        out.push(',');
                    }
                    let value = part(self.name, &one.place).unwrap_or_default();
                    label(prefix, one.tag, value, out);
                }
            }
        }
        for tag in tags {
            let found = tag.found(self.name).map(|(_, value)| value);
            if let Some(value) = found.or(tag.fixed()) {
                if out.len() > start {
                    out.push(',');
                }
                label("", &tag.label, value, out);
            }
        }
    }
}

fn label(prefix: &str, tag: &str, value: &str, out: &mut String) {
    let _ = write!(out, "{prefix}{tag}=\"");
    escape_into(value, out);
    out.push('"');
}

impl Stats {
    /// Shows every statistic, in no order. One that is counted here and elsewhere comes twice.
    pub fn each(&self, see: &mut dyn FnMut(&Sample<'_>)) {
        if let Some(collecting) = self.collecting.0.get() {
            collecting(&mut Collector {
                stats: self,
                see,
                name: String::new(),
            });
        }
        for (name, stat) in &*self.table.lock() {
            let value = stat.value.load(Relaxed);
            see(&Sample {
                name,
                value: number(stat.kind, value),
                tags: Tags::Made(&stat.family, &stat.labels),
            });
        }
        self.each_of_objects(see);
    }

    fn each_of_objects(&self, see: &mut dyn FnMut(&Sample<'_>)) {
        let tags = self.config.get().is_some_and(|config| config.default_tags);
        let prefix = if tags { "envoy_" } else { "" };
        let mut full = String::new();
        for (object, held) in &self.objects.lock().by_prefix {
            for kept in &held.stats {
                full.clear();
                full.push_str(object);
                full.push('.');
                let name_at = full.len();
                full.push_str(&kept.name.name);
                let spread;
                let value = match &kept.value {
                    Value::Number(kind, value) => number(*kind, value.load(Relaxed)),
                    Value::Times(times) => {
                        spread = times.spread();
                        SampleValue::Histogram(&spread)
                    }
                };
                see(&Sample {
                    name: &full,
                    value,
                    tags: Tags::Parts {
                        labels: &held.labels,
                        name_at,
                        cut: kept.name.cut.as_ref(),
                        prefix,
                    },
                });
            }
        }
    }

    /// Upper bounds of a histogram's buckets.
    #[must_use]
    pub fn bounds(&self, name: &str) -> Arc<[f64]> {
        let config = self.config.get();
        let mut settings = config.iter().flat_map(|config| &config.buckets);
        let found = settings.find(|(matcher, _)| matcher.matches(name));
        found.map_or_else(|| BOUNDS.into(), |(_, bounds)| Arc::clone(bounds))
    }

    /// Appends `name: value` lines, sorted, as the admin page `stats` shows them.
    pub fn render_plain(&self, out: &mut String) {
        let mut page = StatsPage::default();
        self.each(&mut |sample| page.add(sample));
        for row in page.rows() {
            let _ = match row.value {
                SampleValue::Counter(value) | SampleValue::Gauge(value) => {
                    writeln!(out, "{}: {value}", row.name)
                }
                SampleValue::Histogram(spread) => {
                    writeln!(out, "{}: {}", row.name, summary(spread))
                }
                SampleValue::Text(text) => writeln!(out, "{}: \"{text}\"", row.name),
            };
        }
    }

    /// Appends Prometheus text, one `# TYPE` line a family, of those statistics that are taken.
    pub fn render_prometheus(&self, takes: &dyn Fn(&Sample<'_>) -> bool, out: &mut String) {
        let tags = self.config.get().map_or(&[][..], |config| &config.tags);
        let mut families: BTreeMap<String, (&'static str, Vec<Line>)> = BTreeMap::new();
        let (mut family, mut labels) = (String::new(), String::new());
        self.each(&mut |sample| {
            if !takes(sample) {
                return;
            }
            let (kind, value) = match sample.value {
                SampleValue::Counter(value) => ("counter", LineValue::Number(value)),
                SampleValue::Gauge(value) => ("gauge", LineValue::Number(value)),
                // As in Envoy: a family is there when something was observed.
                SampleValue::Histogram(spread) if spread.bins.is_empty() => return,
                SampleValue::Histogram(spread) => (
                    "histogram",
                    LineValue::Spread(Box::new((spread.clone(), self.bounds(sample.name)))),
                ),
                SampleValue::Text(_) => return,
            };
            family.clear();
            sample.family(tags, &mut family);
            let start = labels.len();
            sample.labels(tags, &mut labels);
            let line = Line {
                labels: start..labels.len(),
                value,
            };
            match families.get_mut(&family) {
                Some((_, lines)) => lines.push(line),
                None => {
                    families.insert(family.clone(), (kind, vec![line]));
                }
            }
        });
        for (family, (kind, mut lines)) in families {
            let _ = writeln!(out, "# TYPE {family} {kind}");
            let text = |line: &Line| labels.get(line.labels.clone()).unwrap_or_default();
            lines.sort_by(|one, other| text(one).cmp(text(other)));
            lines.dedup_by(|next, kept| text(next) == text(kept) && kept.value.join(&next.value));
            for line in &lines {
                line.value.render(&family, text(line), out);
            }
        }
    }
}

fn number(kind: Kind, value: u64) -> SampleValue<'static> {
    match kind {
        Kind::Counter => SampleValue::Counter(value),
        Kind::Gauge => SampleValue::Gauge(value),
    }
}

struct Line {
    /// Place among all labels.
    labels: Range<usize>,
    value: LineValue,
}

enum LineValue {
    Number(u64),
    Spread(Box<(Spread, Arc<[f64]>)>),
}

impl LineValue {
    /// Takes the larger number: both are of the same statistic.
    fn join(&mut self, other: &Self) -> bool {
        if let (Self::Number(kept), Self::Number(other)) = (self, other) {
            *kept = (*kept).max(*other);
        }
        true
    }

    fn render(&self, family: &str, labels: &str, out: &mut String) {
        let (spread, bounds) = match self {
            Self::Number(value) if labels.is_empty() => {
                let _ = writeln!(out, "{family} {value}");
                return;
            }
            Self::Number(value) => {
                let _ = writeln!(out, "{family}{{{labels}}} {value}");
                return;
            }
            Self::Spread(held) => (&held.0, &held.1),
        };
        let comma = if labels.is_empty() { "" } else { "," };
        for bound in &**bounds {
            let count = spread.at_most(*bound);
            let _ = writeln!(
                out,
                "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}"
            );
        }
        let count = spread.count();
        let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{family}_sum{{{labels}}} {}", spread.sum());
        let _ = writeln!(out, "{family}_count{{{labels}}} {count}");
    }
}

/// Quantiles in one line. What came since the last look is not kept apart.
#[must_use]
pub fn summary(spread: &Spread) -> String {
    let Some(quantiles) = spread.quantiles() else {
        return "No recorded values".to_owned();
    };
    let texts = super::QUANTILES
        .iter()
        .zip(quantiles)
        .map(|(percent, value)| format!("P{percent}(nan,{value})"));
    texts.collect::<Vec<_>>().join(" ")
}

/// Statistics by name, in one buffer: there may be hundreds of thousands.
#[derive(Debug, Default)]
pub struct StatsPage {
    text: String,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: Range<u32>,
    value: RowValue,
}

#[derive(Debug)]
enum RowValue {
    Number(Kind, u64),
    Histogram(Box<Spread>),
    Text(Box<str>),
}

/// A row of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageRow<'a> {
    /// Name.
    pub name: &'a str,
    /// Value.
    pub value: SampleValue<'a>,
}

impl StatsPage {
    /// Adds a statistic.
    pub fn add(&mut self, sample: &Sample<'_>) {
        let value = match sample.value {
            SampleValue::Counter(value) => RowValue::Number(Kind::Counter, value),
            SampleValue::Gauge(value) => RowValue::Number(Kind::Gauge, value),
            SampleValue::Histogram(spread) => RowValue::Histogram(Box::new(spread.clone())),
            SampleValue::Text(text) => RowValue::Text(text.into()),
        };
        self.push(sample.name, value);
    }

    /// Adds a counter.
    pub fn counter(&mut self, name: &str, value: u64) {
        self.push(name, RowValue::Number(Kind::Counter, value));
    }

    /// Adds a text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.push(name, RowValue::Text(value.into()));
    }

    fn push(&mut self, name: &str, value: RowValue) {
        let start = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.push_str(name);
        let end = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.rows.push(Row {
            name: start..end,
            value,
        });
    }

    /// The rows, sorted by name, each name once.
    pub fn rows(&mut self) -> impl Iterator<Item = PageRow<'_>> {
        let name = |row: &Row| part(&self.text, &row.name).unwrap_or_default();
        self.rows.sort_by(|one, other| name(one).cmp(name(other)));
        self.rows.dedup_by(|next, kept| {
            let same = name(next) == name(kept);
            if let (true, RowValue::Number(_, one), RowValue::Number(_, other)) =
                (same, &mut kept.value, &next.value)
            {
                *one = (*one).max(*other);
            }
            same
        });
        self.rows.iter().map(move |row| PageRow {
            name: name(row),
            value: match &row.value {
                RowValue::Number(kind, value) => number(*kind, *value),
                RowValue::Histogram(spread) => SampleValue::Histogram(spread),
                RowValue::Text(text) => SampleValue::Text(text),
            },
        })
    }
}
