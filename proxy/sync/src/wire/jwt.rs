//! Authentication by JSON Web Tokens.

use std::collections::HashMap;
use std::mem::take;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::core::v3::http_uri::HttpUpstreamType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3 as wire;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_provider::JwksSourceSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::jwt_requirement::RequiresType;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::per_route_config::RequirementSpecifier;
use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::requirement_rule::RequirementType;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderValue, Uri};
use lateen_proxy_model::{
    ClusterRef, Jwks, JwtFilter, JwtKeys, JwtOverride, JwtPlace, JwtProvider, JwtRequirement,
    JwtRule, RemoteJwks,
};

use super::at::{At, Refused, nothing_left};
use super::common::{data, duration, number};
use super::context::Context;
use super::matcher::{header_name, string};
use super::route_table;

/// Requirements within requirements, at most.
const DEPTH: usize = 16;
/// Difference of clocks that is tolerated, seconds.
const CLOCK_SKEW: u64 = 60;
/// How long the keys of a server are good.
const CACHE: Duration = Duration::from_secs(600);

/// The filter.
pub(super) fn read(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::JwtAuthentication,
) -> Result<JwtFilter, Refused> {
    let mut listed: Vec<_> = take(&mut message.providers).into_iter().collect();
    listed.sort_by(|one, other| one.0.cmp(&other.0));
    let place = at.field("providers");
    let mut providers = Vec::with_capacity(listed.len());
    for (name, one) in listed {
        providers.push(provider(context, &place.key(&name), &name, one)?);
    }
    let names = Names(&providers);
    let named = names.named(
        &at.field("requirement_map"),
        take(&mut message.requirement_map),
    )?;
    let rules = names.rules(&at.field("rules"), take(&mut message.rules), &named)?;
    let made = JwtFilter {
        rules,
        named,
        bypass_cors_preflight: take(&mut message.bypass_cors_preflight),
        strip_failure_response: take(&mut message.strip_failure_response),
        stat_prefix: take(&mut message.stat_prefix).into(),
        providers,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Settings of a route.
pub(super) fn per_route(
    at: &At<'_>,
    message: wire::PerRouteConfig,
) -> Result<JwtOverride, Refused> {
    match message.requirement_specifier {
        Some(RequirementSpecifier::Disabled(true)) => Ok(JwtOverride::Disabled),
        Some(RequirementSpecifier::Disabled(false)) => {
            Err(at.field("disabled").refuse("must be true"))
        }
        Some(RequirementSpecifier::RequirementName(name)) => Ok(JwtOverride::Named(name.into())),
        None => Err(at.refuse("empty")),
    }
}

fn provider(
    context: &Context<'_>,
    at: &At<'_>,
    name: &str,
    mut message: wire::JwtProvider,
) -> Result<JwtProvider, Refused> {
    let filled = |text: String| (!text.is_empty()).then(|| text.into_boxed_str());
    let texts = |list: Vec<String>| list.into_iter().map(Into::into).collect::<Vec<Box<str>>>();
    let pad = take(&mut message.pad_forward_payload_header);
    let payload_header = match take(&mut message.forward_payload_header) {
        text if text.is_empty() => None,
        text => Some((
            header_name(&at.field("forward_payload_header"), &text)?,
            pad,
        )),
    };
    let subjects = message.subjects.take();
    let place = at.field("subjects");
    let subjects = subjects.map(|it| string(&place, &it)).transpose()?;
    let spaced = message.normalize_payload_in_metadata.take();
    let skew = match take(&mut message.clock_skew_seconds) {
        0 => CLOCK_SKEW,
        seconds => u64::from(seconds),
    };
    let place = at.field("max_lifetime");
    let made = JwtProvider {
        name: name.into(),
        issuer: filled(take(&mut message.issuer)),
        audiences: texts(take(&mut message.audiences)),
        subjects,
        require_expiration: take(&mut message.require_expiration),
        max_lifetime: duration(&place, message.max_lifetime.take())?,
        clock_skew: skew,
        places: places(at, &mut message)?,
        forward: take(&mut message.forward),
        payload_header,
        payload_in_metadata: filled(take(&mut message.payload_in_metadata)),
        header_in_metadata: filled(take(&mut message.header_in_metadata)),
        failure_in_metadata: filled(take(&mut message.failed_status_in_metadata)),
        spaced_claims: texts(spaced.unwrap_or_default().space_delimited_claims),
        claim_headers: claims(
            &at.field("claim_to_headers"),
            take(&mut message.claim_to_headers),
        )?,
        clear_route: take(&mut message.clear_route_cache),
        keys: keys(context, at, message.jwks_source_specifier.take())?,
    };
    nothing_left(at, &message)?;
    Ok(made)
}

/// Where tokens are; without any word on it in `authorization` and in the parameter `access_token`.
fn places(at: &At<'_>, message: &mut wire::JwtProvider) -> Result<Vec<JwtPlace>, Refused> {
    let mut places = Vec::new();
    let list = at.field("from_headers");
    for (index, header) in take(&mut message.from_headers).into_iter().enumerate() {
        let at = list.item(index);
        places.push(JwtPlace::Header {
            name: header_name(&at.field("name"), &header.name)?,
            prefix: header.value_prefix.into(),
        });
    }
    let params = take(&mut message.from_params).into_iter();
    places.extend(params.map(|name| JwtPlace::Query(name.into())));
    let cookies = take(&mut message.from_cookies).into_iter();
    places.extend(cookies.map(|name| JwtPlace::Cookie(name.into())));
    if places.is_empty() {
        places.push(JwtPlace::Header {
            name: AUTHORIZATION,
            prefix: "Bearer ".into(),
        });
        places.push(JwtPlace::Query("access_token".into()));
    }
    Ok(places)
}

/// A header and the path of the claim that goes into it.
type ClaimHeader = (HeaderName, Vec<Box<str>>);

fn claims(at: &At<'_>, messages: Vec<wire::JwtClaimToHeader>) -> Result<Vec<ClaimHeader>, Refused> {
    let messages = messages.into_iter().enumerate();
    messages
        .map(|(index, message)| {
            let at = at.item(index);
            let name = header_name(&at.field("header_name"), &message.header_name)?;
            let keys = message.claim_path.into_iter().map(|it| it.key.into());
            let mut path: Vec<Box<str>> = keys.collect();
            if path.is_empty() {
                path = message.claim_name.split('.').map(Into::into).collect();
            }
            Ok((name, path))
        })
        .collect()
}

fn keys(
    context: &Context<'_>,
    at: &At<'_>,
    source: Option<JwksSourceSpecifier>,
) -> Result<JwtKeys, Refused> {
    match source {
        Some(JwksSourceSpecifier::LocalJwks(source)) => {
            let at = at.field("local_jwks");
            let text = String::from_utf8(data(&at, &source)?);
            let text = text.map_err(|_| at.refuse("no text"))?;
            let keys = Jwks::parse(&text).map_err(|error| at.refuse(error.to_string()))?;
            Ok(JwtKeys::Local(Arc::new(keys)))
        }
        Some(JwksSourceSpecifier::RemoteJwks(remote)) => {
            let at = at.field("remote_jwks");
            remote_keys(context, &at, remote).map(|remote| JwtKeys::Remote(Arc::new(remote)))
        }
        None => Err(at.refuse("no keys: local_jwks or remote_jwks")),
    }
}

fn remote_keys(
    context: &Context<'_>,
    at: &At<'_>,
    mut message: wire::RemoteJwks,
) -> Result<RemoteJwks, Refused> {
    let place = at.field("http_uri");
    let uri = message.http_uri.take();
    let uri = uri.ok_or_else(|| place.refuse("missing"))?;
    let server = server(context, &place, uri)?;
    refuse_local(&place.field("uri"), &server.host)?;
    let ahead = match message.async_fetch.take() {
        None => None,
        // Listeners never wait for keys here: `fast_listener` is how it always is.
        Some(asynchronous) => {
            let at = at.field("async_fetch");
            let place = at.field("failed_refetch_duration");
            let again = duration(&place, asynchronous.failed_refetch_duration)?;
            Some(again.unwrap_or(Duration::from_secs(1)))
        }
    };
    let retries = retries(&at.field("retry_policy"), message.retry_policy.take())?;
    let place = at.field("cache_duration");
    let cache = duration(&place, message.cache_duration.take())?;
    nothing_left(at, &message)?;
    let mut made = RemoteJwks::new(server.cluster, server.path, server.host);
    made.timeout = server.timeout;
    made.cache = cache.unwrap_or(CACHE);
    made.retries = retries;
    made.ahead = ahead;
    Ok(made)
}

/// A server that a filter asks.
pub(super) struct Server {
    pub(super) cluster: ClusterRef,
    pub(super) host: HeaderValue,
    /// Path and query.
    pub(super) path: Uri,
    pub(super) timeout: Option<Duration>,
}

/// The server of an `HttpUri`.
pub(super) fn server(
    context: &Context<'_>,
    at: &At<'_>,
    message: core::HttpUri,
) -> Result<Server, Refused> {
    let place = at.field("uri");
    let uri: Uri = message
        .uri
        .parse()
        .map_err(|_| place.refuse(format!("{:?} is no URI", message.uri)))?;
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = HeaderValue::from_str(host).map_err(|_| place.refuse("no host"))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path.parse().map_err(|_| place.refuse("no path"))?;
    let Some(HttpUpstreamType::Cluster(cluster)) = message.http_upstream_type else {
        return Err(at.field("cluster").refuse("missing"));
    };
    Ok(Server {
        cluster: context.cluster(&cluster),
        host,
        path,
        timeout: duration(&at.field("timeout"), message.timeout)?,
    })
}

/// Number of retries; waiting times are this proxy's own.
pub(super) fn retries(at: &At<'_>, message: Option<core::RetryPolicy>) -> Result<u32, Refused> {
    let Some(mut message) = message else {
        return Ok(0);
    };
    message.retry_back_off = None;
    let retries = number(message.num_retries.take()).unwrap_or(1);
    nothing_left(at, &message)?;
    Ok(retries.min(10))
}

/// S7: keys are not asked of this host, its link or a cloud's metadata service.
fn refuse_local(at: &At<'_>, host: &HeaderValue) -> Result<(), Refused> {
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default().to_ascii_lowercase();
    let local = match name.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local() || ip.is_unspecified(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unspecified(),
        Err(_) => {
            name == "localhost"
                || name.ends_with(".localhost")
                || name == "metadata.google.internal"
        }
    };
    match local {
        true => Err(at.refuse(format!("keys are not asked of {host}"))),
        false => Ok(()),
    }
}

/// Names of providers, which requirements refer to.
#[derive(Clone, Copy)]
struct Names<'p>(&'p [JwtProvider]);

impl Names<'_> {
    fn find(self, at: &At<'_>, name: &str) -> Result<usize, Refused> {
        let place = self.0.iter().position(|provider| *provider.name == *name);
        place.ok_or_else(|| at.refuse(format!("there is no provider {name:?}")))
    }

    fn named(
        self,
        at: &At<'_>,
        messages: HashMap<String, wire::JwtRequirement>,
    ) -> Result<Vec<(Arc<str>, JwtRequirement)>, Refused> {
        let mut named: Vec<(Arc<str>, JwtRequirement)> = Vec::with_capacity(messages.len());
        for (name, message) in messages {
            let at = at.key(&name);
            let requirement = self.requirement(&at, message, DEPTH)?;
            // A name for nothing is as good as one for anything.
            let requirement = requirement.unwrap_or(JwtRequirement::All(Vec::new()));
            named.push((Arc::from(name), requirement));
        }
        named.sort_by(|one, other| one.0.cmp(&other.0));
        Ok(named)
    }

    fn rules(
        self,
        at: &At<'_>,
        messages: Vec<wire::RequirementRule>,
        named: &[(Arc<str>, JwtRequirement)],
    ) -> Result<Vec<JwtRule>, Refused> {
        let messages = messages.into_iter().enumerate();
        messages
            .map(|(index, message)| {
                let at = at.item(index);
                let place = at.field("match");
                let condition = message.r#match;
                let condition = condition.ok_or_else(|| place.refuse("missing"))?;
                let requirement = match message.requirement_type {
                    None => None,
                    Some(RequirementType::Requires(message)) => {
                        self.requirement(&at.field("requires"), message, DEPTH)?
                    }
                    Some(RequirementType::RequirementName(name)) => {
                        let place = at.field("requirement_name");
                        let known = named.iter().find(|(known, _)| **known == *name);
                        let known = known.ok_or_else(|| {
                            place.refuse(format!("there is no requirement {name:?}"))
                        })?;
                        Some(known.1.clone())
                    }
                };
                Ok(JwtRule {
                    matches: route_table::matches(&place, condition)?,
                    requirement,
                })
            })
            .collect()
    }

    /// `None` for an empty requirement, which asks for nothing.
    fn requirement(
        self,
        at: &At<'_>,
        message: wire::JwtRequirement,
        depth: usize,
    ) -> Result<Option<JwtRequirement>, Refused> {
        let depth = depth.checked_sub(1);
        let depth = depth.ok_or_else(|| at.refuse("requirements are nested too deep"))?;
        Ok(Some(match message.requires_type {
            None => return Ok(None),
            Some(RequiresType::ProviderName(name)) => JwtRequirement::Provider {
                provider: self.find(&at.field("provider_name"), &name)?,
                audiences: None,
            },
            Some(RequiresType::ProviderAndAudiences(both)) => {
                let at = at.field("provider_and_audiences");
                let audiences = both.audiences.into_iter().map(Into::into);
                JwtRequirement::Provider {
                    provider: self.find(&at.field("provider_name"), &both.provider_name)?,
                    audiences: Some(audiences.collect()),
                }
            }
            Some(RequiresType::RequiresAny(any)) => {
                self.any(&at.field("requires_any"), any.requirements, depth)?
            }
            Some(RequiresType::RequiresAll(all)) => {
                let at = at.field("requires_all");
                let list = at.field("requirements");
                let all = all.requirements.into_iter().enumerate();
                let all = all.map(|(index, one)| self.requirement(&list.item(index), one, depth));
                let all: Vec<_> = all.collect::<Result<_, _>>()?;
                JwtRequirement::All(all.into_iter().flatten().collect())
            }
            Some(RequiresType::AllowMissing(_)) => JwtRequirement::AllowMissing,
            Some(RequiresType::AllowMissingOrFailed(_)) => JwtRequirement::AllowMissingOrFailed,
            Some(RequiresType::ExtractOnlyWithoutValidation(_)) => {
                return Err(at.field("extract_only_without_validation").unsupported());
            }
        }))
    }

    /// A list of alternatives, in which words on missing tokens are about all of them.
    fn any(
        self,
        at: &At<'_>,
        messages: Vec<wire::JwtRequirement>,
        depth: usize,
    ) -> Result<JwtRequirement, Refused> {
        let place = at.field("requirements");
        let (mut list, mut allow_missing, mut allow_failed) = (Vec::new(), false, false);
        for (index, message) in messages.into_iter().enumerate() {
            match self.requirement(&place.item(index), message, depth)? {
                Some(JwtRequirement::AllowMissing) => allow_missing = true,
                Some(JwtRequirement::AllowMissingOrFailed) => allow_failed = true,
                Some(other) => list.push(other),
                None => list.push(JwtRequirement::All(Vec::new())),
            }
        }
        Ok(match (list.is_empty(), allow_failed, allow_missing) {
            (true, true, _) => JwtRequirement::AllowMissingOrFailed,
            (true, false, true) => JwtRequirement::AllowMissing,
            _ => JwtRequirement::Any {
                list,
                allow_missing,
                allow_failed,
            },
        })
    }
}
