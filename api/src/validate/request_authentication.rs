//! Rules on RequestAuthentications.

use std::fmt::Display;

use super::jwks::{self, Keys};
use super::report::Report;
use super::target_refs::{self, Attachment};
use super::{url, values};
use crate::security::{JwtRule, RequestAuthentication};

pub(super) fn check(report: &mut Report<'_>, spec: &RequestAuthentication) {
    target_refs::attachment(
        report,
        &Attachment {
            selector: spec.selector.as_ref(),
            target_ref: spec.target_ref.as_ref(),
            target_refs: &spec.target_refs,
        },
    );
    for (i, rule) in spec.jwt_rules.iter().enumerate() {
        issuer(report, format_args!("spec.jwtRules[{i}]"), rule);
    }
}

fn issuer(report: &mut Report<'_>, field: impl Display, rule: &JwtRule) {
    report.require(
        !rule.issuer.is_empty() || !rule.jwks_uri.is_empty(),
        format_args!("{field}.issuer"),
        "an issuer or jwksUri is needed",
    );
    not_empty(report, format_args!("{field}.audiences"), &rule.audiences);
    if !rule.jwks_uri.is_empty() {
        jwks_uri(report, format_args!("{field}.jwksUri"), &rule.jwks_uri);
    }
    if !rule.jwks.is_empty() {
        inline_keys(report, format_args!("{field}.jwks"), &rule.jwks);
    }
    for (i, header) in rule.from_headers.iter().enumerate() {
        report.require(
            !header.name.is_empty(),
            format_args!("{field}.fromHeaders[{i}].name"),
            "a header needs a name",
        );
    }
    not_empty(
        report,
        format_args!("{field}.fromParams"),
        &rule.from_params,
    );
    not_empty(
        report,
        format_args!("{field}.fromCookies"),
        &rule.from_cookies,
    );
    for (i, output) in rule.output_claim_to_headers.iter().enumerate() {
        let at = format_args!("{field}.outputClaimToHeaders[{i}]");
        report.require(
            !output.claim.is_empty(),
            format_args!("{at}.claim"),
            "the claim to copy is needed",
        );
        report.require(
            is_plain_header(&output.header),
            format_args!("{at}.header"),
            format_args!(
                "`{}` cannot take a claim: a header of letters, digits, `-` and `_` is needed",
                output.header
            ),
        );
    }
    values::duration(report, format_args!("{field}.timeout"), rule.timeout);
}

fn not_empty(report: &mut Report<'_>, field: impl Display, texts: &[String]) {
    for (i, text) in texts.iter().enumerate() {
        report.require(
            !text.is_empty(),
            format_args!("{field}[{i}]"),
            "is empty: give a text, or take the entry out",
        );
    }
}

fn jwks_uri(report: &mut Report<'_>, field: impl Display, uri: &str) {
    match url::scheme_of(uri).as_deref() {
        Err(reason) => report.error(field, format_args!("`{uri}` is not a URL: {reason}")),
        Ok("http" | "https") => {
            let fits = url::port_of(uri).is_none_or(|port| port.parse::<i64>().is_ok());
            report.require(
                fits,
                field,
                format_args!("the port of `{uri}` is too large"),
            );
        }
        Ok(_) => report.error(
            field,
            format_args!("`{uri}` is not a URL to fetch keys from: http:// or https:// is needed"),
        ),
    }
}

fn inline_keys(report: &mut Report<'_>, field: impl Display, text: &str) {
    match jwks::check(text) {
        Err(reason) => report.error(
            field,
            format_args!("is not a JSON Web Key Set: {reason}"),
        ),
        Ok(Keys::Secret(i)) => report.warning(
            field,
            format_args!("the key {i} is private or symmetric, and all who read the object can sign tokens with it: publish public keys only"),
        ),
        Ok(Keys::Public) => {}
    }
}

fn is_plain_header(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}
