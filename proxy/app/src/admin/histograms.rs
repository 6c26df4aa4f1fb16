//! Histograms as the page of statistics shows them, in each of Envoy's forms. Values since the last flush are not kept
//! apart: what would be of an interval is empty.

use std::sync::Arc;

use lateen_proxy_telemetry::{Bin, QUANTILES, Spread, summary};
use serde_json::{Value, json};

/// What `histogram_buckets` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Quantiles.
    Summary,
    /// Values up to each bound.
    Cumulative,
    /// Values between two bounds.
    Disjoint,
    /// Every bin.
    Detailed,
}

impl Form {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "summary" => Self::Summary,
            "cumulative" => Self::Cumulative,
            "disjoint" => Self::Disjoint,
            "detailed" => Self::Detailed,
            _ => return None,
        })
    }

    /// What stands behind `name:`.
    pub(super) fn text(self, spread: &Spread, bounds: impl FnOnce() -> Arc<[f64]>) -> String {
        if self == Self::Summary || spread.bins.is_empty() {
            return format!(" {}", summary(spread));
        }
        if self == Self::Detailed {
            let totals = spread.bins.iter();
            let totals = totals.map(|bin| format!("{},{}:{}", bin.lower, bin.width, bin.count));
            let totals = totals.collect::<Vec<_>>().join(", ");
            return format!(
                "\n  totals={totals}\n  intervals=\n  summary={}",
                summary(spread)
            );
        }
        let bounds = bounds();
        let counts = self.counts(spread, &bounds);
        let parts = counts.map(|(bound, count)| format!(" B{}(0,{count})", short(bound)));
        parts.collect()
    }

    /// One histogram in a list.
    pub(super) fn json(
        self,
        name: &str,
        spread: &Spread,
        bounds: impl FnOnce() -> Arc<[f64]>,
    ) -> Value {
        let quantiles = || -> Vec<Value> {
            let values = spread.quantiles();
            let of = |place: usize| values.as_ref().and_then(|it| it.get(place).copied());
            (0..QUANTILES.len())
                .map(|place| json!({ "cumulative": of(place).map(number), "interval": null }))
                .collect()
        };
        match self {
            Self::Summary => json!({ "name": name, "values": quantiles() }),
            Self::Detailed => {
                let bin = |bin: &Bin| json!({ "lower_bound": number(bin.lower), "width": number(bin.width), "count": bin.count });
                let totals: Vec<Value> = spread.bins.iter().map(bin).collect();
                json!({ "name": name, "totals": totals, "intervals": [], "percentiles": quantiles() })
            }
            Self::Cumulative | Self::Disjoint => {
                let bounds = bounds();
                let buckets = self.counts(spread, &bounds).map(
                    |(bound, count)| json!({ "upper_bound": number(bound), "interval": 0, "cumulative": count }),
                );
                json!({ "name": name, "buckets": buckets.collect::<Vec<_>>() })
            }
        }
    }

    /// All histograms of a page.
    pub(super) fn whole(self, histograms: Vec<Value>) -> Value {
        let quantiles: Vec<Value> = QUANTILES.into_iter().map(number).collect();
        match self {
            Self::Summary => {
                json!({ "supported_quantiles": quantiles, "computed_quantiles": histograms })
            }
            Self::Detailed => json!({ "supported_percentiles": quantiles, "details": histograms }),
            Self::Cumulative | Self::Disjoint => histograms.into(),
        }
    }

    /// Values up to each bound, or between it and the one before.
    fn counts<'a>(
        self,
        spread: &'a Spread,
        bounds: &'a [f64],
    ) -> impl Iterator<Item = (f64, u64)> + 'a {
        let mut below = 0;
        bounds.iter().map(move |bound| {
            let all = spread.at_most(*bound);
            let count = match self {
                Self::Disjoint => all.saturating_sub(below),
                _ => all,
            };
            below = all;
            (*bound, count)
        })
    }
}

/// A whole number without a point, as Envoy writes it.
fn number(value: f64) -> Value {
    const EXACT: f64 = 9e15;
    if value.fract() == 0.0 && (0.0..EXACT).contains(&value) {
        return Value::from(value as u64);
    }
    Value::from(value)
}

/// A bound with six digits at most.
fn short(bound: f64) -> String {
    if bound < 1e6 {
        return bound.to_string();
    }
    let text = format!("{bound:e}");
    match text.split_once('e') {
        Some((digits, power)) if power.len() < 2 => format!("{digits}e+0{power}"),
        Some((digits, power)) => format!("{digits}e+{power}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread() -> Spread {
        let bin = |lower, width, count| Bin {
            lower,
            width,
            count,
        };
        Spread {
            bins: vec![bin(0.0, 0.0, 2), bin(47.0, 1.0, 1)],
        }
    }

    #[test]
    fn texts_are_envoys() {
        let bounds = || [0.5, 50.0, 1_800_000.0].into();
        assert_eq!(
            Form::Cumulative.text(&spread(), bounds),
            " B0.5(0,2) B50(0,3) B1.8e+06(0,3)"
        );
        assert_eq!(
            Form::Disjoint.text(&spread(), bounds),
            " B0.5(0,2) B50(0,1) B1.8e+06(0,0)"
        );
        let text = Form::Detailed.text(&spread(), bounds);
        assert!(text.starts_with("\n  totals=0,0:2, 47,1:1\n  intervals=\n  summary=P0(nan,0) "));
        assert_eq!(
            Form::Summary.text(&Spread::default(), bounds),
            " No recorded values"
        );
    }

    #[test]
    fn json_is_envoys() {
        let bounds = || [0.5].into();
        let one = Form::Summary.json("a", &spread(), bounds);
        assert_eq!(
            one["values"][0],
            json!({ "cumulative": 0, "interval": null })
        );
        assert_eq!(one["values"][9]["cumulative"], json!(47.5));
        let whole = Form::Summary.whole(vec![one]);
        assert_eq!(whole["supported_quantiles"][7], json!(99.5));
        assert_eq!(whole["computed_quantiles"][0]["name"], "a");
        let one = Form::Disjoint.json("a", &spread(), bounds);
        let bucket = json!({ "upper_bound": 0.5, "interval": 0, "cumulative": 2 });
        assert_eq!(Form::Disjoint.whole(vec![one])[0]["buckets"][0], bucket);
        let one = Form::Detailed.json("a", &spread(), bounds);
        assert_eq!(
            one["totals"][1],
            json!({ "lower_bound": 47, "width": 1, "count": 1 })
        );
    }
}
