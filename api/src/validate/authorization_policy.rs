//! Rules on AuthorizationPolicies.

use std::fmt::Display;

use super::authorization_values::{self as policy_values, Condition};
use super::report::Report;
use super::target_refs::{self, Attachment};
use crate::labels::annotation::DRY_RUN;
use crate::security::{
    AuthorizationAction, AuthorizationActionDetail, AuthorizationCondition, AuthorizationOperation,
    AuthorizationPolicy, AuthorizationRule, AuthorizationSource,
};

/// What Go reads as a truth value.
const TRUTHS: [&str; 12] = [
    "1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False",
];

pub(super) fn check(report: &mut Report<'_>, spec: &AuthorizationPolicy) {
    target_refs::attachment(
        report,
        &Attachment {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        },
    );
    provider(report, spec);
    let needs_rules = matches!(
        spec.action,
        AuthorizationAction::Deny | AuthorizationAction::Custom
    );
    report.require(
        !needs_rules || !spec.rules.is_empty(),
        "spec.rules",
        format_args!(
            "{} without rules matches nothing: give rules, or `- {{}}` to match every request",
            spec.action
        ),
    );
    for (i, one) in spec.rules.iter().enumerate() {
        rule(report, format_args!("spec.rules[{i}]"), one, spec.action);
    }
    dry_run(report, spec.action);
}

fn provider(report: &mut Report<'_>, spec: &AuthorizationPolicy) {
    let custom = spec.action == AuthorizationAction::Custom;
    match &spec.action_detail {
        Some(AuthorizationActionDetail::Provider(provider)) if custom => report.require(
            !provider.name.is_empty(),
            "spec.provider.name",
            "CUSTOM asks a provider: name one of the mesh config's extensionProviders",
        ),
        Some(AuthorizationActionDetail::Provider(_)) => report.error(
            "spec.provider",
            format_args!(
                "{} asks no provider: take it out, or set the action to CUSTOM",
                spec.action
            ),
        ),
        None if custom => report.error(
            "spec.provider.name",
            "CUSTOM asks a provider: name one of the mesh config's extensionProviders",
        ),
        None => {}
    }
}

fn dry_run(report: &mut Report<'_>, action: AuthorizationAction) {
    let Some(value) = report.object().meta.annotations.get(DRY_RUN) else {
        return;
    };
    let field = format_args!("metadata.annotations[\"{DRY_RUN}\"]");
    report.require(
        TRUTHS.contains(&value.as_str()),
        field,
        format_args!("`{value}` is neither true nor false"),
    );
    report.require(
        matches!(
            action,
            AuthorizationAction::Allow | AuthorizationAction::Deny
        ),
        field,
        format_args!("a policy of the action {action} cannot be tried: only ALLOW and DENY can"),
    );
}

fn rule(
    report: &mut Report<'_>,
    field: impl Display,
    rule: &AuthorizationRule,
    action: AuthorizationAction,
) {
    let custom = action == AuthorizationAction::Custom;
    for (i, from) in rule.from.iter().enumerate() {
        let at = format_args!("{field}.from[{i}].source");
        match &from.source {
            Some(one) => source(report, at, one, custom),
            None => report.error(at, "a source is needed"),
        }
    }
    for (i, to) in rule.to.iter().enumerate() {
        let at = format_args!("{field}.to[{i}].operation");
        match &to.operation {
            Some(one) => operation(report, at, one),
            None => report.error(at, "an operation is needed"),
        }
    }
    for (i, when) in rule.when.iter().enumerate() {
        condition(report, format_args!("{field}.when[{i}]"), when, custom);
    }
    if action == AuthorizationAction::Deny && widens_on_tcp(rule) {
        report.warning(
            field,
            "has only HTTP conditions, which do not count for TCP: on a TCP port the rule denies more than it says; add `to` with ports",
        );
    }
}

/// Whether a DENY rule loses all of its sources or operations on a TCP port.
fn widens_on_tcp(rule: &AuthorizationRule) -> bool {
    let operations = || rule.to.iter().filter_map(|to| to.operation.as_ref());
    if !rule.to.is_empty() {
        return !operations().any(|one| !one.ports.is_empty() || !one.not_ports.is_empty());
    }
    let holds_on_tcp = |one: &AuthorizationSource| {
        lists_of(one).any(|(name, list)| {
            !list.is_empty()
                && !matches!(
                    name,
                    "requestPrincipals"
                        | "notRequestPrincipals"
                        | "trustDomains"
                        | "notTrustDomains"
                )
        })
    };
    let mut sources = rule.from.iter().filter_map(|from| from.source.as_ref());
    !rule.from.is_empty() && !sources.any(holds_on_tcp)
}

