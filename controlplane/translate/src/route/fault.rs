//! Faults and cross-origin rules, as configuration of their filters on a route.

use std::collections::HashMap;

use envoy_types::pb::envoy::extensions::filters::common::fault::v3::{FaultDelay, fault_delay};
use envoy_types::pb::envoy::extensions::filters::http::cors::v3::CorsPolicy as CorsConfig;
use envoy_types::pb::envoy::extensions::filters::http::fault::v3::{
    FaultAbort, HttpFault, fault_abort,
};
use lateen_api::networking::{
    CorsPolicy, HttpAbortError, HttpDelayDuration, HttpFaultInjection, HttpRoute,
    UnmatchedPreflights,
};

use super::matches;
use crate::pb::{Any, core, kind};
use crate::wire::{exact, flag, pack, per_million, span};

/// gRPC status names in the order of their codes.
const GRPC: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Configuration of the fault and CORS filters for a route.
pub(super) fn per_filter(route: &HttpRoute) -> HashMap<String, Any> {
    let mut out = HashMap::new();
    if let Some(fault) = route
        .fault
        .as_ref()
        .map(fault)
        .filter(|fault| *fault != HttpFault::default())
    {
        out.insert("envoy.filters.http.fault".to_owned(), pack(&fault));
    }
    if let Some(cors) = &route.cors_policy {
        out.insert(
            "envoy.filters.http.cors".to_owned(),
            pack(&cross_origin(cors)),
        );
    }
    out
}

/// The code of a gRPC status by name or number.
pub(crate) fn grpc_code(text: &str) -> Option<u32> {
    let by_name = GRPC.iter().position(|name| name.eq_ignore_ascii_case(text));
    by_name
        .and_then(|code| u32::try_from(code).ok())
        .or_else(|| text.parse().ok().filter(|code| *code <= 16))
}

fn fault(wanted: &HttpFaultInjection) -> HttpFault {
    let delay = wanted.delay.as_ref().and_then(|delay| {
        let Some(HttpDelayDuration::Fixed(time)) = delay.http_delay_type else {
            return None;
        };
        let percent = delay
            .percentage
            .as_ref()
            .map_or(f64::from(delay.percent), |percent| percent.value);
        Some(FaultDelay {
            percentage: Some(per_million(percent)),
            fault_delay_secifier: span(time).map(fault_delay::FaultDelaySecifier::FixedDelay),
        })
    });
    let abort = wanted.abort.as_ref().and_then(|abort| {
        let error_type = match abort.error_type.as_ref()? {
            HttpAbortError::HttpStatus(status) => {
                fault_abort::ErrorType::HttpStatus(http_status(*status)?)
            }
            HttpAbortError::GrpcStatus(status) => {
                fault_abort::ErrorType::GrpcStatus(grpc_code(status)?)
            }
            HttpAbortError::Http2Error(_) => return None,
        };
        let percent = abort
            .percentage
            .as_ref()
            .map_or(0.0, |percent| percent.value);
        Some(FaultAbort {
            percentage: Some(per_million(percent)),
            error_type: Some(error_type),
            ..Default::default()
        })
    });
    HttpFault {
        delay,
        abort,
        ..Default::default()
    }
}

/// A status code that a proxy can answer with.
pub(crate) fn http_status(status: i32) -> Option<u32> {
    u32::try_from(status)
        .ok()
        .filter(|status| (200..600).contains(status))
}

fn cross_origin(wanted: &CorsPolicy) -> CorsConfig {
    let mut origins: Vec<_> = wanted
        .allow_origins
        .iter()
        .filter_map(|origin| matches::text(origin).flatten())
        .collect();
    if wanted.allow_origins.is_empty() {
        origins = wanted
            .allow_origin
            .iter()
            .map(|origin| exact(origin))
            .collect();
    }
    let all = kind::FractionalPercent {
        numerator: 100,
        denominator: 0,
    };
    CorsConfig {
        allow_origin_string_match: origins,
        allow_methods: wanted.allow_methods.join(","),
        allow_headers: wanted.allow_headers.join(","),
        expose_headers: wanted.expose_headers.join(","),
        max_age: wanted
            .max_age
            .map(|age| age.as_secs().to_string())
            .unwrap_or_default(),
        allow_credentials: wanted.allow_credentials.and_then(flag),
        filter_enabled: Some(core::RuntimeFractionalPercent {
            default_value: Some(all),
            runtime_key: String::new(),
        }),
        forward_not_matching_preflights: flag(
            wanted.unmatched_preflights != UnmatchedPreflights::Ignore,
        ),
        ..Default::default()
    }
}
