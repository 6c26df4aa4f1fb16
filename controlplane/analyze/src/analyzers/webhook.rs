//! Webhooks that inject sidecars: several for one pod, and those that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::admissionregistration::v1::MutatingWebhook;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use lateen_api::labels::label;
use lateen_api::object::{Kind, Object};

use super::Analyzer;
use crate::cluster::{Cluster, Input};
use crate::code;
use crate::message::Messages;
use crate::selectors::label_selector_selects;

pub(super) const ANALYZER: Analyzer = Analyzer {
    name: "webhook.Analyzer",
    description: "Injection webhooks that overlap or lead to no Service",
    inputs: &[
        Input::Kind(Kind::MutatingWebhookConfiguration),
        Input::Kind(Kind::Service),
    ],
    run: |cluster, _, messages| run(cluster, messages),
};

/// A webhook, with the object that it stands in.
struct Webhook<'a> {
    object: &'a Object,
    number: usize,
    webhook: &'a MutatingWebhook,
    /// `<object>/<webhook>`.
    name: String,
    /// Which of the labels that namespaces may have it selects, and which of those that pods may have.
    selects: [Vec<bool>; 2],
}

fn run(cluster: &Cluster, messages: &mut Messages) {
    let mut revisions: BTreeSet<&str> = BTreeSet::new();
    let mut webhooks: Vec<(&Object, usize, &MutatingWebhook)> = Vec::new();
    for object in cluster.given(Kind::MutatingWebhookConfiguration) {
        let listed = object
            .spec
            .as_mutating_webhook_configuration()
            .and_then(|configuration| configuration.webhooks.as_deref())
            .unwrap_or_default();
        let own = revisions_of(object, listed);
        if own.is_empty()
            && !listed
                .iter()
                .any(|webhook| webhook.name.ends_with("istio.io"))
        {
            continue;
        }
        revisions.extend(own);
        webhooks.extend(
            listed
                .iter()
                .enumerate()
                .map(|(number, webhook)| (object, number, webhook)),
        );
    }
    let namespaces = variants(label::INJECTION, ["enabled", "disabled"], &revisions);
    let pods = variants(label::INJECT, ["true", "false"], &revisions);
    let webhooks: Vec<Webhook<'_>> = webhooks
        .into_iter()
        .map(|(object, number, webhook)| Webhook {
            object,
            number,
            webhook,
            name: format!("{}/{}", object.key.name, webhook.name),
            selects: [
                selected(webhook.namespace_selector.as_ref(), &namespaces),
                selected(webhook.object_selector.as_ref(), &pods),
            ],
        })
        .collect();
    for webhook in &webhooks {
        check_overlap(webhook, &webhooks, messages);
        check_service(cluster, webhook, messages);
    }
}

/// The revisions that an object and the selectors of its webhooks name.
fn revisions_of<'a>(object: &'a Object, webhooks: &'a [MutatingWebhook]) -> BTreeSet<&'a str> {
    let own = object.meta.labels.get(label::REVISION);
    let mut revisions: BTreeSet<&str> = own.map(String::as_str).into_iter().collect();
    for webhook in webhooks {
        for selector in [&webhook.namespace_selector, &webhook.object_selector]
            .into_iter()
            .flatten()
        {
            let named = selector.match_labels.as_ref();
            revisions.extend(
                named
                    .and_then(|labels| labels.get(label::REVISION))
                    .map(String::as_str),
            );
            let expressions = selector.match_expressions.iter().flatten();
            revisions.extend(
                expressions
                    .filter(|expression| expression.key == label::REVISION)
                    .flat_map(|expression| expression.values.iter().flatten())
                    .map(String::as_str),
            );
        }
    }
    revisions
}

/// The labels that are tried: a label that is absent or has one of two values, without a revision and with each.
fn variants(
    key: &str,
    values: [&str; 2],
    revisions: &BTreeSet<&str>,
) -> Vec<BTreeMap<String, String>> {
    let values = [None, Some(values[0]), Some(values[1])];
    let revisions = std::iter::once(None).chain(revisions.iter().map(Some));
    revisions
        .flat_map(|revision| values.map(|value| (value, revision)))
        .map(|(value, revision)| {
            let value = value.map(|value| (key.to_owned(), value.to_owned()));
            let revision =
                revision.map(|revision| (label::REVISION.to_owned(), (*revision).to_owned()));
            value.into_iter().chain(revision).collect()
        })
        .collect()
}

fn selected(selector: Option<&LabelSelector>, variants: &[BTreeMap<String, String>]) -> Vec<bool> {
    variants
        .iter()
        .map(|labels| label_selector_selects(selector, labels))
        .collect()
}

fn check_overlap(webhook: &Webhook<'_>, all: &[Webhook<'_>], messages: &mut Messages) {
    let [namespaces, pods] = &webhook.selects;
    let others: BTreeSet<&str> = all
        .iter()
        .filter(|other| {
            let [other_namespaces, other_pods] = &other.selects;
            meet(namespaces, other_namespaces) && meet(pods, other_pods)
        })
        .map(|other| other.name.as_str())
        .filter(|name| *name != webhook.name)
        .collect();
    if others.is_empty() {
        return;
    }
    let others: Vec<&str> = others.into_iter().collect();
    messages.field(
        code::INVALID_WEBHOOK,
        webhook.object,
        &format!("webhooks[{}]", webhook.number),
        format!(
            "make the selectors of {} narrower, or delete what an older installation has left: Webhook overlaps with others: [{}]. This may cause injection to occur twice.",
            webhook.name,
            others.join(" ")
        ),
    );
}

fn meet(one: &[bool], two: &[bool]) -> bool {
    one.iter().zip(two).any(|(one, two)| *one && *two)
}

fn check_service(cluster: &Cluster, webhook: &Webhook<'_>, messages: &mut Messages) {
    let Some(service) = &webhook.webhook.client_config.service else {
        return;
    };
    if cluster
        .find(Kind::Service, &service.namespace, &service.name)
        .is_none()
    {
        messages.field(
            code::INVALID_WEBHOOK,
            webhook.object,
            &format!("webhooks[{}].clientConfig.service", webhook.number),
            format!(
                "correct the Service of {} or delete the webhook: Injector refers to a control plane service that does not exist: {}/{}.",
                webhook.name, service.namespace, service.name
            ),
        );
    }
}