/// The lists of a source, by name.
fn lists_of(source: &AuthorizationSource) -> impl Iterator<Item = (&'static str, &[String])> {
    let lists: [(&'static str, &[String]); 14] = [
        ("principals", &source.principals),
        ("notPrincipals", &source.not_principals),
        ("requestPrincipals", &source.request_principals),
        ("notRequestPrincipals", &source.not_request_principals),
        ("namespaces", &source.namespaces),
        ("notNamespaces", &source.not_namespaces),
        ("serviceAccounts", &source.service_accounts),
        ("notServiceAccounts", &source.not_service_accounts),
        ("trustDomains", &source.trust_domains),
        ("notTrustDomains", &source.not_trust_domains),
        ("ipBlocks", &source.ip_blocks),
        ("notIpBlocks", &source.not_ip_blocks),
        ("remoteIpBlocks", &source.remote_ip_blocks),
        ("notRemoteIpBlocks", &source.not_remote_ip_blocks),
    ];
    lists.into_iter()
}

fn source(report: &mut Report<'_>, field: impl Display, one: &AuthorizationSource, custom: bool) {
    let given = lists_of(one).any(|(_, list)| !list.is_empty());
    report.require(given, &field, "has no condition: give one, or take it out");
    let accounts = !one.service_accounts.is_empty() || !one.not_service_accounts.is_empty();
    let others = [
        &one.principals,
        &one.not_principals,
        &one.namespaces,
        &one.not_namespaces,
    ];
    report.require(
        !accounts || others.iter().all(|list| list.is_empty()),
        &field,
        "serviceAccounts cannot stand beside principals or namespaces: put them into a source of their own",
    );
    for (name, list) in lists_of(one) {
        let at = format_args!("{field}.{name}");
        policy_values::not_empty(report, at, list);
        match name {
            "ipBlocks" | "notIpBlocks" | "remoteIpBlocks" | "notRemoteIpBlocks" => {
                policy_values::addresses(report, at, list);
                continue;
            }
            "serviceAccounts" | "notServiceAccounts" => {
                policy_values::service_accounts(report, at, list);
            }
            "trustDomains" | "notTrustDomains" => policy_values::trust_domains(report, at, list),
            _ => {}
        }
        report.require(
            !custom || list.is_empty(),
            at,
            "cannot be used with CUSTOM: take it out, or use ALLOW or DENY",
        );
    }
}

fn operation(report: &mut Report<'_>, field: impl Display, one: &AuthorizationOperation) {
    let lists = [
        ("hosts", &one.hosts),
        ("notHosts", &one.not_hosts),
        ("ports", &one.ports),
        ("notPorts", &one.not_ports),
        ("methods", &one.methods),
        ("notMethods", &one.not_methods),
        ("paths", &one.paths),
        ("notPaths", &one.not_paths),
    ];
    let given = lists.iter().any(|(_, list)| !list.is_empty());
    report.require(given, &field, "has no condition: give one, or take it out");
    for (name, list) in lists {
        let at = format_args!("{field}.{name}");
        policy_values::not_empty(report, at, list);
        match name {
            "ports" | "notPorts" => policy_values::ports(report, at, list),
            "paths" | "notPaths" => policy_values::paths(report, at, list),
            _ => {}
        }
    }
}

fn condition(
    report: &mut Report<'_>,
    field: impl Display,
    when: &AuthorizationCondition,
    custom: bool,
) {
    let key = when.key.as_str();
    let at = format_args!("{field}.key");
    if key.is_empty() {
        return report.error(
            at,
            "the attribute is needed, such as `request.headers[x-token]`",
        );
    }
    report.require(
        !custom || policy_values::asks_no_identity(key),
        at,
        format_args!("`{key}` cannot be used with CUSTOM: use ALLOW or DENY for it"),
    );
    report.require(
        !when.values.is_empty() || !when.not_values.is_empty(),
        format_args!("{field}.values"),
        "values or notValues are needed",
    );
    let takes = match policy_values::condition(key) {
        Ok(takes) => takes,
        Err(reason) => return report.error(at, format_args!("`{key}` {reason}")),
    };
    for (name, list) in [("values", &when.values), ("notValues", &when.not_values)] {
        let at = format_args!("{field}.{name}");
        policy_values::not_empty(report, at, list);
        match takes {
            Condition::Text => {}
            Condition::Address => policy_values::addresses(report, at, list),
            Condition::Port => policy_values::ports(report, at, list),
            Condition::ServiceAccount => policy_values::service_accounts(report, at, list),
            Condition::TrustDomain => policy_values::trust_domains(report, at, list),
        }
    }
}
