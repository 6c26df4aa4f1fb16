//! Webhooks that lead to a control plane outside of the cluster.

use std::net::IpAddr;

use k8s_openapi::api::admissionregistration::v1::WebhookClientConfig;
use lateen_api::object::{Kind, Object};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "externalcontrolplane.ExternalControlPlaneAnalyzer",
    description: "Webhooks whose address of an external control plane cannot be used",
    inputs: &[
        Input::Kind(Kind::ValidatingWebhookConfiguration),
        Input::Kind(Kind::MutatingWebhookConfiguration),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

fn run(cluster: &Cluster, messages: &mut Messages) {
    for object in cluster.given(Kind::ValidatingWebhookConfiguration) {
        let name = object.key.name.as_str();
        if name != "istiod-default-validator" && !name.starts_with("istio-validator") {
            continue;
        }
        let webhooks = object
            .spec
            .as_validating_webhook_configuration()
            .and_then(|configuration| configuration.webhooks.as_ref());
        for (number, webhook) in webhooks.into_iter().flatten().enumerate() {
            check(
                object,
                (number, &webhook.name),
                &webhook.client_config,
                messages,
            );
        }
    }
    for object in cluster.given(Kind::MutatingWebhookConfiguration) {
        if !object.key.name.starts_with("istio-sidecar-injector") {
            continue;
        }
        let webhooks = object
            .spec
            .as_mutating_webhook_configuration()
            .and_then(|configuration| configuration.webhooks.as_ref());
        for (number, webhook) in webhooks.into_iter().flatten().enumerate() {
            check(
                object,
                (number, &webhook.name),
                &webhook.client_config,
                messages,
            );
        }
    }
}

fn check(
    object: &Object,
    (number, name): (usize, &str),
    client: &WebhookClientConfig,
    messages: &mut Messages,
) {
    let field = format!("webhooks[{number}].clientConfig");
    let url = match client.url.as_deref() {
        None if client.service.is_some() => return,
        url => url.unwrap_or_default(),
    };
    match host(url) {
        Err(problem) => messages.field(
            code::INVALID_EXTERNAL_CONTROL_PLANE_CONFIG,
            object,
            &field,
            format!("the address `{url}` of the control plane in the webhook {name} {problem}: write a URL such as https://istiod.example.com:15017/inject"),
        ),
        Ok(host) if host.parse::<IpAddr>().is_ok() => messages.field(
            code::EXTERNAL_CONTROL_PLANE_ADDRESS_IS_NOT_AHOSTNAME,
            object,
            &field,
            format!("the address `{host}` of the control plane in the webhook {name} is not a host name: use one, for which certificates are easier to have"),
        ),
        Ok(_) => {}
    }
}

/// The host of a URL, without port and brackets.
fn host(url: &str) -> Result<&str, &'static str> {
    if url.is_empty() {
        return Err("is blank");
    }
    if url.chars().any(|c| c.is_control() || c == ' ') {
        return Err("has letters that no URL has");
    }
    let (_, rest) = url.split_once("://").ok_or("is not a URL")?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or("has a bracket that is not closed")?;
        (host, rest.strip_prefix(':').unwrap_or(rest))
    } else {
        authority.split_once(':').unwrap_or((authority, ""))
    };
    if port.bytes().any(|byte| !byte.is_ascii_digit()) {
        return Err("has a port that is not a number");
    }
    if host.is_empty() {
        return Err("has no host");
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_hosts() {
        for (url, expected) in [
            (
                "https://istiod.example.com:15017/inject",
                Ok("istiod.example.com"),
            ),
            ("https://10.0.0.1/inject", Ok("10.0.0.1")),
            ("https://user@[fd00::1]:15017?x", Ok("fd00::1")),
            ("", Err("is blank")),
            ("istiod.example.com", Err("is not a URL")),
            ("https:///inject", Err("has no host")),
            ("https://a:b/", Err("has a port that is not a number")),
            ("https://[::1", Err("has a bracket that is not closed")),
            ("https://a b/", Err("has letters that no URL has")),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
