//! The program as scripts see it: exit codes, and what goes to standard output and to standard error.

// The helpers of tests fail as tests do.
#![allow(clippy::panic)]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

fn lateenctl(arguments: &[&str], input: &str) -> Output {
    let runtime = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_lateenctl"))
        .args(arguments)
        .env("XDG_RUNTIME_DIR", runtime.path())
        .env_remove("LATEEN_MESH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{error}"));
    if let Some(mut stdin) = child.stdin.take() {
        // A command that fails early does not read its input.
        let _ = stdin.write_all(input.as_bytes());
    }
    child
        .wait_with_output()
        .unwrap_or_else(|error| panic!("{error}"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const POD: &str = "kind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a}]}\n";

#[test]
fn exit_codes_are_those_of_istioctl() {
    for (arguments, input, code, said) in [
        (&["--help"][..], "", 0, ""),
        (&["version", "--remote=false"], "", 0, ""),
        (
            &["--no-such-flag"],
            "",
            64,
            "unexpected argument '--no-such-flag'",
        ),
        (
            &["no-such-command"],
            "",
            64,
            "unrecognized subcommand 'no-such-command'",
        ),
        (
            &["kube-inject"],
            "",
            64,
            "Error: filename not specified (see --filename or -f)",
        ),
        (
            &["kube-inject", "-f", "/no/such.yaml"],
            "",
            1,
            "Error: open /no/such.yaml: no such file or directory",
        ),
        (
            &["kube-inject", "-f", "-"],
            "kind: Pod\nspec: [",
            65,
            "Error: standard input:3:1: not YAML: ",
        ),
        (
            &["kube-inject", "-f", "-"],
            "kind: Pod\nspec:\n  containers: x\n",
            65,
            "standard input:3:15: Pod \"\": spec.containers: ",
        ),
        (
            &["proxy-config", "cluster", "-f", "-"],
            "[]",
            65,
            "standard input: not a config_dump",
        ),
        (
            &["proxy-config", "cluster", "web", "--mesh", "absent"],
            "",
            1,
            "no mesh named \"absent\" is running",
        ),
        (&["proxy-status", "web"], "", 64, "is not supported yet"),
        (
            &["proxy-status", "--context", "x"],
            "",
            64,
            "--context: a Kubernetes cluster is not supported yet",
        ),
    ] {
        let output = lateenctl(arguments, input);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.contains(said), "{arguments:?}: {errors}");
        assert!(
            !errors.contains('\u{1b}'),
            "no colour where there is no terminal: {errors}"
        );
        assert!(
            code == 0 || output.stdout.is_empty(),
            "{arguments:?}: {}",
            text(&output.stdout)
        );
    }
}

#[test]
fn kube_inject_is_a_filter() {
    let output = lateenctl(
        &["kube-inject", "-f", "-", "--tag", "t"],
        &format!("{POD}---\nkind: Secret # kept\n"),
    );
    let out = text(&output.stdout);
    assert!(out.contains("image: lateen/proxyv2:t\n"), "{out}");
    assert!(out.ends_with("---\nkind: Secret # kept\n---\n"), "{out}");
    assert!(
        text(&output.stderr).contains("built-in defaults"),
        "{}",
        text(&output.stderr)
    );
    let host = POD.replace("spec: {", "spec: {hostNetwork: true, ");
    let output = lateenctl(&["kube-inject", "-f", "-"], &host);
    assert_eq!(text(&output.stdout), format!("{host}---\n"));
    assert_eq!(
        text(&output.stderr),
        "===> Skipping injection because Pod \"a\" has host networking enabled\n"
    );
}

#[test]
fn structured_output_is_for_programs() {
    let dump = r#"{"configs": [{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump",
        "dynamic_active_clusters": [{"cluster": {"name": "b", "eds_cluster_config": {}}}, {"cluster": {"name": "a"}}]}]}"#;
    let output = lateenctl(&["pc", "clusters", "-f", "-", "-o", "json"], dump);
    let list: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        list,
        serde_json::json!([{"name": "a"}, {"name": "b", "edsClusterConfig": {}}])
    );
    let output = lateenctl(&["pc", "c", "-f", "-", "-o", "yaml"], dump);
    assert_eq!(
        text(&output.stdout),
        "- name: a\n- edsClusterConfig: {}\n  name: b\n"
    );
    let output = lateenctl(&["version", "--remote=false", "-o", "json"], "");
    let version: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        version["clientVersion"]["version"],
        env!("CARGO_PKG_VERSION")
    );
}
