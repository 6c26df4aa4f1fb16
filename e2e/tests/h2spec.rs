//! h2spec 2.2.1 finds nothing, in the clear and in TLS.

use std::path::PathBuf;
use std::process::Command;

use lateen_e2e::hostile::{RawUpstream, Running};
use lateen_e2e::{differential, workspace};

fn folder() -> PathBuf {
    workspace().join("e2e/protocol")
}

fn h2spec() -> PathBuf {
    let output = Command::new(folder().join("h2spec.sh"))
        .output()
        .expect("a step of the test");
    let text = String::from_utf8(output.stdout).expect("a step of the test");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    text.trim().into()
}

/// What h2spec says in the end, and all of it.
fn run(port: u16, more: &[&str]) -> (String, String) {
    let mut command = Command::new(h2spec());
    command.args(["-p", &port.to_string()]).args(more);
    let output = command.output().expect("a step of the test");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let last = text.lines().rfind(|line| line.contains(" passed, "));
    (last.unwrap_or_default().to_owned(), text)
}

fn certificate(folder: &std::path::Path) {
    let status = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=test",
            "-addext",
            "subjectAltName=DNS:test",
        ])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(folder)
        .stderr(std::process::Stdio::null())
        .status()
        .expect("a step of the test");
    assert!(status.success(), "openssl");
}

#[test]
fn h2spec_passes() {
    let folder = folder();
    let upstream = RawUpstream::start().expect("a step of the test");
    let template = std::fs::read_to_string(folder.join("h2spec.yaml")).expect("a step of the test");
    let template = template.replace("@UPSTREAM@", &upstream.port.to_string());
    let scratch = tempfile::tempdir().expect("a step of the test");
    certificate(scratch.path());
    for (codec, cases) in [
        ("HTTP2", &[(0, &[][..]), (1, &["-t", "-k"])][..]),
        ("AUTO", &[(1, &["-t", "-k"])]),
    ] {
        let text = template.replace("@CODEC@", codec);
        let proxy =
            Running::lateen(&text, &["plain", "tls"], scratch.path()).expect("a step of the test");
        for (port, more) in cases {
            let (last, all) = run(proxy.ports[*port], &[&["-o", "3"], *more].concat());
            println!("lateen-proxy, {codec} {more:?}: {last}");
            assert_eq!(last, "145 tests, 145 passed, 0 skipped, 0 failed", "{all}");
        }
    }
    let envoy = differential::envoy_binary(&workspace().join("e2e/differential"))
        .expect("a step of the test");
    let mut command = Command::new(envoy);
    command.args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "off"]);
    let text = template.replace("@CODEC@", "AUTO");
    let started = Running::start(&mut command, &text, &["plain", "tls"], scratch.path());
    println!(
        "Envoy, AUTO: {}",
        run(started.expect("a step of the test").ports[0], &["-o", "1"]).0
    );
}
