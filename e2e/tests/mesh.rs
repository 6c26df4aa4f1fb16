//! The local mesh end to end: real redirection, encryption, live changes, failures of the control plane.
//!
//! Each test has a mesh of its own. They need what `make setup` installs and the workspace's binaries.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lateen_e2e::{Mesh, MeshOptions, eventually, sample};
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);
const REVIEWS: &str = "http://reviews:9080/reviews/0";
const RATINGS: &str = "http://ratings:9080/ratings/0";
const HTTPBIN: &str = "http://httpbin:8000/anything";

fn bookinfo(name: &str, extra: &[String]) -> Mesh {
    let mut files = vec![
        sample("bookinfo/platform/kube/bookinfo.yaml"),
        sample("bookinfo/networking/bookinfo-gateway.yaml"),
        sample("bookinfo/networking/destination-rule-all.yaml"),
        sample("curl/curl.yaml"),
        sample("curl/legacy.yaml"),
        sample("httpbin/httpbin.yaml"),
    ];
    files.extend_from_slice(extra);
    Mesh::up(&MeshOptions {
        name: name.to_owned(),
        files,
        arguments: Vec::new(),
    })
    .unwrap()
}

fn peer_authentication(mode: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {{name: default}}\nspec: {{mtls: {{mode: {mode}}}}}\n"
    )
}

fn routed_to(version: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews}}\nspec:\n  hosts: [reviews]\n  \
         http:\n    - retries: {{attempts: 0}}\n      route: [{{destination: {{host: reviews, subset: {version}}}}}]\n"
    )
}

fn without_retries(host: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {host}}}\nspec:\n  hosts: [{host}]\n  \
         http:\n    - retries: {{attempts: 0}}\n      route: [{{destination: {{host: {host}}}}}]\n"
    )
}

/// What a capture on the mesh's bridge holds between two pods.
#[derive(Debug)]
struct Seen {
    tls_records: usize,
    plain_http: usize,
}

/// Captures port 9080 of every pod on the mesh's bridge while `work` runs.
fn capture(mesh: &Mesh, work: impl FnOnce() -> Result<()>) -> Result<Seen> {
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().display().to_string();
    let bridge = mesh
        .status()?
        .get("bridge")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .context("no bridge")?;
    let filter = [
        "-i",
        &bridge,
        "-U",
        "--immediate-mode",
        "-s",
        "0",
        "-w",
        &path,
        "tcp",
        "port",
        "9080",
    ];
    let mut tcpdump = mesh.on_node(&[&["tcpdump"], &filter[..]].concat())?;
    let begun = eventually(SOON, || {
        ensure!(
            std::fs::metadata(&path)?.len() >= 24,
            "tcpdump has not begun"
        );
        Ok(())
    });
    let worked = begun.and_then(|()| work());
    // tcpdump writes what the kernel still holds when it is asked to end.
    mesh.on_node(&["pkill", "-INT", "-f", &path])?.wait()?;
    tcpdump.wait()?;
    worked?;
    let bytes = std::fs::read(&path)?;
    let count = |needle: &[u8]| {
        bytes
            .windows(needle.len())
            .filter(|window| window == &needle)
            .count()
    };
    Ok(Seen {
        tls_records: count(&[0x17, 0x03, 0x03]),
        plain_http: count(b"GET /reviews") + count(b"HTTP/1.1 200"),
    })
}

#[test]
fn traffic_is_redirected_encrypted_and_refused_by_policy() {
    let mesh = bookinfo("e2e-mtls", &[]);
    let twenty = || {
        let load = mesh.load("curl", REVIEWS, &["--count", "20", "--no-keepalive"])?;
        ensure!(load.ok == 20, "{load:?}");
        Ok(())
    };

    let seen = capture(&mesh, twenty).unwrap();
    assert!(
        seen.tls_records >= 20 && seen.plain_http == 0,
        "with mTLS: {seen:?}"
    );

    mesh.apply(&peer_authentication("DISABLE")).unwrap();
    let seen = eventually(SOON, || {
        let seen = capture(&mesh, twenty)?;
        ensure!(seen.plain_http >= 20, "under DISABLE: {seen:?}");
        Ok(seen)
    })
    .unwrap();
    assert_eq!(seen.tls_records, 0, "under DISABLE nothing is encrypted");

    mesh.apply(&peer_authentication("PERMISSIVE")).unwrap();
    eventually(SOON, || {
        let (status, body) = mesh.curl("legacy", REVIEWS, &[])?;
        ensure!(status == 200, "status {status}: {body}");
        Ok(())
    })
    .unwrap();

    mesh.apply(&peer_authentication("STRICT")).unwrap();
    eventually(SOON, || {
        let output = mesh.exec("legacy", &["curl", "-sS", "--max-time", "5", REVIEWS])?;
        ensure!(
            matches!(output.code, 52 | 56),
            "curl ended with {}: {}",
            output.code,
            output.stderr
        );
        Ok(())
    })
    .unwrap();
    let resolved = mesh
        .exec("legacy", &["getent", "hosts", "reviews"])
        .unwrap();
    assert_eq!(
        resolved.code, 0,
        "the name is known where the service is refused"
    );
    assert_eq!(mesh.curl("curl", REVIEWS, &[]).unwrap().0, 200);
}

