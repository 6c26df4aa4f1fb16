//! Redirects.

use std::mem::take;

use envoy_types::pb::envoy::config::route::v3 as wire;
use envoy_types::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use http::StatusCode;
use http::uri::Scheme;
use lateen_proxy_model::{Redirect, Rewrite};

use super::at::{At, Refused, nothing_left};
use super::common::port;
use super::matcher::substitution;

/// A redirect that is answered here.
pub(super) fn redirect(
    at: &At<'_>,
    mut message: wire::RedirectAction,
) -> Result<Redirect, Refused> {
    let status = match message.response_code() {
        RedirectResponseCode::MovedPermanently => StatusCode::MOVED_PERMANENTLY,
        RedirectResponseCode::Found => StatusCode::FOUND,
        RedirectResponseCode::SeeOther => StatusCode::SEE_OTHER,
        RedirectResponseCode::TemporaryRedirect => StatusCode::TEMPORARY_REDIRECT,
        RedirectResponseCode::PermanentRedirect => StatusCode::PERMANENT_REDIRECT,
    };
    message.response_code = 0;
    let (scheme, https) = scheme(at, message.scheme_rewrite_specifier.take())?;
    let (mut path, mut prefix, mut rewrite) = (None, None, None);
    match message.path_rewrite_specifier.take() {
        None => {}
        Some(PathRewriteSpecifier::PathRedirect(text)) => path = Some(text.into()),
        Some(PathRewriteSpecifier::PrefixRewrite(text)) => prefix = Some(text.into()),
        Some(PathRewriteSpecifier::RegexRewrite(value)) => {
            let (pattern, replacement) = substitution(&at.field("regex_rewrite"), &value)?;
            rewrite = Some(Rewrite {
                pattern,
                replacement,
            });
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(at.field("path_rewrite").unsupported());
        }
    }
    let host = take(&mut message.host_redirect);
    let new_port = port(&at.field("port_redirect"), take(&mut message.port_redirect))?;
    let strip_query = take(&mut message.strip_query);
    nothing_left(at, &message)?;
    Ok(Redirect {
        host: (!host.is_empty()).then(|| host.into()),
        port: (new_port != 0).then_some(new_port),
        scheme,
        https,
        path,
        prefix,
        rewrite,
        strip_query,
        status,
    })
}

fn scheme(
    at: &At<'_>,
    specifier: Option<SchemeRewriteSpecifier>,
) -> Result<(Option<Scheme>, bool), Refused> {
    match specifier {
        None => Ok((None, false)),
        Some(SchemeRewriteSpecifier::HttpsRedirect(on)) => Ok((None, on)),
        Some(SchemeRewriteSpecifier::SchemeRedirect(text)) => {
            let place = at.field("scheme_redirect");
            let scheme = Scheme::try_from(&*text.to_ascii_lowercase())
                .map_err(|_| place.refuse(format!("{text:?} is no scheme")))?;
            Ok((Some(scheme), false))
        }
    }
}
