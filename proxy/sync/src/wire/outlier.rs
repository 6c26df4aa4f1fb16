//! Passive health checks.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as wire;
use envoy_types::pb::google::protobuf::UInt32Value;
use lateen_proxy_model::{InARow, OutlierDetection, RateDetector};

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag, must_be_unset, number};

/// Reads the settings; without them nobody is ejected.
pub(super) fn read(
    at: &At<'_>,
    message: Option<wire::OutlierDetection>,
) -> Result<Option<OutlierDetection>, Refused> {
    let Some(mut message) = message else {
        return Ok(None);
    };
    let percent = |field: &str, value: Option<UInt32Value>, default: u32| {
        let value = number(value).unwrap_or(default);
        if value > 100 {
            return Err(at.field(field).refuse("above 100"));
        }
        Ok(value)
    };
    let row = |value: Option<UInt32Value>, enforcing: u32| InARow {
        limit: number(value).unwrap_or(5),
        enforcing,
    };
    let on_5xx = message.enforcing_consecutive_5xx.take();
    let on_5xx = percent("enforcing_consecutive_5xx", on_5xx, 100)?;
    let on_gateway = message.enforcing_consecutive_gateway_failure.take();
    let on_gateway = percent("enforcing_consecutive_gateway_failure", on_gateway, 0)?;
    let on_local = message.enforcing_consecutive_local_origin_failure.take();
    let on_local = percent("enforcing_consecutive_local_origin_failure", on_local, 100)?;
    let split_local = take(&mut message.split_external_local_origin_errors);
    let ([success_rate, local_success_rate], [failure_percentage, local_failure_percentage]) =
        rate_detectors(percent, &mut message)?;
    let degraded = message.detect_degraded_hosts.take();
    must_be_unset(&at.field("detect_degraded_hosts"), degraded)?;
    let time = |field: &str, value, default| {
        duration(&at.field(field), value).map(|value| value.unwrap_or(Duration::from_secs(default)))
    };
    let most = message.max_ejection_percent.take();
    let detection = OutlierDetection {
        consecutive_5xx: row(message.consecutive_5xx.take(), on_5xx),
        consecutive_gateway: row(message.consecutive_gateway_failure.take(), on_gateway),
        split_local,
        consecutive_local: row(message.consecutive_local_origin_failure.take(), on_local),
        success_rate,
        failure_percentage,
        local_success_rate: local_success_rate.filter(|_| split_local),
        local_failure_percentage: local_failure_percentage.filter(|_| split_local),
        interval: time("interval", message.interval.take(), 10)?,
        base_ejection_time: time("base_ejection_time", message.base_ejection_time.take(), 30)?,
        max_ejection_time: time("max_ejection_time", message.max_ejection_time.take(), 300)?,
        jitter: time(
            "max_ejection_time_jitter",
            message.max_ejection_time_jitter.take(),
            0,
        )?,
        max_ejection_percent: percent("max_ejection_percent", most, 10)?,
        always_eject_one: flag(message.always_eject_one_host.take(), false),
        uneject_by_check: flag(
            message.successful_active_health_check_uneject_host.take(),
            true,
        ),
    };
    nothing_left(at, &message)?;
    Ok(Some(detection))
}

type Detectors = [Option<RateDetector>; 2];

/// The detectors of success rate and of failure percentage, each for answers and for tries, unless they are off.
fn rate_detectors(
    percent: impl Fn(&str, Option<UInt32Value>, u32) -> Result<u32, Refused>,
    message: &mut wire::OutlierDetection,
) -> Result<(Detectors, Detectors), Refused> {
    let of = |value: Option<_>, default| number(value).unwrap_or(default);
    let threshold = message.failure_percentage_threshold.take();
    let success = RateDetector {
        min_hosts: of(message.success_rate_minimum_hosts.take(), 5),
        volume: of(message.success_rate_request_volume.take(), 100),
        bound: of(message.success_rate_stdev_factor.take(), 1900),
        enforcing: 0,
    };
    let failure = RateDetector {
        min_hosts: of(message.failure_percentage_minimum_hosts.take(), 5),
        volume: of(message.failure_percentage_request_volume.take(), 50),
        bound: percent("failure_percentage_threshold", threshold, 85)?,
        enforcing: 0,
    };
    let on = |one: RateDetector, field: &str, value, default| {
        let enforcing = percent(field, value, default)?;
        Ok::<_, Refused>((enforcing > 0).then_some(RateDetector { enforcing, ..one }))
    };
    let by_rate = message.enforcing_success_rate.take();
    let by_local_rate = message.enforcing_local_origin_success_rate.take();
    let by_failures = message.enforcing_failure_percentage.take();
    let by_local = message.enforcing_failure_percentage_local_origin.take();
    Ok((
        [
            on(success, "enforcing_success_rate", by_rate, 100)?,
            on(
                success,
                "enforcing_local_origin_success_rate",
                by_local_rate,
                100,
            )?,
        ],
        [
            on(failure, "enforcing_failure_percentage", by_failures, 0)?,
            on(
                failure,
                "enforcing_failure_percentage_local_origin",
                by_local,
                0,
            )?,
        ],
    ))
}
