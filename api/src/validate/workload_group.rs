//! Rules on WorkloadGroups.

use std::fmt::Arguments;

use super::report::Report;
use super::values;
use crate::networking::{HttpProbe, ProbeMethod, ReadinessProbe, WorkloadGroup};

pub(super) fn check(report: &mut Report<'_>, spec: &WorkloadGroup) {
    // What the template lacks, its address for one, comes with the workload: so its content goes unchecked.
    report.require(
        spec.template.is_some(),
        "spec.template",
        "a template is needed ({} is one)",
    );
    if let Some(metadata) = &spec.metadata {
        values::label_map(report, "spec.metadata.labels", &metadata.labels);
    }
    if let Some(settings) = &spec.probe {
        probe(report, format_args!("spec.probe"), settings);
    }
}

fn probe(report: &mut Report<'_>, field: Arguments<'_>, probe: &ReadinessProbe) {
    for (name, number) in [
        ("initialDelaySeconds", probe.initial_delay_seconds),
        ("timeoutSeconds", probe.timeout_seconds),
        ("periodSeconds", probe.period_seconds),
        ("successThreshold", probe.success_threshold),
        ("failureThreshold", probe.failure_threshold),
    ] {
        values::not_negative(report, format_args!("{field}.{name}"), number);
    }
    match &probe.health_check_method {
        Some(ProbeMethod::HttpGet(http)) => {
            http_probe(report, format_args!("{field}.httpGet"), http);
        }
        Some(ProbeMethod::TcpSocket(tcp)) => {
            values::port(report, format_args!("{field}.tcpSocket.port"), tcp.port);
        }
        Some(ProbeMethod::Exec(exec)) => report.require(
            !exec.command.is_empty(),
            format_args!("{field}.exec.command"),
            "a command is needed",
        ),
        // The API has the method, but the webhook has never taken it.
        Some(ProbeMethod::Grpc(_)) => report.error(
            format_args!("{field}.grpc"),
            "gRPC probes are refused: use httpGet, tcpSocket or exec",
        ),
        None => report.error(field, "say what is asked: httpGet, tcpSocket or exec"),
    }
}

fn http_probe(report: &mut Report<'_>, field: Arguments<'_>, probe: &HttpProbe) {
    values::port(report, format_args!("{field}.port"), probe.port);
    let scheme = probe.scheme.as_str();
    report.require(
        ["", "HTTP", "HTTPS"].contains(&scheme),
        format_args!("{field}.scheme"),
        format_args!("`{scheme}` is not a scheme of probes: HTTP and HTTPS are"),
    );
    for (i, header) in probe.http_headers.iter().enumerate() {
        let name = header.name.as_str();
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        report.require(
            !name.is_empty() && name.bytes().all(letters),
            format_args!("{field}.httpHeaders[{i}].name"),
            format_args!("`{name}` is not a probe header's name: letters, digits and `-` are"),
        );
    }
}
