//! Rules on TrafficExtensions.

use super::report::Report;
use super::target_refs::{self, Attachment};
use super::wasm_plugin::{self, Module};
use crate::extensions::{Extension, TrafficExtension};

/// The longest script, in bytes.
const LONGEST_SCRIPT: usize = 65_536;

pub(super) fn check(report: &mut Report<'_>, spec: &TrafficExtension) {
    target_refs::attachment(
        report,
        &Attachment {
            selector: spec.selector.as_ref(),
            target_ref: None,
            target_refs: &spec.target_refs,
        },
    );
    match &spec.extension {
        None => report.error("spec", "one of wasm and lua is needed"),
        Some(Extension::Wasm(wasm)) => {
            let module = Module {
                url: &wasm.url,
                sha256: &wasm.sha256,
                image_pull_secret: &wasm.image_pull_secret,
                plugin_name: &wasm.plugin_name,
                vm_config: wasm.vm_config.as_ref(),
            };
            wasm_plugin::module(report, "spec.wasm", &module);
        }
        Some(Extension::Lua(lua)) => {
            let length = lua.inline_code.len();
            report.require(
                (1..=LONGEST_SCRIPT).contains(&length),
                "spec.lua.inlineCode",
                format_args!("has {length} bytes: 1 to {LONGEST_SCRIPT} are allowed"),
            );
        }
    }
    wasm_plugin::traffic(report, &spec.r#match);
}
