//! Role-based access control of the HTTP and the network filter.

use std::collections::HashMap;
use std::mem::take;

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::rbac::v3 as wire;
use envoy_types::pb::envoy::config::rbac::v3::permission::Rule;
use envoy_types::pb::envoy::config::rbac::v3::principal::Identifier;
use envoy_types::pb::envoy::config::rbac::v3::rbac::Action;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3 as http_wire;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as network_wire;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::matcher::v3::filter_state_matcher::Matcher as StateMatcher;
use envoy_types::pb::envoy::r#type::matcher::v3::path_matcher::Rule as PathRule;
use ipnet::IpNet;
use lateen_proxy_model::cel::Expression;
use lateen_proxy_model::{
    Condition, MetadataMatcher, NetworkRbac, Rbac, RbacAction, RbacFilter, RbacPolicy,
};
use lateen_xds::any;

use super::at::{At, Refused, nothing_left};
use super::common::{duration, number, unpack};
use super::matcher::{header, string};
use super::{cel_ast, metadata_matcher, uri_template};

/// Conditions within conditions, at most.
const DEPTH: usize = 32;

/// The HTTP filter.
pub(super) fn http(at: &At<'_>, mut message: http_wire::Rbac) -> Result<RbacFilter, Refused> {
    let rules = Rules {
        rules: message.rules.take(),
        shadow: message.shadow_rules.take(),
        request: true,
    };
    let rules_prefix = take(&mut message.rules_stat_prefix);
    let shadow_prefix = take(&mut message.shadow_rules_stat_prefix);
    nothing_left(at, &message)?;
    rules.read(at, (rules_prefix, shadow_prefix))
}

/// The HTTP filter's settings on a route; `None` lets every request pass.
pub(super) fn per_route(
    at: &At<'_>,
    message: http_wire::RbacPerRoute,
) -> Result<Option<RbacFilter>, Refused> {
    let place = at.field("rbac");
    message.rbac.map(|rbac| http(&place, rbac)).transpose()
}

/// The network filter.
pub(super) fn network(
    at: &At<'_>,
    mut message: network_wire::Rbac,
) -> Result<NetworkRbac, Refused> {
    // Nothing that the rules may ask of a connection changes while it lives: asked once or for each byte is the same.
    message.enforcement_type = 0;
    let rules = Rules {
        rules: message.rules.take(),
        shadow: message.shadow_rules.take(),
        request: false,
    };
    let stat_prefix = take(&mut message.stat_prefix);
    if stat_prefix.is_empty() {
        return Err(at.field("stat_prefix").refuse("missing"));
    }
    let delay = duration(&at.field("delay_deny"), message.delay_deny.take())?;
    let shadow_prefix = take(&mut message.shadow_rules_stat_prefix);
    nothing_left(at, &message)?;
    Ok(NetworkRbac {
        filter: rules.read(at, (String::new(), shadow_prefix))?,
        stat_prefix: stat_prefix.into(),
        delay: delay.filter(|delay| !delay.is_zero()),
    })
}

struct Rules {
    rules: Option<wire::Rbac>,
    shadow: Option<wire::Rbac>,
    request: bool,
}

impl Rules {
    fn read(
        self,
        at: &At<'_>,
        (rules_prefix, shadow_prefix): (String, String),
    ) -> Result<RbacFilter, Refused> {
        let reader = Reader {
            request: self.request,
        };
        let read = |name, rules: Option<wire::Rbac>| {
            rules
                .map(|rules| reader.rules(&at.field(name), rules))
                .transpose()
        };
        let rules = read("rules", self.rules)?;
        let shadow = read("shadow_rules", self.shadow)?;
        Ok(RbacFilter::new(
            rules,
            shadow,
            (&rules_prefix, &shadow_prefix),
        ))
    }
}

/// Reads conditions on requests, or on connections alone.
#[derive(Clone, Copy)]
struct Reader {
    request: bool,
}

