//! Retry policies.

use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_host_predicate::ConfigType;
use envoy_types::pb::envoy::config::route::v3::retry_policy::retry_priority::ConfigType as PriorityConfig;
use envoy_types::pb::envoy::extensions::retry::host::omit_canary_hosts::v3::OmitCanaryHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::host::omit_host_metadata::v3::OmitHostMetadataConfig;
use envoy_types::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use envoy_types::pb::envoy::extensions::retry::priority::previous_priorities::v3::PreviousPrioritiesConfig;
use envoy_types::pb::google::protobuf::Any;
use http::StatusCode;
use lateen_proxy_model::{
    Backoff, LabelValue, Labels, RateLimitedBackoff, ResetHeader, RetryOn, RetryPolicy,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, limit, number, unpack};
use super::matcher::{header_name, headers};
use super::subset;

/// Builds a retry policy.
pub(super) fn policy(
    at: &At<'_>,
    message: Option<wire::RetryPolicy>,
) -> Result<Option<Arc<RetryPolicy>>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let on = conditions(&at.field("retry_on"), &take(&mut message.retry_on))?;
    let place = at.field("per_try_idle_timeout");
    let per_try_idle = limit(&place, message.per_try_idle_timeout.take(), None)?;
    let list = at.field("retriable_request_headers");
    let request_headers = headers(&list, &take(&mut message.retriable_request_headers))?;
    let place = at.field("rate_limited_retry_back_off");
    let rate_limited = message
        .rate_limited_retry_back_off
        .take()
        .map(|it| rate_limited(&place, it))
        .transpose()?;
    let retries = number(message.num_retries.take()).unwrap_or(1);
    let place = at.field("per_try_timeout");
    let per_try_timeout = limit(&place, message.per_try_timeout.take(), None)?;
    let list = at.field("retry_host_predicate");
    let mut avoided = Avoided::default();
    for (index, predicate) in take(&mut message.retry_host_predicate)
        .into_iter()
        .enumerate()
    {
        avoided.add(&list.item(index), predicate)?;
    }
    let place = at.field("retry_priority");
    let avoid_priorities = message
        .retry_priority
        .take()
        .map(|it| previous_priorities(&place, it))
        .transpose()?;
    let attempts = take(&mut message.host_selection_retry_max_attempts);
    let list = at.field("retriable_status_codes");
    let statuses = statuses(&list, &take(&mut message.retriable_status_codes))?;
    let list = at.field("retriable_headers");
    let answers = headers(&list, &take(&mut message.retriable_headers))?;
    let backoff = backoff(&at.field("retry_back_off"), message.retry_back_off.take())?;
    nothing_left(at, &message)?;
    Ok(Some(Arc::new(RetryPolicy {
        on,
        retries,
        per_try_timeout,
        statuses,
        headers: answers,
        request_headers,
        per_try_idle,
        rate_limited,
        avoid_previous_hosts: avoided.previous,
        avoid_labels: avoided.labels,
        avoid_priorities,
        host_selection_attempts: u32::try_from(attempts).unwrap_or(0).max(1),
        backoff,
    })))
}

fn conditions(at: &At<'_>, text: &str) -> Result<RetryOn, Refused> {
    let mut on = RetryOn::default();
    let names = text.split(',').map(str::trim);
    for name in names.filter(|name| !name.is_empty()) {
        let known = RetryOn::named(name);
        let bit = known.ok_or_else(|| at.refuse(format!("condition {name:?} is not supported")))?;
        on = on.with(bit);
    }
    Ok(on)
}

fn rate_limited(
    at: &At<'_>,
    mut message: wire::retry_policy::RateLimitedRetryBackOff,
) -> Result<RateLimitedBackoff, Refused> {
    let list = at.field("reset_headers");
    let mut names = Vec::new();
    for (index, header) in take(&mut message.reset_headers).into_iter().enumerate() {
        use wire::retry_policy::ResetHeaderFormat;
        let at = list.item(index);
        names.push(ResetHeader {
            unix: header.format() == ResetHeaderFormat::UnixTimestamp,
            name: header_name(&at.field("name"), &header.name)?,
        });
    }
    if names.is_empty() {
        return Err(list.refuse("missing"));
    }
    let max = duration(&at.field("max_interval"), message.max_interval.take())?;
    Ok(RateLimitedBackoff {
        headers: names,
        max: max.unwrap_or(Duration::from_secs(300)),
    })
}

