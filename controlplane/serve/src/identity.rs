//! The node of a stream: read, and held against who the caller really is.

use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::Node;
use lateen_controlplane_model::caller::Caller;
use lateen_controlplane_model::proxy::Proxy;
use lateen_xds::node::MAX_NODE_BYTES;
use lateen_xds::structs;
use prost::Message;
use serde_json::{Map, Value};
use tonic::Status;

/// Reads the proxy of a node and checks that the caller may speak for it.
///
/// Namespace and service account must be the caller's own; without a caller (plain text, where no secret is served) there is
/// nothing to hold them against.
pub(crate) fn proxy(node: &Node, caller: Option<&Caller>) -> Result<Proxy, Status> {
    if node.encoded_len() > MAX_NODE_BYTES {
        return Err(Status::invalid_argument(format!(
            "node is larger than {MAX_NODE_BYTES} bytes"
        )));
    }
    let mut proxy = Proxy::parse(&node.id, metadata(node)?, &node.cluster, &locality(node))
        .map_err(|e| Status::invalid_argument(e.to_string()))?;
    let Some(caller) = caller else {
        return Ok(proxy);
    };
    let own = caller.id.namespace();
    let named = proxy
        .name
        .rsplit_once('.')
        .map_or("", |(_, namespace)| namespace);
    if &*proxy.namespace != own || named != own {
        return Err(Status::permission_denied(format!(
            "{caller} may not speak for {} of namespace {:?}",
            proxy.name, proxy.namespace
        )));
    }
    if proxy.service_account.is_empty() {
        proxy.service_account = caller.id.service_account().into();
    }
    if &*proxy.service_account != caller.id.service_account() {
        return Err(Status::permission_denied(format!(
            "{caller} may not speak for service account {:?}",
            proxy.service_account
        )));
    }
    Ok(proxy)
}

/// `ISTIO_VERSION` and the like of a node that is no proxy, such as a debug client's.
pub(crate) fn metadata(node: &Node) -> Result<Map<String, Value>, Status> {
    let Some(fields) = &node.metadata else {
        return Ok(Map::new());
    };
    match structs::to_json(fields)
        .map_err(|e| Status::invalid_argument(format!("node metadata: {e}")))?
    {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

fn locality(node: &Node) -> String {
    let Some(locality) = &node.locality else {
        return String::new();
    };
    let parts =
        [&locality.region, &locality.zone, &locality.sub_zone].map(|part| part.replace('/', ""));
    parts.join("/").trim_end_matches('/').to_owned()
}

/// A proxy shared between its stream and the pages that show it.
pub(crate) type SharedProxy = Arc<Proxy>;

#[cfg(test)]
mod tests {
    use lateen_api::identity::SpiffeId;
    use lateen_controlplane_model::caller::CallerSource;
    use serde_json::json;
    use tonic::Code;

    use super::*;

    fn node(id: &str, metadata: Value) -> Node {
        Node {
            id: id.into(),
            metadata: Some(structs::from_json(&metadata).expect("struct")),
            ..Node::default()
        }
    }

    fn caller(namespace: &str, account: &str) -> Caller {
        Caller {
            id: SpiffeId::new("cluster.local", namespace, account).expect("id"),
            source: CallerSource::Token,
        }
    }

    #[test]
    fn a_proxy_speaks_for_itself_alone() {
        let id = "sidecar~10.0.0.1~web-1.shop~shop.svc.cluster.local";
        let check = |id: &str, metadata: Value, caller: Option<&Caller>| {
            proxy(&node(id, metadata), caller).map_err(|e| e.code())
        };
        let web = caller("shop", "web");
        assert!(
            check(
                id,
                json!({"NAMESPACE": "shop", "SERVICE_ACCOUNT": "web"}),
                Some(&web)
            )
            .is_ok()
        );
        assert_eq!(
            &*check(id, json!({}), Some(&web))
                .expect("claims nothing")
                .service_account,
            "web"
        );
        assert!(check(id, json!({"NAMESPACE": "bank"}), None).is_ok());
        for (id, metadata) in [
            (id, json!({"NAMESPACE": "bank"})),
            (id, json!({"SERVICE_ACCOUNT": "admin"})),
            (
                "sidecar~10.0.0.1~web-1.bank~bank.svc.cluster.local",
                json!({}),
            ),
            (
                "sidecar~10.0.0.1~web-1.bank~bank.svc.cluster.local",
                json!({"NAMESPACE": "shop"}),
            ),
        ] {
            assert_eq!(
                check(id, metadata, Some(&web)).err(),
                Some(Code::PermissionDenied),
                "{id}"
            );
        }
        assert_eq!(
            check("nonsense", json!({}), Some(&web)).err(),
            Some(Code::InvalidArgument)
        );
        let big = json!({"X": "x".repeat(MAX_NODE_BYTES)});
        assert_eq!(
            check(id, big, Some(&web)).err(),
            Some(Code::InvalidArgument)
        );
    }
}