impl Reader {
    fn rules(self, at: &At<'_>, mut message: wire::Rbac) -> Result<Rbac, Refused> {
        let place = at.field("action");
        let action = match Action::try_from(take(&mut message.action)) {
            Ok(Action::Allow) => RbacAction::Allow,
            Ok(Action::Deny) => RbacAction::Deny,
            Ok(Action::Log) => RbacAction::Log,
            Err(_) => return Err(place.refuse("not known")),
        };
        let place = at.field("policies");
        let policies = self.policies(&place, take(&mut message.policies))?;
        message
            .audit_logging_options
            .take_if(|options| *options == wire::rbac::AuditLoggingOptions::default());
        nothing_left(at, &message)?;
        Ok(Rbac { action, policies })
    }

    fn policies(
        self,
        at: &At<'_>,
        messages: HashMap<String, wire::Policy>,
    ) -> Result<Vec<RbacPolicy>, Refused> {
        let mut messages: Vec<_> = messages.into_iter().collect();
        messages.sort_by(|one, other| one.0.cmp(&other.0));
        let mut policies = Vec::with_capacity(messages.len());
        for (name, mut message) in messages {
            let at = at.key(&name);
            let place = at.field("permissions");
            let permissions = self.permissions(&place, take(&mut message.permissions), DEPTH)?;
            let place = at.field("principals");
            let principals = self.principals(&place, take(&mut message.principals), DEPTH)?;
            let expression = expression(&at, &mut message)?;
            nothing_left(&at, &message)?;
            policies.push(RbacPolicy {
                expression,
                name: name.into(),
                permission: Condition::one_of(permissions),
                principal: Condition::one_of(principals),
            });
        }
        Ok(policies)
    }

    fn permissions(
        self,
        at: &At<'_>,
        messages: Vec<wire::Permission>,
        depth: usize,
    ) -> Result<Vec<Condition>, Refused> {
        if messages.is_empty() {
            return Err(at.refuse("missing"));
        }
        let messages = messages.into_iter().enumerate();
        messages
            .map(|(index, message)| self.permission(&at.item(index), message, depth))
            .collect()
    }

    fn principals(
        self,
        at: &At<'_>,
        messages: Vec<wire::Principal>,
        depth: usize,
    ) -> Result<Vec<Condition>, Refused> {
        if messages.is_empty() {
            return Err(at.refuse("missing"));
        }
        let messages = messages.into_iter().enumerate();
        messages
            .map(|(index, message)| self.principal(&at.item(index), message, depth))
            .collect()
    }

    #[allow(deprecated, reason = "control planes still send the older field")]
    fn permission(
        self,
        at: &At<'_>,
        message: wire::Permission,
        depth: usize,
    ) -> Result<Condition, Refused> {
        let depth = deeper(at, depth)?;
        Ok(match message.rule {
            Some(Rule::AndRules(set)) => {
                let at = at.field("and_rules");
                let place = at.field("rules");
                Condition::All(self.permissions(&place, set.rules, depth)?)
            }
            Some(Rule::OrRules(set)) => {
                let at = at.field("or_rules");
                let place = at.field("rules");
                Condition::one_of(self.permissions(&place, set.rules, depth)?)
            }
            Some(Rule::NotRule(rule)) => {
                let rule = self.permission(&at.field("not_rule"), *rule, depth)?;
                Condition::Not(Box::new(rule))
            }
            Some(Rule::Any(any)) => always(&at.field("any"), any)?,
            Some(Rule::Header(value)) => self.header(&at.field("header"), &value)?,
            Some(Rule::UrlPath(value)) => self.path(&at.field("url_path"), &value)?,
            Some(Rule::DestinationIp(range)) => {
                Condition::DestinationIp(net(&at.field("destination_ip"), range)?)
            }
            Some(Rule::DestinationPort(port)) => Condition::DestinationPort {
                start: port,
                end: port.saturating_add(1),
            },
            Some(Rule::DestinationPortRange(range)) => {
                let place = at.field("destination_port_range");
                let bound = |value: i32| u32::try_from(value).ok().filter(|it| *it <= 65_536);
                match (bound(range.start), bound(range.end)) {
                    (Some(start), Some(end)) if start < end => {
                        Condition::DestinationPort { start, end }
                    }
                    _ => return Err(place.refuse("no range of ports")),
                }
            }
            Some(Rule::Metadata(value)) => self.metadata(&at.field("metadata"), &value)?,
            Some(Rule::SourcedMetadata(value)) => {
                self.sourced(&at.field("sourced_metadata"), value)?
            }
            Some(Rule::RequestedServerName(value)) => {
                Condition::ServerName(string(&at.field("requested_server_name"), &value)?)
            }
            Some(Rule::UriTemplate(extension)) => {
                self.uri_template(&at.field("uri_template"), extension)?
            }
            Some(Rule::Matcher(_)) => return Err(at.field("matcher").unsupported()),
            None => return Err(at.refuse("no rule")),
        })
    }

