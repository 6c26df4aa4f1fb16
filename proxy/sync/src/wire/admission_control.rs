//! Admission control.

use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::http::admission_control::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::http::admission_control::v3::admission_control::EvaluationCriteria;
use lateen_proxy_model::AdmissionControl;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, flag};

/// How far back answers count.
const WINDOW: Duration = Duration::from_secs(30);
/// Shares in percent.
const SUCCESSES: f64 = 95.0;
const REJECTIONS: f64 = 80.0;

/// The filter. There is no runtime that could change its values, so keys of it mean nothing.
pub(super) fn read(
    at: &At<'_>,
    mut message: wire::AdmissionControl,
) -> Result<AdmissionControl, Refused> {
    let enabled = message.enabled.take().and_then(|it| it.default_value);
    let place = at.field("sampling_window");
    let window = duration(&place, message.sampling_window.take())?.unwrap_or(WINDOW);
    let aggression = message.aggression.take().map_or(1.0, |it| it.default_value);
    let threshold = message.sr_threshold.take().and_then(|it| it.default_value);
    let threshold = threshold.map_or(SUCCESSES, |it| it.value);
    let place = at.field("sr_threshold");
    if !(1.0..=100.0).contains(&threshold) {
        return Err(place.refuse("not between 1 and 100"));
    }
    let rejection = message.max_rejection_probability.take();
    let rejection = rejection.and_then(|it| it.default_value);
    let rejection = rejection.map_or(REJECTIONS, |it| it.value);
    if !(0.0..=100.0).contains(&rejection) {
        let place = at.field("max_rejection_probability");
        return Err(place.refuse("not between 0 and 100"));
    }
    let criteria = match message.evaluation_criteria.take() {
        Some(EvaluationCriteria::SuccessCriteria(criteria)) => criteria,
        None => return Err(at.field("success_criteria").refuse("missing")),
    };
    let (http, grpc) = successes(&at.field("success_criteria"), criteria)?;
    let made = AdmissionControl {
        enabled: flag(enabled, true),
        // Whole seconds count.
        window: Duration::from_secs(window.as_secs().max(1)),
        aggression: if aggression > 1.0 { aggression } else { 1.0 },
        success_threshold: threshold / 100.0,
        rps_threshold: message
            .rps_threshold
            .take()
            .map_or(0, |it| it.default_value),
        max_rejection: rejection / 100.0,
        http,
        grpc,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Ranges of HTTP statuses, and a bit for each gRPC status.
type Successes = (Vec<(u16, u16)>, u32);

fn successes(
    at: &At<'_>,
    criteria: wire::admission_control::SuccessCriteria,
) -> Result<Successes, Refused> {
    let http = match criteria.http_criteria {
        None => vec![(0, 500)],
        Some(own) => {
            let place = at.field("http_criteria");
            let list = place.field("http_success_status");
            let ranges = own.http_success_status.iter().enumerate();
            let ranges = ranges.map(|(index, range)| {
                let known = 100..=600;
                match (u16::try_from(range.start), u16::try_from(range.end)) {
                    (Ok(start), Ok(end))
                        if start <= end && known.contains(&start) && known.contains(&end) =>
                    {
                        Ok((start, end))
                    }
                    _ => Err(list.item(index).refuse("no range of statuses")),
                }
            });
            ranges.collect::<Result<_, _>>()?
        }
    };
    let Some(own) = criteria.grpc_criteria else {
        return Ok((http, AdmissionControl::GRPC_SUCCESSES));
    };
    let mut grpc = 0;
    for code in own.grpc_success_status {
        if code > 16 {
            let place = at.field("grpc_criteria");
            let text = format!("{code} is no gRPC status");
            return Err(place.field("grpc_success_status").refuse(text));
        }
        grpc |= 1 << code;
    }
    Ok((http, grpc))
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::envoy::r#type::v3::Int32Range;
    use wire::admission_control::SuccessCriteria;
    use wire::admission_control::success_criteria::{GrpcCriteria, HttpCriteria};

    fn criteria(range: (i32, i32), code: u32) -> wire::AdmissionControl {
        let (start, end) = range;
        wire::AdmissionControl {
            evaluation_criteria: Some(EvaluationCriteria::SuccessCriteria(SuccessCriteria {
                http_criteria: Some(HttpCriteria {
                    http_success_status: vec![Int32Range { start, end }],
                }),
                grpc_criteria: Some(GrpcCriteria {
                    grpc_success_status: vec![code],
                }),
            })),
            ..wire::AdmissionControl::default()
        }
    }

    #[test]
    fn defaults_and_criteria() {
        let made = read(&At::ROOT, criteria((200, 300), 3)).expect("valid");
        assert_eq!((made.http, made.grpc), (vec![(200, 300)], 8));
        assert!(made.enabled && made.window == WINDOW && made.rps_threshold == 0);
        for (message, path) in [
            (
                criteria((200, 700), 3),
                "success_criteria.http_criteria.http_success_status[0]",
            ),
            (
                criteria((200, 300), 17),
                "success_criteria.grpc_criteria.grpc_success_status",
            ),
            (wire::AdmissionControl::default(), "success_criteria"),
        ] {
            let refused = read(&At::ROOT, message).map_err(|it| it.path);
            assert_eq!(refused.err().as_deref(), Some(path));
        }
    }
}
