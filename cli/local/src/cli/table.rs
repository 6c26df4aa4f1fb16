//! Tables of pods.

use crate::protocol::{MeshStatus, PodSummary};

const HEADERS: [&str; 8] = [
    "NAME",
    "NAMESPACE",
    "READY",
    "STATUS",
    "RESTARTS",
    "IP",
    "VERSION",
    "SPIFFE ID",
];

/// One row a pod.
pub(super) fn pods(pods: &[PodSummary]) -> String {
    let mut rows = vec![HEADERS.map(str::to_owned)];
    rows.extend(pods.iter().map(row));
    let mut widths = [0; HEADERS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; HEADERS.len()]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        cells.join("   ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row(pod: &PodSummary) -> [String; HEADERS.len()] {
    let or_dash = |text: &str| {
        if text.is_empty() {
            "-".to_owned()
        } else {
            text.to_owned()
        }
    };
    [
        pod.name.clone(),
        pod.namespace.clone(),
        format!("{}/{}", pod.ready.0, pod.ready.1),
        pod.status.clone(),
        pod.restarts.to_string(),
        pod.ip.clone(),
        or_dash(&pod.version),
        or_dash(&pod.spiffe),
    ]
}

/// Where the ingress gateway is reached.
pub(super) fn ingress(status: &MeshStatus) -> String {
    format!("\nIngress gateway: http://{}/", status.ingress)
}

/// What is wrong with the watched files; nothing when they are in order.
pub(super) fn problems(status: &MeshStatus) -> Vec<String> {
    if status.problems.is_empty() {
        return Vec::new();
    }
    let title = "\nNot in effect (the mesh goes on with the last valid state):".to_owned();
    let problems = status.problems.iter().map(|p| format!("  {p}"));
    std::iter::once(title).chain(problems).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let pod = PodSummary {
            name: "reviews-v1-abc".to_owned(),
            ready: (1, 2),
            status: "Running".to_owned(),
            ..PodSummary::default()
        };
        let text = pods(&[pod]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find("READY"), lines[1].find("1/2"));
        assert!(lines[1].ends_with('-'));
    }

    #[test]
    fn problems_follow_a_title() {
        let mut status = MeshStatus::default();
        assert!(problems(&status).is_empty());
        status.problems = vec!["a.yaml:3:1: not YAML".to_owned()];
        let lines = problems(&status);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[1], "  a.yaml:3:1: not YAML");
    }
}
