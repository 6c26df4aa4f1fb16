//! Merging of metrics: Prometheus is sent to the agent, and the agent is told where the application's metrics are (contract/inject.md §7).

use serde_json::{Map, Value, json};

use crate::annotations::parse_flag;
use crate::error::InjectError;
use crate::names;
use crate::pod::{PodObject, array};
use crate::settings::Settings;

/// Ports of the sidecar itself, with their uses.
const RESERVED: [(u16, &str); 9] = [
    (15000, "Envoy admin"),
    (15001, "Envoy outbound"),
    (15004, "debug interface"),
    (15006, "Envoy inbound"),
    (15008, "HBONE mTLS tunnel"),
    (15020, "merged Prometheus telemetry"),
    (15021, "health checks"),
    (15053, "DNS"),
    (15090, "Envoy Prometheus telemetry"),
];

/// The port of the annotation `prometheus.io/port`.
pub(crate) fn port(pod: &PodObject) -> Option<&str> {
    annotation(pod, "prometheus_io_port")
}

/// Drops the annotations that tell Prometheus what to scrape.
pub(crate) fn clear(pod: &mut PodObject) {
    pod.remove_annotations(|key| {
        matches!(
            plain(key).as_str(),
            "prometheus_io_port" | "prometheus_io_path" | "prometheus_io_scrape"
        )
    });
}

/// Points Prometheus at the agent.
///
/// # Errors
/// When an annotation names a port that cannot be scraped.
pub(crate) fn merge(
    pod: &mut PodObject,
    settings: &Settings,
    status_port: i32,
) -> Result<(), InjectError> {
    let scraped = annotation(pod, "prometheus_io_scrape")
        .and_then(parse_flag)
        .unwrap_or(true);
    let annotated = pod.annotation(names::MERGE_METRICS).and_then(parse_flag);
    if !scraped
        || !annotated
            .or(settings.mesh.enable_prometheus_merge)
            .unwrap_or(true)
    {
        return Ok(());
    }
    let agent = status_port.to_string();
    if port(pod) == Some(agent.as_str()) {
        return Ok(());
    }
    let scrape = scrape(pod, status_port)?;
    if let (Some(scrape), Some(proxy)) = (scrape, pod.sidecar_mut()) {
        array(proxy, "env").push(json!({"name": "ISTIO_PROMETHEUS_ANNOTATIONS", "value": scrape}));
    }
    clear(pod);
    pod.set_annotation("prometheus.io/port", agent);
    pod.set_annotation("prometheus.io/path", "/stats/prometheus");
    pod.set_annotation("prometheus.io/scrape", "true");
    Ok(())
}

/// Says on which port the merged metrics are served with TLS.
pub(crate) fn secure_port(pod: &mut PodObject) {
    let env = pod
        .sidecar()
        .and_then(|proxy| proxy.get("env"))
        .and_then(Value::as_array);
    let wanted = |var: &&Value| {
        var.get("name").and_then(Value::as_str) == Some("ENVOY_SECURE_MERGED_METRICS_PORT")
    };
    let port = env
        .into_iter()
        .flatten()
        .find(wanted)
        .and_then(|var| var.get("value"))
        .and_then(Value::as_str)
        .map(str::to_owned);
    if let Some(port) = port.filter(|port| {
        !port.is_empty() && port != "0" && pod.annotation(names::SECURE_METRICS_PORT).is_none()
    }) {
        pod.set_annotation(names::SECURE_METRICS_PORT, port);
    }
}

/// What the agent is told, as JSON; `None` when the pod says nothing about its metrics.
fn scrape(pod: &PodObject, status_port: i32) -> Result<Option<String>, InjectError> {
    let text = |key| annotation(pod, key).unwrap_or_default().to_owned();
    let (scrape, mut path, mut port) = (
        text("prometheus_io_scrape"),
        text("prometheus_io_path"),
        text("prometheus_io_port"),
    );
    if !port.is_empty() {
        check("configuration", &port, "port", status_port)?;
    }
    let targets = targets(pod.annotation(names::SCRAPE_TARGETS).unwrap_or_default());
    for (port, _) in &targets {
        check("targets", port, "target port", status_port)?;
    }
    if let Some((first_port, first_path)) = targets.first() {
        (port, path) = (first_port.clone(), first_path.clone());
    }
    if scrape.is_empty() && path.is_empty() && port.is_empty() {
        return Ok(None);
    }
    let mut fields = Map::new();
    fields.insert("scrape".to_owned(), json!(scrape));
    fields.insert("path".to_owned(), json!(path));
    fields.insert("port".to_owned(), json!(port));
    if !targets.is_empty() {
        let list: Vec<Value> = targets
            .iter()
            .map(|(port, path)| json!({"port": port, "path": path}))
            .collect();
        fields.insert("targets".to_owned(), Value::Array(list));
    }
    Ok(Some(Value::Object(fields).to_string()))
}

