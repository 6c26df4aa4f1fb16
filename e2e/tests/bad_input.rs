//! Bad input to `lateenctl local up`: a clear error with file, line and field, exit code not 0, nothing half-started.
#![allow(clippy::unwrap_used)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use lateen_e2e::{Mesh, MeshOptions, sample};

/// Starts a mesh that must not start; gives what was said.
fn refused(name: &str, manifest: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("bad.yaml");
    std::fs::write(&file, manifest).unwrap();
    let options = MeshOptions {
        name: name.to_owned(),
        files: vec![
            sample("bookinfo/platform/kube/bookinfo.yaml"),
            file.display().to_string(),
        ],
        arguments: Vec::new(),
    };
    let error = Mesh::up(&options).expect_err("the mesh came up");
    let left = std::process::Command::new("pgrep")
        .args(["-f", &format!("local.*{name}")])
        .output()
        .unwrap();
    assert!(
        left.stdout.is_empty(),
        "processes of {name} are left: {}",
        String::from_utf8_lossy(&left.stdout)
    );
    format!("{error:#}")
}

#[test]
fn each_mistake_names_file_line_and_field() {
    let cases = [
        (
            "e2e-bad-yaml",
            "apiVersion: v1\nkind: [Service\n",
            vec!["bad.yaml:"],
        ),
        (
            "e2e-bad-kind",
            "apiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: a}\n",
            vec!["bad.yaml:2", "VirtualServise"],
        ),
        (
            "e2e-bad-field",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: [reviews]\n  \
             http:\n    - route:\n        - destination:\n            host: reviews\n            subsett: v1\n",
            vec!["bad.yaml:10", "subsett"],
        ),
        (
            "e2e-bad-subset",
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: [reviews]\n  \
             http:\n    - route:\n        - destination:\n            host: reviews\n            subset: v9\n",
            vec!["bad.yaml:10", "v9", "subset"],
        ),
    ];
    for (name, manifest, wanted) in cases {
        let said = refused(name, manifest);
        for text in wanted {
            assert!(
                said.contains(text),
                "{name}: {text:?} is missing in:\n{said}"
            );
        }
    }
}

#[test]
fn a_port_in_use_ends_lateend_with_the_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let lateend = std::env::current_exe()
        .unwrap()
        .ancestors()
        .nth(2)
        .unwrap()
        .join("lateend");
    let folder = tempfile::tempdir().unwrap();
    let output = std::process::Command::new(lateend)
        .args([
            "discovery",
            "--configDir",
            &folder.path().display().to_string(),
            "--secureGRPCAddr",
            "127.0.0.1:0",
        ])
        .args([
            "--httpAddr",
            &address,
            "--monitoringAddr",
            "127.0.0.1:0",
            "--httpsAddr",
            "",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains(&address),
        "{said}"
    );
}

#[test]
fn missing_privileges_are_named() {
    // A user without root and without a range of subordinate ids cannot have a namespace with the proxy's user in it. The
    // workspace may lie where such a user cannot look.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let binaries = std::env::current_exe().unwrap();
    let binaries = binaries.ancestors().nth(2).unwrap();
    let lateenctl = folder.path().join("lateenctl");
    std::fs::copy(binaries.join("lateenctl"), &lateenctl).unwrap();
    let manifest = folder.path().join("service.yaml");
    std::fs::write(
        &manifest,
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n",
    )
    .unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=64999", "--regid=64999", "--clear-groups"])
        .args(["--bounding-set=-all", "--inh-caps=-all"])
        .args(["--", "env", "-u", "XDG_RUNTIME_DIR"])
        .arg(lateenctl)
        .args(["local", "up", "--detach", "--name", "e2e-rights", "-f"])
        .arg(manifest)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success(),
        "the mesh came up without privileges"
    );
    assert!(said.contains("sudo"), "{said}");
}
