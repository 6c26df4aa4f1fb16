//! The images of the generated containers (contract/inject.md §3, `proxyImage` and `proxyImageType`).

use crate::context::Context;
use crate::names;

/// The proxy's image.
pub(super) fn proxy(context: &Context<'_>) -> String {
    let configured = context
        .config
        .image
        .as_ref()
        .map_or("", |image| image.image_type.as_str());
    image(
        context,
        &context.settings.values.global.proxy.image,
        configured,
    )
}

/// The image of the container that writes redirect rules.
pub(super) fn init(context: &Context<'_>) -> String {
    image(
        context,
        &context.settings.values.global.proxy_init.image,
        "",
    )
}

fn image(context: &Context<'_>, name: &str, configured_type: &str) -> String {
    let whole = context.annotation_or(names::PROXY_IMAGE, name);
    if whole.contains('/') {
        return whole;
    }
    let global = &context.settings.values.global;
    let kind = match (
        context.pod.annotation(names::PROXY_IMAGE_TYPE),
        configured_type,
    ) {
        (Some(annotated), _) => annotated,
        (None, "") => &global.variant,
        (None, configured) => configured,
    };
    let name = if name.is_empty() { "proxyv2" } else { name };
    format!("{}/{name}:{}", global.hub, tag(&global.tag, kind))
}

/// The tag with the suffix of an image type in place of the one it has.
fn tag(tag: &str, kind: &str) -> String {
    if kind.is_empty() {
        return tag.to_owned();
    }
    let plain = tag
        .strip_suffix("-distroless")
        .or_else(|| tag.strip_suffix("-debug"))
        .unwrap_or(tag);
    if kind == "default" {
        plain.to_owned()
    } else {
        format!("{plain}-{kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::tag;

    #[test]
    fn the_suffix_of_a_known_type_is_replaced() {
        for (given, kind, expected) in [
            ("1.2", "", "1.2"),
            ("1.2", "debug", "1.2-debug"),
            ("1.2-debug", "distroless", "1.2-distroless"),
            ("1.2-debug", "default", "1.2"),
            ("1.2-debug", "", "1.2-debug"),
            ("1.2-odd", "mine", "1.2-odd-mine"),
        ] {
            assert_eq!(tag(given, kind), expected);
        }
    }
}
