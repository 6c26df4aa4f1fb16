//! `proxy-config bootstrap`: what a proxy was started with.

use std::fmt::Write as _;

use serde_json::Value;

use crate::dump::{self, ConfigDump, at, camel_case};
use crate::failure::Failure;
use crate::output::{self, Format};

/// The bootstrap in a structured form, or the versions in it.
fn text_of(part: &Value, format: Format) -> String {
    match format.structured() {
        Some(form) => output::render(&camel_case(part), form),
        None => versions(part),
    }
}

/// The bootstrap of a dump as text.
///
/// # Errors
/// When the dump has none.
pub(super) fn text(dump: &ConfigDump, format: Format) -> Result<String, Failure> {
    match dump.part("BootstrapConfigDump") {
        Some(part) => Ok(text_of(part, format)),
        None => Err(Failure::data(
            "the dump has no bootstrap: no part of type BootstrapConfigDump",
        )),
    }
}

fn versions(part: &Value) -> String {
    let node = at(part, &["bootstrap", "node"]);
    let metadata = node.and_then(|node| node.get("metadata"));
    let istio = metadata.map_or("", |metadata| dump::text(metadata, "ISTIO_VERSION"));
    let build = node.and_then(|node| at(node, &["user_agent_build_version"]));
    let number = |part: &str| {
        let version = build.and_then(|build| at(build, &["version"]));
        version
            .and_then(|version| dump::number(version, part))
            .unwrap_or(0)
    };
    let envoy = build.map(|_| {
        format!(
            "{}.{}.{}",
            number("major_number"),
            number("minor_number"),
            number("patch")
        )
    });
    let agent = node.map_or("", |node| dump::text(node, "user_agent_name"));
    let mut shown = String::new();
    for (title, value) in [
        ("Istio Version:", istio),
        ("Proxy:", agent),
        ("Proxy Version:", envoy.as_deref().unwrap_or_default()),
    ] {
        if !value.is_empty() {
            // Writing to a String does not fail.
            let _ = writeln!(shown, "{title:<16}{value}");
        }
    }
    shown
}
