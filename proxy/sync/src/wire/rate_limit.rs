//! Rate limits of virtual hosts, routes and filters.

use std::mem::take;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::rate_limit as part;
use envoy_types::pb::envoy::config::route::v3::rate_limit::action::ActionSpecifier;
use envoy_types::pb::envoy::config::route::v3::rate_limit::action::meta_data::Source;
use envoy_types::pb::envoy::config::route::v3::rate_limit::r#override::OverrideSpecifier;
use envoy_types::pb::envoy::config::route::v3::rate_limit::{XRateLimitOption, action};
use envoy_types::pb::envoy::r#type::matcher::v3::AddressMatcher;
use envoy_types::pb::envoy::r#type::metadata::v3::MetadataKey;
use envoy_types::pb::envoy::r#type::metadata::v3::metadata_key::path_segment::Segment;
use envoy_types::pb::envoy::r#type::v3::HttpStatus;
use http::StatusCode;
use ipnet::IpNet;
use lateen_proxy_model::{
    FixedEntry, HitsAddend, LimitOverride, LimitSource, MetadataPath, RateLimit, RateLimitAction,
    RateLimits,
};

use super::at::{At, Refused, nothing_left};
use super::common::{flag, must_be_off, number};
use super::matcher::{headers, queries, subject};

/// Highest stage.
const LAST_STAGE: u32 = 10;
/// A request counts at most this.
const MOST_HITS: u64 = 1_000_000_000;

/// Where rate limits stand: some fields have a meaning in one place alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On a virtual host or route.
    Route,
    /// In the settings of the local filter.
    LocalFilter,
    /// In the settings of the filter that asks a service.
    GlobalFilter,
}

/// Reads rate limits; `None` when there are none.
pub(super) fn rate_limits(
    at: &At<'_>,
    limits: Vec<wire::RateLimit>,
    place: Place,
) -> Result<Option<RateLimits>, Refused> {
    if limits.is_empty() {
        return Ok(None);
    }
    let read = limits
        .into_iter()
        .enumerate()
        .map(|(index, limit)| one(&at.item(index), limit, place))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Arc::from(read)))
}

/// A stage, 0 to 10.
pub(super) fn stage(at: &At<'_>, value: u32) -> Result<u32, Refused> {
    match value {
        0..=LAST_STAGE => Ok(value),
        _ => Err(at.refuse("not between 0 and 10")),
    }
}

/// The status of refusals: errors alone, others become `default`.
pub(super) fn status(
    at: &At<'_>,
    value: Option<HttpStatus>,
    default: StatusCode,
) -> Result<StatusCode, Refused> {
    let Some(value) = value else {
        return Ok(default);
    };
    let code = u16::try_from(value.code).ok();
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    match code {
        Some(code) if code.as_u16() >= 400 => Ok(code),
        Some(_) => Ok(default),
        None => Err(at
            .field("code")
            .refuse(format!("{} is no HTTP status", value.code))),
    }
}

fn one(at: &At<'_>, mut message: wire::RateLimit, place: Place) -> Result<RateLimit, Refused> {
    let own_stage = number(message.stage.take()).unwrap_or(0);
    if place != Place::Route {
        must_be_off(&at.field("stage"), own_stage != 0)?;
        must_be_off(&at.field("disable_key"), !message.disable_key.is_empty())?;
    }
    // The name of a runtime key that would switch the limit off.
    message.disable_key.clear();
    let list = at.field("actions");
    let actions = take(&mut message.actions)
        .into_iter()
        .enumerate()
        .map(|(index, action)| read_action(&list.item(index), action.action_specifier))
        .collect::<Result<Vec<_>, _>>()?;
    if actions.is_empty() {
        return Err(list.refuse("missing"));
    }
    let limit = limit(&at.field("limit"), message.limit.take(), place)?;
    let hits = hits(&at.field("hits_addend"), message.hits_addend.take(), place)?;
    let headers = match message.x_ratelimit_option() {
        XRateLimitOption::Unspecified => None,
        XRateLimitOption::Off => Some(false),
        XRateLimitOption::DraftVersion03 => Some(true),
    };
    message.x_ratelimit_option = 0;
    nothing_left(at, &message)?;
    Ok(RateLimit {
        stage: stage(&at.field("stage"), own_stage)?,
        actions,
        limit,
        hits,
        headers,
    })
}

fn limit(
    at: &At<'_>,
    message: Option<part::Override>,
    place: Place,
) -> Result<Option<LimitSource>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    must_be_off(at, place == Place::LocalFilter)?;
    match message.override_specifier {
        Some(OverrideSpecifier::RateLimit(fixed)) => Ok(Some(LimitSource::Fixed(LimitOverride {
            requests: fixed.requests_per_unit,
            unit: fixed.unit,
        }))),
        Some(OverrideSpecifier::DynamicMetadata(key)) => {
            let at = at.field("dynamic_metadata");
            let place = at.field("metadata_key");
            let path = metadata_path(&place, key.metadata_key)?;
            Ok(Some(LimitSource::Metadata(path)))
        }
        None => Err(at.refuse("empty")),
    }
}