    #[allow(deprecated, reason = "control planes still send the older fields")]
    fn principal(
        self,
        at: &At<'_>,
        message: wire::Principal,
        depth: usize,
    ) -> Result<Condition, Refused> {
        let depth = deeper(at, depth)?;
        Ok(match message.identifier {
            Some(Identifier::AndIds(set)) => {
                let at = at.field("and_ids");
                let place = at.field("ids");
                Condition::All(self.principals(&place, set.ids, depth)?)
            }
            Some(Identifier::OrIds(set)) => {
                let at = at.field("or_ids");
                let place = at.field("ids");
                Condition::one_of(self.principals(&place, set.ids, depth)?)
            }
            Some(Identifier::NotId(id)) => {
                let id = self.principal(&at.field("not_id"), *id, depth)?;
                Condition::Not(Box::new(id))
            }
            Some(Identifier::Any(any)) => always(&at.field("any"), any)?,
            Some(Identifier::Authenticated(authenticated)) => match &authenticated.principal_name {
                None => Condition::Tls,
                Some(name) => {
                    let at = at.field("authenticated");
                    Condition::Principal(string(&at.field("principal_name"), name)?)
                }
            },
            Some(Identifier::SourceIp(range)) => {
                Condition::DirectRemoteIp(net(&at.field("source_ip"), range)?)
            }
            Some(Identifier::DirectRemoteIp(range)) => {
                Condition::DirectRemoteIp(net(&at.field("direct_remote_ip"), range)?)
            }
            Some(Identifier::RemoteIp(range)) => {
                Condition::RemoteIp(net(&at.field("remote_ip"), range)?)
            }
            Some(Identifier::Header(value)) => self.header(&at.field("header"), &value)?,
            Some(Identifier::UrlPath(value)) => self.path(&at.field("url_path"), &value)?,
            Some(Identifier::Metadata(value)) => self.metadata(&at.field("metadata"), &value)?,
            Some(Identifier::SourcedMetadata(value)) => {
                self.sourced(&at.field("sourced_metadata"), value)?
            }
            Some(Identifier::FilterState(value)) => {
                let at = at.field("filter_state");
                match &value.matcher {
                    Some(StateMatcher::StringMatch(matcher)) => Condition::FilterState(
                        value.key.into(),
                        string(&at.field("string_match"), matcher)?,
                    ),
                    Some(StateMatcher::AddressMatch(_)) => {
                        return Err(at.field("address_match").unsupported());
                    }
                    None => return Err(at.refuse("no matcher")),
                }
            }
            Some(Identifier::Custom(_)) => return Err(at.field("custom").unsupported()),
            None => return Err(at.refuse("no identifier")),
        })
    }

    fn header(
        self,
        at: &At<'_>,
        message: &envoy_types::pb::envoy::config::route::v3::HeaderMatcher,
    ) -> Result<Condition, Refused> {
        self.of_requests(at)?;
        header(at, message).map(Condition::Header)
    }

