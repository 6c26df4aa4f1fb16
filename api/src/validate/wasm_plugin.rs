//! Rules on WasmPlugins, and on modules and traffic as TrafficExtensions have them too.

use std::collections::HashSet;
use std::fmt::Display;

use super::report::Report;
use super::target_refs::{self, Attachment};
use super::{url, values};
use crate::extensions::{EnvValueSource, TrafficSelector, VmConfig, WasmPlugin};

pub(super) fn check(report: &mut Report<'_>, spec: &WasmPlugin) {
    target_refs::attachment(
        report,
        &Attachment {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        },
    );
    let found = Module {
        url: &spec.url,
        sha256: &spec.sha256,
        image_pull_secret: &spec.image_pull_secret,
        plugin_name: &spec.plugin_name,
        vm_config: spec.vm_config.as_ref(),
    };
    module(report, "spec", &found);
    traffic(report, &spec.r#match);
}

/// What is checked of a module.
pub(super) struct Module<'a> {
    pub(super) url: &'a str,
    pub(super) sha256: &'a str,
    pub(super) image_pull_secret: &'a str,
    pub(super) plugin_name: &'a str,
    pub(super) vm_config: Option<&'a VmConfig>,
}

/// Where a module comes from and what it runs with.
pub(super) fn module(report: &mut Report<'_>, field: impl Display, module: &Module<'_>) {
    address(report, format_args!("{field}.url"), module.url);
    let sum = module.sha256;
    let is_sum = sum.len() == 64
        && sum
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    report.require(
        sum.is_empty() || is_sum,
        format_args!("{field}.sha256"),
        "is not a checksum: 64 hexadecimal digits in lower case are needed",
    );
    at_most(
        report,
        format_args!("{field}.imagePullSecret"),
        module.image_pull_secret,
        253,
    );
    at_most(
        report,
        format_args!("{field}.pluginName"),
        module.plugin_name,
        256,
    );
    if let Some(vm) = module.vm_config {
        environment(report, format_args!("{field}.vmConfig.env"), vm);
    }
}

fn address(report: &mut Report<'_>, field: impl Display, address: &str) {
    if address.is_empty() {
        return report.error(field, "the address of a module is needed");
    }
    // What has no scheme is an image, whose registry may have a port.
    let scheme = if has_scheme(address) {
        url::scheme_of(address)
    } else {
        url::scheme_of(&format!("http://{address}"))
    };
    match scheme.as_deref() {
        Ok("http" | "https" | "file" | "oci") => {}
        Ok(scheme) => report.error(
            field,
            format_args!("the scheme `{scheme}` of `{address}` is not one of oci, http, https and file (put oci:// before an image of a registry with a port)"),
        ),
        Err(reason) => report.error(field, format_args!("`{address}` is not a URL: {reason}")),
    }
}

fn has_scheme(address: &str) -> bool {
    let rest = address.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "+-.".contains(c));
    rest.starts_with(':') && address.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn at_most(report: &mut Report<'_>, field: impl Display, text: &str, most: usize) {
    report.require(
        text.len() <= most,
        field,
        format_args!("has {} bytes, {most} are allowed", text.len()),
    );
}

fn environment(report: &mut Report<'_>, field: impl Display, vm: &VmConfig) {
    let mut names = HashSet::new();
    for (i, variable) in vm.env.iter().enumerate() {
        let at = format_args!("{field}[{i}]");
        let name = variable.name.as_str();
        if name.is_empty() {
            report.error(format_args!("{at}.name"), "a variable needs a name");
        } else {
            report.require(
                names.insert(name),
                format_args!("{at}.name"),
                format_args!("the variable `{name}` is given twice"),
            );
        }
        at_most(report, format_args!("{at}.name"), name, 256);
        report.require(
            variable.value.is_empty() || variable.value_from == EnvValueSource::Inline,
            format_args!("{at}.value"),
            "HOST takes the value from the proxy's environment: take the value out, or use INLINE",
        );
    }
}

/// The traffic that a filter sees.
pub(super) fn traffic(report: &mut Report<'_>, selectors: &[TrafficSelector]) {
    for (i, selector) in selectors.iter().enumerate() {
        for (j, port) in selector.ports.iter().enumerate() {
            values::port(
                report,
                format_args!("spec.match[{i}].ports[{j}].number"),
                port.number,
            );
        }
    }
}