/// Endpoints that a retry leaves out.
#[derive(Default)]
struct Avoided {
    previous: bool,
    labels: Vec<Labels>,
}

impl Avoided {
    fn add(
        &mut self,
        at: &At<'_>,
        predicate: wire::retry_policy::RetryHostPredicate,
    ) -> Result<(), Refused> {
        let name = predicate.name;
        let packed = predicate
            .config_type
            .map(|ConfigType::TypedConfig(packed)| packed);
        let is = |holds: fn(&Any) -> bool, own: &str| match &packed {
            Some(packed) => holds(packed),
            None => name == own,
        };
        if is(
            any::holds::<PreviousHostsPredicate>,
            "envoy.retry_host_predicates.previous_hosts",
        ) {
            self.previous = true;
        } else if is(
            any::holds::<OmitCanaryHostsPredicate>,
            "envoy.retry_host_predicates.omit_canary_hosts",
        ) {
            let canary = ("canary".into(), LabelValue::Bool(true));
            self.labels.push(Labels(vec![canary]));
        } else if let Some(packed) = packed.filter(any::holds::<OmitHostMetadataConfig>) {
            let message: OmitHostMetadataConfig = unpack(at, &packed)?;
            self.labels.extend(subset::wanted(message.metadata_match));
        } else {
            return Err(at.refuse(format!("{name:?} is not supported")));
        }
        Ok(())
    }
}

/// After how many tries the priorities are looked at.
fn previous_priorities(
    at: &At<'_>,
    message: wire::retry_policy::RetryPriority,
) -> Result<u32, Refused> {
    match message.config_type {
        Some(PriorityConfig::TypedConfig(packed))
            if any::holds::<PreviousPrioritiesConfig>(&packed) =>
        {
            let message: PreviousPrioritiesConfig = unpack(at, &packed)?;
            u32::try_from(message.update_frequency)
                .ok()
                .filter(|every| *every > 0)
                .ok_or_else(|| at.field("update_frequency").refuse("must be above 0"))
        }
        _ => Err(at.refuse(format!("{:?} is not supported", message.name))),
    }
}

fn statuses(at: &At<'_>, codes: &[u32]) -> Result<Vec<StatusCode>, Refused> {
    codes
        .iter()
        .enumerate()
        .map(|(index, code)| {
            let status = u16::try_from(*code).ok();
            status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .ok_or_else(|| at.item(index).refuse(format!("{code} is no HTTP status")))
        })
        .collect()
}

/// Whether tries that take too long go on beside the next one. How many requests begin at once Envoy reads, and makes
/// one all the same.
pub(super) fn hedge(at: &At<'_>, mut message: wire::HedgePolicy) -> Result<bool, Refused> {
    message.initial_requests = None;
    message.additional_request_chance = None;
    let on = take(&mut message.hedge_on_per_try_timeout);
    nothing_left(at, &message)?;
    Ok(on)
}

/// 25 ms and ten times the base, unless said otherwise.
fn backoff(
    at: &At<'_>,
    message: Option<wire::retry_policy::RetryBackOff>,
) -> Result<Backoff, Refused> {
    let message = message.unwrap_or_default();
    let base = duration(&at.field("base_interval"), message.base_interval)?
        .unwrap_or(Duration::from_millis(25));
    let max = duration(&at.field("max_interval"), message.max_interval)?
        .unwrap_or_else(|| base.saturating_mul(10));
    if base.is_zero() || max < base {
        return Err(at.refuse("the base must be above 0 and at most the maximum"));
    }
    Ok(Backoff { base, max })
}
