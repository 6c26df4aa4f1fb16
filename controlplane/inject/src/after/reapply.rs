//! What the user said about a generated container is laid on top of it again, and is remembered.

use serde_json::{Map, Value, json};

use super::status::{Overrides, Status};
use crate::context::Context;
use crate::error::InjectError;
use crate::merge::merge;
use crate::names;
use crate::pod::{List, PodObject, array, name_of, object};

/// Lays the user's containers on the generated ones of the same name.
///
/// # Errors
/// When the recorded overrides cannot be read.
pub(crate) fn reapply(
    merged: &mut PodObject,
    original: &PodObject,
    rendered: &PodObject,
    context: &Context<'_>,
) -> Result<(), InjectError> {
    let earlier = Status::of(original);
    let recorded = Overrides::of(original)?;
    let mut overrides = Overrides::default();
    move_native(merged, rendered);
    for list in [List::Containers, List::InitContainers] {
        for container in rendered.containers(list) {
            let name = name_of(container);
            if earlier
                .as_ref()
                .is_some_and(|status| status.has(list, name))
            {
                continue;
            }
            let Some(users) = recorded
                .find(list, name)
                .or_else(|| find(original, list, name))
            else {
                continue;
            };
            let users = without_auto_image(users);
            overrides.push(list, &users);
            lay_on(merged, list, &users);
        }
    }
    if earlier.is_none() && !overrides.is_empty() {
        merged.set_annotation(names::OVERRIDES, overrides.text());
    }
    adjust_users(merged, original, context);
    Ok(())
}

/// A generated container of `initContainers` may stand anywhere in the user's pod.
fn find<'a>(pod: &'a PodObject, list: List, name: &str) -> Option<&'a Value> {
    match list {
        List::Containers => pod.container(List::Containers, name),
        List::InitContainers => pod
            .container(List::Containers, name)
            .or_else(|| pod.container(List::InitContainers, name)),
    }
}

/// A native sidecar leaves `containers`, where the user may have put it.
fn move_native(merged: &mut PodObject, rendered: &PodObject) {
    let native = rendered
        .container(List::InitContainers, names::PROXY)
        .is_some();
    if native && rendered.container(List::Containers, names::PROXY).is_none() {
        merged
            .containers_mut(List::Containers)
            .retain(|container| name_of(container) != names::PROXY);
    }
}

fn without_auto_image(container: &Value) -> Value {
    let mut users = container.clone();
    if let Some(fields) = users.as_object_mut()
        && fields
            .get("image")
            .and_then(Value::as_str)
            .is_some_and(|image| image == names::AUTO_IMAGE || image.is_empty())
    {
        fields.shift_remove("image");
    }
    users
}

fn lay_on(pod: &mut PodObject, list: List, container: &Value) {
    let mut spec = Map::new();
    spec.insert(list.key().to_owned(), json!([container]));
    merge(object(&mut pod.0, "spec"), &spec);
}

/// A user or group that the user chose for the proxy is also the one that redirect rules let pass.
fn adjust_users(merged: &mut PodObject, original: &PodObject, context: &Context<'_>) {
    let security = original
        .sidecar()
        .and_then(|proxy| proxy.get("securityContext"));
    let id = |key: &str| {
        security
            .and_then(|security| security.get(key))
            .and_then(Value::as_i64)
    };
    let (user, group) = (id("runAsUser"), id("runAsGroup"));
    let rules = [names::INIT, names::VALIDATION]
        .into_iter()
        .find(|name| merged.container(List::InitContainers, name).is_some());
    let (Some(rules), true) = (rules, user.is_some() || group.is_some()) else {
        return;
    };
    if let (true, Some(_), Some(proxy)) = (context.is_tproxy(), user, merged.sidecar_mut()) {
        object(proxy, "securityContext").insert("runAsUser".to_owned(), json!(0));
    }
    let Some(container) = merged.container_mut(List::InitContainers, rules) else {
        return;
    };
    if !context.is_tproxy() && rules == names::VALIDATION {
        let security = object(container, "securityContext");
        for (key, id) in [("runAsUser", user), ("runAsGroup", group)] {
            if let Some(id) = id {
                security.insert(key.to_owned(), json!(id));
            }
        }
    }
    let args = array(container, "args");
    let at = args.iter().position(|arg| arg.as_str() == Some("-u"));
    if let (Some(value), Some(user)) = (
        at.and_then(|at| args.get_mut(at + 1)),
        user.filter(|user| *user != 0),
    ) {
        *value = json!(user.to_string());
    }
}
