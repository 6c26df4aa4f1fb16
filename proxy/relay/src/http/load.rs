//! Load reports in answers (ORCA): `endpoint-load-metrics` as text or JSON.

use http::{HeaderMap, HeaderName};
use lateen_proxy_model::LoadReport;

static METRICS: HeaderName = HeaderName::from_static("endpoint-load-metrics");

/// Figures of one report.
const MOST: usize = 64;

/// The report of an answer, when it has one that can be read.
pub(crate) fn read(headers: &HeaderMap) -> Option<LoadReport> {
    let text = headers.get(&METRICS)?.to_str().ok()?;
    let mut report = LoadReport::default();
    if let Some(pairs) = text.strip_prefix("TEXT ") {
        for pair in pairs.split(',').take(MOST) {
            let (name, value) = pair.split_once('=')?;
            take(&mut report, name.trim(), value.trim().parse().ok()?);
        }
    } else {
        let json = serde_json::from_str(text.strip_prefix("JSON ")?).ok()?;
        let serde_json::Value::Object(fields) = json else {
            return None;
        };
        for (name, value) in fields.iter().take(MOST) {
            match value {
                serde_json::Value::Object(inner) => {
                    for (key, value) in inner.iter().take(MOST) {
                        take(&mut report, &format!("{name}.{key}"), value.as_f64()?);
                    }
                }
                value => take(&mut report, name, value.as_f64()?),
            }
        }
    }
    Some(report)
}

fn take(report: &mut LoadReport, name: &str, value: f64) {
    if !value.is_finite() || value < 0.0 {
        return;
    }
    match name {
        "application_utilization" => report.application = value,
        "cpu_utilization" => report.cpu = value,
        "rps_fractional" | "rps" => report.rps = value,
        "eps" => report.eps = value,
        _ => report.metrics.push((name.to_owned(), value)),
    }
}

/// What a fuzzer gives the header that upstreams tell their load in.
pub fn fuzz(value: &[u8]) -> Option<LoadReport> {
    let mut headers = HeaderMap::new();
    headers.insert(&METRICS, http::HeaderValue::from_bytes(value).ok()?);
    read(&headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_junk_is_not() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&METRICS, text.parse().expect("header"));
            read(&headers)
        };
        let text =
            of("TEXT cpu_utilization=0.5,rps_fractional=100,named_metrics.a=2").expect("read");
        assert_eq!((text.cpu, text.rps), (0.5, 100.0));
        let json = r#"JSON {"cpu_utilization":0.5,"rps_fractional":100,"named_metrics":{"a":2}}"#;
        assert_eq!(of(json), Some(text));
        assert_eq!(of("TEXT a"), None);
        assert_eq!(of("{}"), None);
    }
}
