//! Conditions on dynamic metadata.

use envoy_types::pb::envoy::r#type::matcher::v3 as wire;
use envoy_types::pb::envoy::r#type::matcher::v3::double_matcher::MatchPattern as DoublePattern;
use envoy_types::pb::envoy::r#type::matcher::v3::list_matcher::MatchPattern as ListPattern;
use envoy_types::pb::envoy::r#type::matcher::v3::metadata_matcher::path_segment::Segment;
use envoy_types::pb::envoy::r#type::matcher::v3::value_matcher::MatchPattern;
use lateen_proxy_model::{MetadataMatcher, ValueMatcher};

use super::at::{At, Refused};
use super::matcher::string;

/// Conditions within conditions, at most.
const DEPTH: usize = 16;

/// A condition on dynamic metadata.
pub(super) fn metadata(
    at: &At<'_>,
    message: &wire::MetadataMatcher,
) -> Result<MetadataMatcher, Refused> {
    let place = at.field("path");
    let path: Vec<Box<str>> = message
        .path
        .iter()
        .map(|segment| match &segment.segment {
            Some(Segment::Key(key)) => Ok(key.as_str().into()),
            None => Err(place.refuse("empty segment")),
        })
        .collect::<Result<_, _>>()?;
    if path.is_empty() {
        return Err(place.refuse("missing"));
    }
    let place = at.field("value");
    let condition = message.value.as_ref();
    let condition = condition.ok_or_else(|| place.refuse("missing"))?;
    Ok(MetadataMatcher {
        namespace: message.filter.as_str().into(),
        path,
        value: value(&place, condition, DEPTH)?,
        invert: message.invert,
    })
}

fn value(at: &At<'_>, message: &wire::ValueMatcher, depth: usize) -> Result<ValueMatcher, Refused> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(at.refuse("too deep"));
    };
    Ok(match &message.match_pattern {
        Some(MatchPattern::NullMatch(_)) => ValueMatcher::Null,
        Some(MatchPattern::DoubleMatch(double)) => match &double.match_pattern {
            Some(DoublePattern::Exact(number)) => ValueMatcher::Number(*number),
            Some(DoublePattern::Range(range)) => ValueMatcher::Range {
                start: range.start,
                end: range.end,
            },
            None => return Err(at.field("double_match").refuse("empty")),
        },
        Some(MatchPattern::StringMatch(text)) => {
            ValueMatcher::Text(string(&at.field("string_match"), text)?)
        }
        Some(MatchPattern::BoolMatch(wanted)) => ValueMatcher::Bool(*wanted),
        Some(MatchPattern::PresentMatch(wanted)) => ValueMatcher::Present(*wanted),
        Some(MatchPattern::ListMatch(list)) => {
            let at = at.field("list_match");
            match &list.match_pattern {
                Some(ListPattern::OneOf(one)) => {
                    ValueMatcher::OneOf(Box::new(value(&at.field("one_of"), one, depth)?))
                }
                None => return Err(at.refuse("empty")),
            }
        }
        Some(MatchPattern::OrMatch(any)) => {
            let list = at.field("or_match");
            let any = any.value_matchers.iter().enumerate();
            let any = any.map(|(index, one)| value(&list.item(index), one, depth));
            ValueMatcher::Any(any.collect::<Result<_, _>>()?)
        }
        None => return Err(at.refuse("no condition")),
    })
}
