//! Rules on Gateways.

use std::collections::HashSet;
use std::fmt::Arguments;

use super::report::Report;
use super::tls::server_tls;
use super::values;
use crate::host::is_any_case_label;
use crate::networking::{Gateway, Port, Server, ServerTlsMode, ServerTlsSettings};
use crate::protocol::Protocol;

/// On an object that was made of a Gateway API one: `gateway`.
const SEMANTICS: &str = "internal.istio.io/gateway-semantics";

/// What a socket's path stands behind.
const UNIX: &str = "unix://";

pub(super) fn check(report: &mut Report<'_>, spec: &Gateway) {
    let object = report.object();
    let translated = object.meta.annotations.get(SEMANTICS).map(String::as_str) == Some("gateway");
    let name = object.key.name.as_str();
    report.require(
        translated || is_any_case_label(name),
        "metadata.name",
        format_args!(
            "`{name}` is not a Gateway's name: letters, digits and `-`, at most 63, are (no dots)"
        ),
    );
    report.require(
        !spec.servers.is_empty(),
        "spec.servers",
        "at least one server is needed",
    );
    let mut names = HashSet::with_capacity(spec.servers.len());
    for (i, server) in spec.servers.iter().enumerate() {
        let field = format_args!("spec.servers[{i}]");
        check_server(report, field, server, translated);
        let name = server.port.as_ref().map_or("", |port| port.name.as_str());
        if !name.is_empty() && !names.insert(name) {
            report.error(
                format_args!("{field}.port.name"),
                format_args!("another server's port is called `{name}` too: use another name"),
            );
        }
    }
}

fn check_server(report: &mut Report<'_>, field: Arguments<'_>, server: &Server, translated: bool) {
    report.require(
        !server.hosts.is_empty(),
        format_args!("{field}.hosts"),
        "at least one host is needed (`*` for all)",
    );
    for (i, host) in server.hosts.iter().enumerate() {
        check_host(report, format_args!("{field}.hosts[{i}]"), host, translated);
    }
    check_bind(report, field, server);
    if let Some(tls) = &server.tls {
        server_tls(report, format_args!("{field}.tls"), tls);
    }
    let at = format_args!("{field}.port");
    let Some(port) = &server.port else {
        return report.error(at, "a server needs a port");
    };
    let protocol = Protocol::parse(&port.protocol);
    let redirects = server.tls.as_ref().is_some_and(|tls| tls.https_redirect);
    if redirects && !protocol.is_http() {
        report.warning(
            format_args!("{field}.tls.httpsRedirect"),
            "has an effect on plain HTTP ports only: take it out",
        );
    }
    if report.passes(|report| check_port(report, at, port, &server.bind)) {
        tls_of_protocol(
            report,
            format_args!("{field}.tls"),
            server.tls.as_ref(),
            protocol,
        );
    }
}

fn check_port(report: &mut Report<'_>, field: Arguments<'_>, port: &Port, bind: &str) {
    values::protocol(
        report,
        format_args!("{field}.protocol"),
        &port.protocol,
        false,
    );
    if port.number != 0 || !bind.starts_with(UNIX) {
        values::port(report, format_args!("{field}.number"), port.number);
    }
    report.require(
        port.target_port == 0,
        format_args!("{field}.targetPort"),
        "has no meaning in a Gateway: take it out",
    );
    report.require(
        !port.name.is_empty(),
        format_args!("{field}.name"),
        "a port needs a name",
    );
}

fn check_bind(report: &mut Report<'_>, field: Arguments<'_>, server: &Server) {
    let (at, bind) = (format_args!("{field}.bind"), server.bind.as_str());
    if bind.starts_with(UNIX) {
        report.require(
            values::is_unix(bind),
            at,
            format_args!(
                "`{bind}` is not a socket: unix:// with an absolute path, or unix://@name"
            ),
        );
        report.require(
            server.port.as_ref().is_none_or(|port| port.number == 0),
            format_args!("{field}.port.number"),
            "a socket has no port: set 0",
        );
    } else {
        report.require(
            bind.is_empty() || values::is_ip(bind),
            at,
            format_args!("`{bind}` is not an address"),
        );
    }
}

/// Whether a server's TLS settings go with its port's protocol.
fn tls_of_protocol(
    report: &mut Report<'_>,
    field: Arguments<'_>,
    tls: Option<&ServerTlsSettings>,
    protocol: Protocol,
) {
    match tls {
        None => report.require(
            !protocol.is_tls(),
            field,
            format_args!("a port of protocol {protocol} needs TLS settings"),
        ),
        Some(_) if protocol.is_tls() => {}
        Some(tls) if protocol.is_http() => {
            let closed = matches!(
                tls.mode,
                ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough
            );
            let plain = tls.server_certificate.is_empty()
                && tls.private_key.is_empty()
                && tls.ca_certificates.is_empty();
            report.require(
                closed && plain,
                field,
                format_args!("a port of protocol {protocol} is plain text: use HTTPS, or take all TLS settings but httpsRedirect out"),
            );
        }
        Some(_) => report.error(
            field,
            format_args!("a port of protocol {protocol} has no TLS settings: use TLS or HTTPS, or take them out"),
        ),
    }
}

/// `[namespace/]host`.
fn check_host(report: &mut Report<'_>, field: Arguments<'_>, text: &str, translated: bool) {
    let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
    let known = ["*", "."].contains(&namespace)
        || is_any_case_label(namespace)
        || (translated && namespace == "~");
    report.require(
        known,
        field,
        format_args!("`{namespace}` is not a namespace, `.` or `*`"),
    );
    let address = host.contains('.') && values::is_ip(host);
    report.require(
        values::scoped_host(host) || address,
        field,
        format_args!(
            "`{host}` is not a full host name, a wildcard such as `*.example.com`, or `*`"
        ),
    );
}
