//! hyper's errors as reset reasons.

use std::error::Error;

use h2::Reason;
use lateen_proxy_model::ResetReason;

/// Why a request that was handed to a connection got no answer (or the rest of it).
pub(crate) fn reset_reason(error: &hyper::Error) -> ResetReason {
    if let Some(error) = h2_error(error) {
        return match error.reason() {
            _ if error.is_io() => ResetReason::ConnectionTermination,
            Some(Reason::REFUSED_STREAM) => ResetReason::RemoteRefused,
            // Streams above the last one of a graceful GOAWAY were never looked at.
            Some(Reason::NO_ERROR) if error.is_go_away() => ResetReason::RemoteRefused,
            _ if error.is_go_away() => ResetReason::ConnectionTermination,
            _ if error.is_remote() => ResetReason::RemoteReset,
            _ => ResetReason::ProtocolError,
        };
    }
    if error.is_parse() || is_cut_body(error) {
        ResetReason::ProtocolError
    } else if error.is_user() {
        ResetReason::LocalReset
    } else {
        ResetReason::ConnectionTermination
    }
}

/// The connection ended within the length or chunk that the answer had promised.
fn is_cut_body(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref());
    cause.is_some_and(|cause: &std::io::Error| cause.kind() == std::io::ErrorKind::UnexpectedEof)
}

fn h2_error(error: &hyper::Error) -> Option<&h2::Error> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}
