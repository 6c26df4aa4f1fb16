//! The program as pods and people call it.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lateen-proxy"));
    command
        .args(arguments)
        .env_clear()
        .output()
        .expect("the program starts")
}

fn error(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} should fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn rules_are_shown_without_being_set() {
    let line = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x= -b * -d 15090,15021,15020 -n";
    let output = run(&line.split(' ').collect::<Vec<_>>());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success());
    assert!(
        text.starts_with("*nat\n:ISTIO_INBOUND") && text.contains("--to-ports 15006"),
        "{text}"
    );
}

#[test]
fn errors_name_what_is_wrong() {
    let cases: [(&[&str], &str); 6] = [
        (&["proxy", "sidecar"], "INSTANCE_IP is not set"),
        (
            &["proxy", "sidecar", "--stsPort=1"],
            "--stsPort is not supported",
        ),
        (
            &["proxy", "sidecar", "--proxyLogLevel=loud"],
            "`loud` is no log level",
        ),
        (&["proxy", "waypoint"], "waypoint"),
        (
            &["istio-iptables", "-m", "TPROXY"],
            "-m TPROXY is not supported",
        ),
        (
            &["wait", "--url=https://localhost/", "--timeoutSeconds=1"],
            "https://localhost/",
        ),
    ];
    for (arguments, part) in cases {
        let text = error(arguments);
        assert!(text.contains(part), "{arguments:?}: {text}");
    }
}

#[test]
fn a_bootstrap_with_an_unknown_field_is_refused_by_its_child() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("bootstrap.yaml");
    std::fs::write(
        &file,
        "static_resources:\n  listeners:\n  - name: l\n    no_such_field: 1\n",
    )
    .expect("written");
    let file = file.to_str().expect("UTF-8");
    let text = error(&["envoy", "-c", file]);
    assert!(
        text.contains(file) && text.contains("no_such_field"),
        "{text}"
    );
    assert!(error(&["envoy", "-c", "/no/such/file"]).contains("/no/such/file"));
}

#[test]
fn the_version_is_the_packages() {
    let output = run(&["version", "--short"]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        env!("CARGO_PKG_VERSION")
    );
}
