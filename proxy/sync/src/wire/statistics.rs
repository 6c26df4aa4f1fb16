//! Which statistics are kept, the labels they have, and the buckets of histograms.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::metrics::v3 as wire;
use envoy_types::pb::envoy::config::metrics::v3::stats_matcher::StatsMatcher as MatcherKind;
use envoy_types::pb::envoy::config::metrics::v3::tag_specifier::TagValue;
use lateen_proxy_model::StringMatcher;
use lateen_proxy_telemetry::{StatsConfig, StatsMatcher, StatsTag};

use super::at::{At, Refused, nothing_left};
use super::common::flag;
use super::matcher::string;
use super::re2;

/// Most buckets of a histogram.
const BUCKETS: usize = 1024;

/// Reads what a bootstrap says of statistics.
pub(crate) fn read(
    at: &At<'_>,
    message: Option<wire::StatsConfig>,
) -> Result<StatsConfig, Refused> {
    let mut message = message.unwrap_or_default();
    let place = at.field("stats_tags");
    let tags = take(&mut message.stats_tags).into_iter().enumerate();
    let tags = tags.map(|(index, tag)| one_tag(&place.item(index), tag));
    let tags: Vec<Option<StatsTag>> = tags.collect::<Result<_, _>>()?;
    let place = at.field("histogram_bucket_settings");
    let buckets = take(&mut message.histogram_bucket_settings);
    let buckets = buckets.into_iter().enumerate();
    let buckets = buckets.map(|(index, one)| settings(&place.item(index), one));
    let made = StatsConfig {
        matcher: matcher(&at.field("stats_matcher"), message.stats_matcher.take())?,
        default_tags: flag(message.use_all_default_tags.take(), true),
        tags: tags.into_iter().flatten().collect(),
        buckets: buckets.collect::<Result<_, _>>()?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

fn matcher(
    at: &At<'_>,
    message: Option<wire::StatsMatcher>,
) -> Result<Option<StatsMatcher>, Refused> {
    let (include, list, name) = match message.and_then(|it| it.stats_matcher) {
        None | Some(MatcherKind::RejectAll(false)) => return Ok(None),
        Some(MatcherKind::RejectAll(true)) => (true, Vec::new(), "reject_all"),
        Some(MatcherKind::ExclusionList(list)) => (false, list.patterns, "exclusion_list"),
        Some(MatcherKind::InclusionList(list)) => (true, list.patterns, "inclusion_list"),
    };
    let place = at.field(name);
    let place = place.field("patterns");
    let patterns = list.iter().enumerate();
    let patterns = patterns.map(|(index, pattern)| string(&place.item(index), pattern));
    Ok(Some(StatsMatcher {
        include,
        patterns: patterns.collect::<Result<_, _>>()?,
    }))
}

/// `None` is a name alone, which asks for one of the labels that there are anyway.
fn one_tag(at: &At<'_>, tag: wire::TagSpecifier) -> Result<Option<StatsTag>, Refused> {
    if tag.tag_name.is_empty() && tag.tag_value.is_some() {
        return Err(at.field("tag_name").refuse("missing"));
    }
    Ok(match tag.tag_value {
        None => None,
        Some(TagValue::FixedValue(value)) => Some(StatsTag::fixed_value(&tag.tag_name, value)),
        Some(TagValue::Regex(text)) => {
            let place = at.field("regex");
            let pattern = re2::compile(&place, &text, false)?;
            if pattern.captures_len() < 2 {
                return Err(place.refuse("has no group that says what the value is"));
            }
            Some(StatsTag::found_by(&tag.tag_name, pattern))
        }
    })
}

type Buckets = (StringMatcher, Arc<[f64]>);

fn settings(at: &At<'_>, mut message: wire::HistogramBucketSettings) -> Result<Buckets, Refused> {
    let place = at.field("match");
    let matched = message.r#match.take();
    let matched = matched.ok_or_else(|| place.refuse("missing"))?;
    let matcher = string(&place, &matched)?;
    // How much memory Envoy's histograms take at first.
    message.bins = None;
    let place = at.field("buckets");
    let mut bounds = take(&mut message.buckets);
    nothing_left(at, &message)?;
    if bounds.is_empty() || bounds.len() > BUCKETS {
        return Err(place.refuse(format!("not between 1 and {BUCKETS}")));
    }
    if bounds
        .iter()
        .any(|bound| !bound.is_finite() || *bound <= 0.0)
    {
        return Err(place.refuse("not above 0"));
    }
    bounds.sort_by(f64::total_cmp);
    let count = bounds.len();
    bounds.dedup();
    if bounds.len() < count {
        return Err(place.refuse("a bound is given twice"));
    }
    Ok((matcher, bounds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_json(value: serde_json::Value) -> Result<StatsConfig, String> {
        let message = lateen_xds::json::message_from_json(&value).expect("a message");
        read(&At::ROOT, Some(message)).map_err(|refused| refused.to_string())
    }

    #[test]
    fn tags_and_buckets_are_read() {
        let made = read_json(serde_json::json!({
            "stats_tags": [
                { "tag_name": "place", "fixed_value": "x" },
                { "tag_name": "part", "regex": "^tcp\\.((\\w+)\\.)" },
                { "tag_name": "envoy.cluster_name" },
            ],
            "histogram_bucket_settings": [
                { "match": { "prefix": "cluster." }, "buckets": [10, 1.5] },
            ],
        }))
        .expect("supported");
        assert_eq!(made.tags.len(), 2);
        let (matcher, bounds) = &made.buckets[0];
        assert!(matcher.matches("cluster.a.b") && **bounds == [1.5, 10.0]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (value, text) in [
            (
                serde_json::json!({ "stats_tags": [{ "tag_name": "a", "regex": "b" }] }),
                "stats_tags[0].regex: has no group",
            ),
            (
                serde_json::json!({ "histogram_bucket_settings": [{ "match": { "exact": "a" }, "buckets": [0] }] }),
                "histogram_bucket_settings[0].buckets: not above 0",
            ),
            (
                serde_json::json!({ "histogram_bucket_settings": [{ "match": { "exact": "a" }, "buckets": [2, 2] }] }),
                "given twice",
            ),
        ] {
            let refused = read_json(value).expect_err("refused");
            assert!(refused.contains(text), "{refused}");
        }
    }
}