fn hits(
    at: &At<'_>,
    message: Option<part::HitsAddend>,
    place: Place,
) -> Result<Option<HitsAddend>, Refused> {
    let Some(message) = message else {
        return Ok(None);
    };
    must_be_off(at, place == Place::Route)?;
    must_be_off(&at.field("format"), !message.format.is_empty())?;
    let negative = message.is_negative_hits;
    let local = place == Place::LocalFilter;
    must_be_off(&at.field("is_negative_hits"), negative && local)?;
    let hits = message.number.map_or(1, |number| number.value);
    if hits > MOST_HITS {
        return Err(at.field("number").refuse("more than 1000000000"));
    }
    Ok(Some(HitsAddend { hits, negative }))
}

fn read_action(at: &At<'_>, action: Option<ActionSpecifier>) -> Result<RateLimitAction, Refused> {
    Ok(match action.ok_or_else(|| at.refuse("empty"))? {
        ActionSpecifier::SourceCluster(_) => RateLimitAction::SourceCluster,
        ActionSpecifier::DestinationCluster(_) => RateLimitAction::DestinationCluster,
        ActionSpecifier::RemoteAddress(_) => RateLimitAction::RemoteAddress,
        ActionSpecifier::RequestHeaders(it) => {
            let at = at.field("request_headers");
            RateLimitAction::Header {
                name: subject(&at.field("header_name"), &it.header_name)?,
                key: named(&at.field("descriptor_key"), it.descriptor_key)?,
                skip_if_absent: it.skip_if_absent,
            }
        }
        ActionSpecifier::QueryParameters(it) => {
            let at = at.field("query_parameters");
            RateLimitAction::Query {
                name: named(&at.field("query_parameter_name"), it.query_parameter_name)?,
                key: named(&at.field("descriptor_key"), it.descriptor_key)?,
                skip_if_absent: it.skip_if_absent,
            }
        }
        ActionSpecifier::MaskedRemoteAddress(it) => {
            let at = at.field("masked_remote_address");
            RateLimitAction::MaskedRemoteAddress {
                v4: mask(&at, number(it.v4_prefix_mask_len), 32)?,
                v6: mask(&at, number(it.v6_prefix_mask_len), 128)?,
            }
        }
        ActionSpecifier::GenericKey(it) => {
            let at = at.field("generic_key");
            let texts = (it.descriptor_key, it.descriptor_value, it.default_value);
            RateLimitAction::Generic(fixed(&at, texts, "generic_key")?)
        }
        ActionSpecifier::HeaderValueMatch(it) => {
            let at = at.field("header_value_match");
            let texts = (it.descriptor_key, it.descriptor_value, it.default_value);
            RateLimitAction::HeaderMatch {
                entry: fixed(&at, texts, "header_match")?,
                expect: flag(it.expect_match, true),
                headers: headers(&at.field("headers"), &it.headers)?,
            }
        }
        ActionSpecifier::QueryParameterValueMatch(it) => {
            let at = at.field("query_parameter_value_match");
            let texts = (it.descriptor_key, it.descriptor_value, it.default_value);
            RateLimitAction::QueryMatch {
                entry: fixed(&at, texts, "query_match")?,
                expect: flag(it.expect_match, true),
                query: queries(&at.field("query_parameters"), &it.query_parameters)?,
            }
        }
        ActionSpecifier::RemoteAddressMatch(it) => {
            let at = at.field("remote_address_match");
            let texts = (it.descriptor_key, it.descriptor_value, it.default_value);
            let matcher = it.address_matcher.unwrap_or_default();
            RateLimitAction::RemoteAddressMatch {
                entry: fixed(&at, texts, "remote_address_match")?,
                invert: matcher.invert_match,
                networks: networks(&at.field("address_matcher"), matcher)?,
            }
        }
        ActionSpecifier::Metadata(it) => metadata(&at.field("metadata"), it)?,
        #[allow(deprecated, reason = "older configurations use it")]
        ActionSpecifier::DynamicMetadata(it) => RateLimitAction::Metadata {
            at: metadata_path(
                &at.field("dynamic_metadata").field("metadata_key"),
                it.metadata_key,
            )?,
            key: named(&at.field("dynamic_metadata"), it.descriptor_key)?,
            default: it.default_value.into(),
            skip_if_absent: false,
        },
        ActionSpecifier::Extension(_) => return Err(at.field("extension").unsupported()),
    })
}