/// The ports and paths of `port[:path],…`; none when a port is missing.
fn targets(text: &str) -> Vec<(String, String)> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    let target = |item: &str| {
        let (port, path) = item.split_once(':').unwrap_or((item, ""));
        let path = match path.trim() {
            "" => "/metrics",
            path => path,
        };
        Some((port.trim().to_owned(), path.to_owned())).filter(|(port, _)| !port.is_empty())
    };
    text.split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(target)
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default()
}

fn check(what: &'static str, text: &str, name: &str, status_port: i32) -> Result<(), InjectError> {
    let wrong = |reason: String| Err(InjectError::Prometheus { what, reason });
    let Some(port) = text.parse::<u16>().ok().filter(|port| *port != 0) else {
        return wrong(format!("invalid {name} \"{text}\""));
    };
    if i32::from(port) == status_port {
        return wrong(format!("{name} {port} conflicts with agent port"));
    }
    match RESERVED.iter().find(|(reserved, _)| *reserved == port) {
        Some((_, usage)) => wrong(format!(
            "{name} {port} is reserved for Istio ({usage}) and cannot be scraped"
        )),
        None => Ok(()),
    }
}

/// The value of an annotation, named with every odd character as `_`.
fn annotation<'a>(pod: &'a PodObject, wanted: &str) -> Option<&'a str> {
    pod.annotations()
        .find(|(key, _)| plain(key) == wanted)
        .map(|(_, value)| value)
}

fn plain(key: &str) -> String {
    key.chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: Value) -> PodObject {
        let pod = json!({"metadata": {"annotations": annotations}, "spec": {"containers": [{"name": "istio-proxy"}]}});
        PodObject(pod.as_object().cloned().unwrap_or_default())
    }

    fn told(annotations: Value) -> Option<String> {
        let mut pod = pod(annotations);
        merge(&mut pod, &Settings::default(), 15020).unwrap_or_else(|e| panic!("{e}"));
        let env = pod
            .sidecar()?
            .get("env")?
            .as_array()?
            .first()?
            .get("value")?
            .as_str()?
            .to_owned();
        assert_eq!(pod.annotation("prometheus.io/port"), Some("15020"));
        Some(env)
    }

    #[test]
    fn the_agent_is_told_what_prometheus_was_told() {
        for (annotations, expected) in [
            (json!({}), None),
            (
                json!({"prometheus.io/port": "9080"}),
                Some(r#"{"scrape":"","path":"","port":"9080"}"#),
            ),
            (
                json!({"prometheus.io.port": "9080", "prometheus.io/path": "/m", "prometheus_io_scrape": "true"}),
                Some(r#"{"scrape":"true","path":"/m","port":"9080"}"#),
            ),
            (
                json!({"prometheus.istio.io/scrape-targets": "1:/a, 2"}),
                Some(
                    r#"{"scrape":"","path":"/a","port":"1","targets":[{"port":"1","path":"/a"},{"port":"2","path":"/metrics"}]}"#,
                ),
            ),
            (json!({"prometheus.istio.io/scrape-targets": ":/a"}), None),
        ] {
            assert_eq!(told(annotations).as_deref(), expected);
        }
    }

    #[test]
    fn ports_of_the_sidecar_are_refused() {
        for (port, reason) in [
            ("0", "invalid port \"0\""),
            ("x", "invalid port \"x\""),
            ("15020", ""),
            (
                "15090",
                "port 15090 is reserved for Istio (Envoy Prometheus telemetry) and cannot be scraped",
            ),
        ] {
            let mut pod = pod(json!({"prometheus.io/port": port}));
            let said = merge(&mut pod, &Settings::default(), 15020)
                .err()
                .map(|e| e.to_string())
                .unwrap_or_default();
            assert!(
                said.ends_with(reason)
                    && (reason.is_empty()
                        || said.starts_with("invalid prometheus scrape configuration: ")),
                "{said}"
            );
        }
        let mut pod = pod(json!({"prometheus.istio.io/scrape-targets": "15020"}));
        let said = merge(&mut pod, &Settings::default(), 15020)
            .expect_err("agent's port")
            .to_string();
        assert_eq!(
            said,
            "invalid prometheus scrape targets: target port 15020 conflicts with agent port"
        );
    }

    #[test]
    fn nothing_changes_when_scraping_or_merging_is_off() {
        for annotations in [
            json!({"prometheus.io/scrape": "false"}),
            json!({"prometheus.istio.io/merge-metrics": "false"}),
        ] {
            let mut changed = pod(annotations);
            let before = changed.clone();
            merge(&mut changed, &Settings::default(), 15020).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(changed, before);
        }
    }
}