#[test]
fn a_saved_file_is_seen_by_callers_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let file: PathBuf = folder.path().join("reviews.yaml");
    std::fs::write(&file, routed_to("v1")).unwrap();
    let mesh = bookinfo("e2e-change", &[file.display().to_string()]);
    for version in ["v3", "v2", "v1"] {
        let wanted = format!("reviews-{version}");
        std::fs::write(&file, routed_to(version)).unwrap();
        let saved = Instant::now();
        eventually(SOON, || {
            let load = mesh.load("curl", REVIEWS, &["--count", "3", "--tally", &wanted])?;
            ensure!(load.of(&wanted) == 3, "{load:?}");
            Ok(())
        })
        .unwrap();
        assert!(
            saved.elapsed() < Duration::from_secs(1),
            "{version} was seen after {:?}",
            saved.elapsed()
        );
    }

    std::fs::write(&file, "spec: [not, a, route\n").unwrap();
    let load = mesh
        .load("curl", REVIEWS, &["--count", "10", "--tally", "reviews-v1"])
        .unwrap();
    assert_eq!(
        load.of("reviews-v1"),
        10,
        "a broken file keeps the last good routes: {load:?}"
    );
}

#[test]
fn no_request_fails_during_route_changes_a_pod_deletion_and_a_rolling_restart() {
    let mesh = bookinfo("e2e-rolling", &[]);
    for host in ["ratings", "httpbin"] {
        mesh.apply(&without_retries(host)).unwrap();
    }
    mesh.apply(&routed_to("v2")).unwrap();
    let loads: [(&str, &[&str]); 4] = [
        (
            REVIEWS,
            &["--count", "4000", "--rate", "250", "--concurrency", "4"],
        ),
        (
            REVIEWS,
            &[
                "--count",
                "2000",
                "--rate",
                "125",
                "--concurrency",
                "4",
                "--http2",
            ],
        ),
        (
            RATINGS,
            &["--count", "2000", "--rate", "125", "--concurrency", "4"],
        ),
        (
            HTTPBIN,
            &[
                "--count",
                "2000",
                "--rate",
                "125",
                "--concurrency",
                "4",
                "--http2",
            ],
        ),
    ];
    let reports = std::thread::scope(|scope| {
        let running: Vec<_> = loads
            .iter()
            .map(|(url, arguments)| {
                let mut arguments = arguments.to_vec();
                arguments.extend(["--forbid", "unavailable"]);
                let mesh = &mesh;
                scope.spawn(move || mesh.load("curl", url, &arguments))
            })
            .collect();
        for round in 0..10 {
            mesh.apply(&routed_to(if round % 2 == 0 { "v3" } else { "v2" }))
                .unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        mesh.local(&["restart", "deployment/ratings-v1"])
            .unwrap()
            .ok()
            .unwrap();
        // The routes so far lead to one pod each; whoever ends that one must leave another to go to.
        mesh.apply(&without_retries("reviews")).unwrap();
        mesh.local(&["delete", &mesh.pod("reviews-v2").unwrap()])
            .unwrap()
            .ok()
            .unwrap();
        mesh.local(&["restart", "deployment/httpbin"])
            .unwrap()
            .ok()
            .unwrap();
        running
            .into_iter()
            .map(|load| load.join().unwrap().unwrap())
            .collect::<Vec<_>>()
    });
    let sent: u64 = reports.iter().map(|report| report.sent).sum();
    assert_eq!(sent, 10_000);
    for (report, (url, arguments)) in reports.iter().zip(loads) {
        assert_eq!(report.ok, report.sent, "{url} {arguments:?}: {report:?}");
    }
}

/// Waits until ten calls in a row reach this version of reviews.
fn reaches(mesh: &Mesh, version: &str) -> Result<()> {
    let wanted = format!("reviews-{version}");
    eventually(SOON * 2, || {
        let load = mesh.load("curl", REVIEWS, &["--count", "10", "--tally", &wanted])?;
        let log = [
            "logs",
            "deployment/curl",
            "-c",
            "istio-proxy",
            "--tail",
            "12",
        ];
        ensure!(
            load.of(&wanted) == 10,
            "{load:?}\n{}",
            mesh.local(&log)?.stdout
        );
        Ok(())
    })
}

/// Waits until every proxy has acknowledged all it subscribed to.
fn all_synced(mesh: &Mesh) -> Result<()> {
    eventually(SOON * 3, || {
        let status = mesh.lateenctl(&["proxy-status", "-v", "1"])?.ok()?.stdout;
        let rows: Vec<&str> = status.lines().skip(1).collect();
        ensure!(rows.len() >= 9, "{status}");
        let bad = ["STALE", "NOT SENT", "ERROR"];
        let synced =
            |row: &&str| row.contains("SYNCED") && !bad.iter().any(|word| row.contains(word));
        ensure!(rows.iter().all(synced), "{status}");
        Ok(())
    })
}

#[test]
fn the_mesh_lives_on_without_its_control_plane() {
    let mesh = bookinfo("e2e-headless", &[]);
    mesh.apply(&routed_to("v1")).unwrap();
    reaches(&mesh, "v1").unwrap();

    mesh.local(&["kill", "deployment/istiod"])
        .unwrap()
        .ok()
        .unwrap();
    let load = mesh
        .load("curl", REVIEWS, &["--count", "100", "--no-keepalive"])
        .unwrap();
    assert_eq!(load.ok, 100, "{load:?}");
    let seen = capture(&mesh, || {
        let load = mesh.load("curl", REVIEWS, &["--count", "5", "--no-keepalive"])?;
        ensure!(load.ok == 5, "{load:?}");
        Ok(())
    })
    .unwrap();
    assert!(
        seen.tls_records > 0 && seen.plain_http == 0,
        "new connections are encrypted: {seen:?}"
    );

    let kept = "/etc/istio/proxy/lateen-config.bin";
    eventually(SOON, || {
        let test = [
            "exec",
            "deployment/curl",
            "-c",
            "istio-proxy",
            "--",
            "test",
            "-s",
            kept,
        ];
        mesh.local(&test)?.ok().map(drop)
    })
    .unwrap();
    // The one that was started in its place answers nobody, which is worse than none.
    eventually(SOON, || {
        mesh.local(&["kill", "deployment/istiod", "--signal", "STOP"])?
            .ok()
            .map(drop)
    })
    .unwrap();
    mesh.local(&["kill", "deployment/curl", "-c", "istio-proxy"])
        .unwrap()
        .ok()
        .unwrap();
    reaches(&mesh, "v1").unwrap();

    mesh.local(&["kill", "deployment/istiod", "--signal", "CONT"])
        .unwrap()
        .ok()
        .unwrap();
    all_synced(&mesh).unwrap();
}

#[test]
fn tcp_is_encrypted_and_both_sides_know_the_other_workload() {
    let fixture = lateen_e2e::workspace().join("e2e/fixtures/tcp.yaml");
    let mesh = Mesh::up(&MeshOptions {
        name: "e2e-tcp".to_owned(),
        files: vec![fixture.display().to_string(), sample("curl/curl.yaml")],
        arguments: vec!["--images".to_owned(), sample("local/images.yaml")],
    })
    .unwrap();
    let url = "http://tcpecho:9000/status/200";
    assert_eq!(mesh.curl("curl", url, &[]).unwrap().0, 200);

    let opened = "istio_tcp_connections_opened_total{";
    for (deployment, reporter) in [("curl", "source"), ("tcpecho", "destination")] {
        eventually(SOON, || {
            let scrape = ["curl", "-s", "http://localhost:15020/stats/prometheus"];
            let metrics = mesh.exec(deployment, &scrape)?.ok()?.stdout;
            let line = metrics
                .lines()
                .find(|line| line.starts_with(opened))
                .context("no TCP metrics")?;
            for label in [
                format!("reporter=\"{reporter}\""),
                "source_workload=\"curl\"".to_owned(),
                "destination_workload=\"tcpecho\"".to_owned(),
                "source_principal=\"spiffe://cluster.local/ns/default/sa/curl\"".to_owned(),
                "destination_principal=\"spiffe://cluster.local/ns/default/sa/tcpecho\"".to_owned(),
            ] {
                ensure!(line.contains(&label), "{label} is missing in {line}");
            }
            Ok(())
        })
        .unwrap();
    }
}