    fn path(self, at: &At<'_>, message: &matcher::PathMatcher) -> Result<Condition, Refused> {
        self.of_requests(at)?;
        match &message.rule {
            Some(PathRule::Path(path)) => string(&at.field("path"), path).map(Condition::UrlPath),
            None => Err(at.refuse("no rule")),
        }
    }

    fn uri_template(
        self,
        at: &At<'_>,
        extension: core::TypedExtensionConfig,
    ) -> Result<Condition, Refused> {
        self.of_requests(at)?;
        let at = at.field("typed_config");
        let packed = extension.typed_config.unwrap_or_default();
        if !any::holds::<UriTemplateMatchConfig>(&packed) {
            let kind = any::full_name(&packed.type_url);
            return Err(at.refuse(format!("{kind} is not supported")));
        }
        let template: UriTemplateMatchConfig = unpack(&at, &packed)?;
        uri_template::compile(&template.path_template)
            .map(Condition::UriTemplate)
            .ok_or_else(|| at.field("path_template").refuse("no path template"))
    }

    fn metadata(
        self,
        at: &At<'_>,
        message: &matcher::MetadataMatcher,
    ) -> Result<Condition, Refused> {
        self.of_requests(at)?;
        let metadata: MetadataMatcher = metadata_matcher::metadata(at, message)?;
        Ok(Condition::Metadata(metadata))
    }

    fn sourced(self, at: &At<'_>, message: wire::SourcedMetadata) -> Result<Condition, Refused> {
        let of_route = message.metadata_source == wire::MetadataSource::Route as i32;
        let place = at.field("metadata_matcher");
        let matcher = message.metadata_matcher.as_ref();
        let matcher = matcher.ok_or_else(|| place.refuse("missing"))?;
        match self.metadata(&place, matcher)? {
            Condition::Metadata(metadata) if of_route => Ok(Condition::RouteMetadata(metadata)),
            condition => Ok(condition),
        }
    }

    /// Conditions on requests cannot be asked of connections.
    fn of_requests(self, at: &At<'_>) -> Result<(), Refused> {
        match self.request {
            true => Ok(()),
            false => Err(at.refuse("a network filter knows no requests")),
        }
    }
}

/// The condition besides, as a tree or one that was checked for its types.
fn expression(at: &At<'_>, message: &mut wire::Policy) -> Result<Option<Expression>, Refused> {
    let (plain, checked) = (message.condition.take(), message.checked_condition.take());
    match (plain, checked) {
        (None, None) => Ok(None),
        (Some(tree), None) => cel_ast::compile(&at.field("condition"), &tree).map(Some),
        (None, Some(checked)) => {
            let at = at.field("checked_condition");
            let place = at.field("expr");
            let tree = checked.expr.ok_or_else(|| place.refuse("missing"))?;
            cel_ast::compile(&place, &tree).map(Some)
        }
        (Some(_), Some(_)) => Err(at
            .field("checked_condition")
            .refuse("cannot stand beside condition")),
    }
}

fn deeper(at: &At<'_>, depth: usize) -> Result<usize, Refused> {
    let depth = depth.checked_sub(1);
    depth.ok_or_else(|| at.refuse("conditions are nested too deep"))
}

fn always(at: &At<'_>, any: bool) -> Result<Condition, Refused> {
    match any {
        true => Ok(Condition::Any),
        false => Err(at.refuse("must be true")),
    }
}

fn net(at: &At<'_>, range: core::CidrRange) -> Result<IpNet, Refused> {
    let length = u8::try_from(number(range.prefix_len).unwrap_or(0)).ok();
    let ip = range.address_prefix.parse().ok();
    ip.zip(length)
        .and_then(|(ip, length)| IpNet::new(ip, length).ok())
        .map(|net| net.trunc())
        .ok_or_else(|| at.refuse("no valid address range"))
}
