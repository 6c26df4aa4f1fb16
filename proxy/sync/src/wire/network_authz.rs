//! External authorisation of connections.

use std::mem::take;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz;
use lateen_proxy_model::{FilterStats, NetworkAuthz};

use super::at::{At, Refused, nothing_left};
use super::context::Context;
use super::{metadata_matcher, service};

/// Time for an answer.
const TIMEOUT: Duration = Duration::from_millis(200);

/// The filter.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: ExtAuthz,
) -> Result<NetworkAuthz, Refused> {
    // v3 is the only version there is.
    message.transport_api_version = 0;
    let prefix = take(&mut message.stat_prefix);
    if prefix.is_empty() {
        return Err(at.field("stat_prefix").refuse("missing"));
    }
    let place = at.field("filter_enabled_metadata");
    let enabled = message.filter_enabled_metadata.take();
    let enabled = enabled.map(|matcher| metadata_matcher::metadata(&place, &matcher));
    let place = at.field("grpc_service");
    let service = service::grpc(context, &place, message.grpc_service.take())?;
    let namespaces = take(&mut message.metadata_context_namespaces);
    let made = NetworkAuthz {
        timeout: service.timeout.or(Some(TIMEOUT)),
        service,
        failure_mode_allow: take(&mut message.failure_mode_allow),
        peer_certificate: take(&mut message.include_peer_certificate),
        tls_session: take(&mut message.include_tls_session),
        enabled_metadata: enabled.transpose()?,
        metadata_namespaces: namespaces.into_iter().map(Into::into).collect(),
        shadow: take(&mut message.shadow_mode),
        stats: FilterStats::new(format!("ext_authz.{prefix}."), &NetworkAuthz::COUNTERS),
    };
    nothing_left(at, &message)?;
    Ok(made)
}
