//! Rules on Gateways.

use std::collections::HashSet;

use super::report::Report;
use super::{tls, values};
use crate::host::is_any_case_label;
use crate::networking::{Gateway, Server};

pub(super) fn check(report: &mut Report<'_>, spec: &Gateway) {
    report.require(
        !spec.servers.is_empty(),
        "spec.servers",
        "at least one server is needed",
    );
    let mut names = HashSet::new();
    for (i, server) in spec.servers.iter().enumerate() {
        let field = format!("spec.servers[{i}]");
        check_server(report, &field, server);
        let name = server.port.as_ref().map_or("", |port| port.name.as_str());
        if !name.is_empty() && !names.insert(name) {
            report.error(
                &format!("{field}.port.name"),
                format_args!("the name `{name}` is given twice"),
            );
        }
    }
}

fn check_server(report: &mut Report<'_>, field: &str, server: &Server) {
    report.require(
        !server.hosts.is_empty(),
        &format!("{field}.hosts"),
        "at least one host is needed",
    );
    for (i, host) in server.hosts.iter().enumerate() {
        check_host(report, &format!("{field}.hosts[{i}]"), host);
    }
    let Some(port) = &server.port else {
        return report.error(&format!("{field}.port"), "a server needs a port");
    };
    let at = format!("{field}.port");
    if values::is_unix(&server.bind) {
        report.require(
            port.number == 0,
            &format!("{at}.number"),
            "a socket has no port: set 0",
        );
    } else {
        values::port(report, &format!("{at}.number"), port.number);
        let fits = server.bind.is_empty() || values::is_ip(&server.bind);
        report.require(
            fits,
            &format!("{field}.bind"),
            format_args!("`{}` is not an address", server.bind),
        );
    }
    report.require(
        !port.name.is_empty(),
        &format!("{at}.name"),
        "a port needs a name",
    );
    report.require(
        port.target_port == 0,
        &format!("{at}.targetPort"),
        "has no meaning in a Gateway: take it out",
    );
    let protocol = values::protocol(report, &format!("{at}.protocol"), &port.protocol, false);
    tls::server(
        report,
        &format!("{field}.tls"),
        server.tls.as_ref(),
        protocol,
    );
}

/// `[namespace/]host`.
fn check_host(report: &mut Report<'_>, field: &str, text: &str) {
    let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
    let fits = ["*", "."].contains(&namespace) || is_any_case_label(namespace);
    report.require(
        fits,
        field,
        format_args!("`{namespace}` is not a namespace, `.` or `*`"),
    );
    let fits = values::scoped_host(host) || values::is_ip(host);
    report.require(
        fits,
        field,
        format_args!(
            "`{host}` is not a full host name, a wildcard such as `*.example.com`, or `*`"
        ),
    );
}