fn metadata(at: &At<'_>, it: action::MetaData) -> Result<RateLimitAction, Refused> {
    // Metadata of routes and clusters is not kept.
    must_be_off(&at.field("source"), it.source() != Source::Dynamic)?;
    Ok(RateLimitAction::Metadata {
        at: metadata_path(&at.field("metadata_key"), it.metadata_key)?,
        key: named(&at.field("descriptor_key"), it.descriptor_key)?,
        default: it.default_value.into(),
        skip_if_absent: it.skip_if_absent,
    })
}

fn metadata_path(at: &At<'_>, key: Option<MetadataKey>) -> Result<MetadataPath, Refused> {
    let key = key.ok_or_else(|| at.refuse("missing"))?;
    let list = at.field("path");
    let mut path = Vec::with_capacity(key.path.len());
    for (index, one) in key.path.into_iter().enumerate() {
        match one.segment {
            Some(Segment::Key(name)) => path.push(name.into_boxed_str()),
            Some(_) => return Err(list.item(index).unsupported()),
            None => return Err(list.item(index).refuse("empty")),
        }
    }
    if path.is_empty() {
        return Err(list.refuse("missing"));
    }
    Ok(MetadataPath {
        filter: key.key.into(),
        path,
    })
}

/// Key and value of a fixed entry. Values are literals: Envoy reads them as formats only where a runtime key says so.
fn fixed(
    at: &At<'_>,
    (key, value, default): (String, String, String),
    name: &str,
) -> Result<FixedEntry, Refused> {
    must_be_off(&at.field("default_value"), !default.is_empty())?;
    let key = match key.is_empty() {
        true => name.into(),
        false => key.into_boxed_str(),
    };
    Ok(FixedEntry {
        key,
        value: named(&at.field("descriptor_value"), value)?,
    })
}

fn named(at: &At<'_>, text: String) -> Result<Box<str>, Refused> {
    match text.is_empty() {
        true => Err(at.refuse("missing")),
        false => Ok(text.into()),
    }
}

fn mask(at: &At<'_>, length: Option<u32>, most: u8) -> Result<u8, Refused> {
    match u8::try_from(length.unwrap_or(most.into())) {
        Ok(length) if length <= most => Ok(length),
        _ => Err(at.refuse(format!("a network of more than {most} bits"))),
    }
}

fn networks(at: &At<'_>, matcher: AddressMatcher) -> Result<Vec<IpNet>, Refused> {
    let list = at.field("ranges");
    let read = |(index, range): (usize, envoy_types::pb::xds::core::v3::CidrRange)| {
        let length = u8::try_from(number(range.prefix_len).unwrap_or(0)).ok();
        let ip = range.address_prefix.parse().ok();
        ip.zip(length)
            .and_then(|(ip, length)| IpNet::new(ip, length).ok())
            .map(|net| net.trunc())
            .ok_or_else(|| list.item(index).refuse("no valid address range"))
    };
    matcher.ranges.into_iter().enumerate().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic() -> wire::RateLimit {
        wire::RateLimit {
            actions: vec![part::Action {
                action_specifier: Some(ActionSpecifier::GenericKey(action::GenericKey {
                    descriptor_value: "v".into(),
                    ..action::GenericKey::default()
                })),
            }],
            ..wire::RateLimit::default()
        }
    }

    fn read(limit: wire::RateLimit, place: Place) -> Result<Option<RateLimits>, String> {
        rate_limits(&At::ROOT, vec![limit], place).map_err(|error| error.path)
    }

    #[test]
    fn keys_have_their_defaults() {
        let limits = read(generic(), Place::Route).unwrap().unwrap();
        assert!(
            matches!(&limits[0].actions[0], RateLimitAction::Generic(entry) if &*entry.key == "generic_key" && &*entry.value == "v")
        );
        assert!(
            rate_limits(&At::ROOT, Vec::new(), Place::Route)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn fields_without_meaning_in_a_place_are_refused_there() {
        let staged = wire::RateLimit {
            stage: Some(envoy_types::pb::google::protobuf::UInt32Value { value: 1 }),
            ..generic()
        };
        assert!(read(staged.clone(), Place::Route).is_ok());
        assert_eq!(read(staged, Place::LocalFilter).unwrap_err(), "[0].stage");
        let hits = wire::RateLimit {
            hits_addend: Some(part::HitsAddend::default()),
            ..generic()
        };
        assert!(read(hits.clone(), Place::LocalFilter).is_ok());
        assert_eq!(read(hits, Place::Route).unwrap_err(), "[0].hits_addend");
        let empty = wire::RateLimit::default();
        assert_eq!(read(empty, Place::Route).unwrap_err(), "[0].actions");
    }
}
