//! `lateenctl validate` as scripts see it.

use super::support::Folder;

const GOOD: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: web}\n\
    spec:\n  hosts: [web]\n  http:\n  - route:\n    - destination: {host: web}\n";

#[test]
fn valid_files_are_named_on_standard_error() {
    let folder = Folder::of(&[
        ("a.yaml", GOOD),
        ("b.json", "{}"),
        ("sub/c.yml", GOOD),
        ("sub/notes.txt", "["),
    ]);
    let ended = folder.run("validate -f a.yaml -f b.json,sub");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(ended.out, "");
    for line in ["\"a.yaml\" is valid\n", "\"sub/c.yml\" is valid\n"] {
        assert!(ended.err.contains(line), "{ended:?}");
    }
    let ended = folder.run_with(&["v", "-f", "-"], GOOD);
    assert_eq!(
        (ended.code, ended.err.as_str()),
        (0, "validation succeed\n")
    );
}

#[test]
fn faults_are_named_with_object_field_file_and_line() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: n}\nspec:\n  ports:\n  - port: 80\n  - {port: 81, name: foo}\n  - {port: 82, name: http-x}\n  - {port: 83, name: x, appProtocol: foo}\n  - {port: 84, protocol: UDP}\n";
    for (text, said) in [
        (
            GOOD.replace("hosts", "hostz"),
            "VirtualService//web: spec.hostz: unknown field: correct its name or take it out (a.yaml:5:3)",
        ),
        (
            GOOD.replace("spec:", "sepc: 1\nspec:"),
            "VirtualService//web: sepc: unknown field",
        ),
        (
            GOOD.replace("- route:", "- timeout: 0s\n    route:"),
            "VirtualService//web: spec.http[0].timeout: ",
        ),
        (
            GOOD.replace("name: web", "name: web, name: two"),
            "a.yaml:3:23: the key `name` is given twice, first in line 3",
        ),
        (
            GOOD.replace("[web]", "7"),
            "VirtualService//web: spec.hosts: ",
        ),
        (
            format!("{GOOD}---\n{service}"),
            "Service/n/s: spec.ports[0]: port 80 has no name",
        ),
        (
            format!("{GOOD}---\n{service}"),
            "Service/n/s: spec.ports[1].name: the port name \"foo\" does not begin with a protocol",
        ),
        (
            format!("{GOOD}---\n{service}"),
            "Error: 2 errors occurred:\n\t* Service/n/s: ",
        ),
        (
            format!(
                "kind: List\nitems:\n- {}",
                GOOD.replace("hosts:", "hostz:").replace('\n', "\n  ")
            ),
            "VirtualService//web: spec.hostz: unknown field: correct its name or take it out (a.yaml:7:5)",
        ),
    ] {
        let ended =
            Folder::of(&[("a.yaml", &text), ("b.yaml", GOOD)]).run("validate -f a.yaml -f b.yaml");
        assert_eq!(ended.code, 1, "{said}\n{ended:?}");
        assert!(ended.err.contains(said), "{said}\n{}", ended.err);
        assert!(
            ended.err.contains("\"b.yaml\" is valid\n")
                && !ended.err.contains("\"a.yaml\" is valid")
        );
    }
}

#[test]
fn the_mesh_s_own_ports_are_its_own_business() {
    let text = "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: istio-system}\nspec: {ports: [{port: 80}]}\n";
    let folder = Folder::of(&[("a.yaml", text)]);
    assert_eq!(folder.run("validate -f a.yaml").code, 0);
    assert_eq!(folder.run("validate -f a.yaml -i other").code, 1);
}

#[test]
fn deployments_without_labels_are_mentioned() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec: {selector: {}, template: {metadata: {labels: {app: d}}}}\n";
    let ended = Folder::of(&[("a.yaml", text)]).run("validate -f a.yaml");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.contains("Deployment//d: telemetry may not tell its pods apart: the pod template has no label version"), "{ended:?}");
    assert!(ended.err.contains("\"a.yaml\" is valid\n"));
}

#[test]
fn what_only_the_api_server_refuses_is_a_warning_unless_strict() {
    for text in [
        GOOD.replace("name: web}", "name: Web}"),
        GOOD.replace("istio.io/v1", "istio.io/v2"),
        GOOD.replace("VirtualService", "VirtualServices"),
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [], oops: 1}\n"
            .to_owned(),
        "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: p}\nspec: {url: 'https://example.com/x.wasm', imagePullSecret: ''}\n".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: p}\ndata: 7\n".to_owned(),
    ] {
        let folder = Folder::of(&[("a.yaml", &text)]);
        let ended = folder.run("validate -f a.yaml");
        assert_eq!(ended.code, 0, "{text}\n{ended:?}");
        assert!(
            ended.err.starts_with("\"a.yaml\" has warnings: \n\t* "),
            "{ended:?}"
        );
        assert!(
            ended.err.contains("the API server will refuse this: "),
            "{ended:?}"
        );
        assert_eq!(folder.run("validate -f a.yaml --strict").code, 1);
    }
}

#[test]
fn kinds_of_others_are_left_alone() {
    let text = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: c}\nodd: 1\n---\nreplicas: 3\n";
    let ended = Folder::of(&[("a.yaml", text)]).run("validate -f a.yaml --strict");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .err
            .contains("2 documents are not of a kind that is checked"),
        "{ended:?}"
    );
}

#[test]
fn bad_input_is_named_and_the_rest_still_checked() {
    let folder = Folder::of(&[
        ("good.yaml", GOOD),
        ("tab.yaml", "a:\n\tb: 1\n"),
        ("cut.yaml", "kind: [\n"),
    ]);
    folder.write("latin.yaml", b"a: \xe4\n");
    let ended = folder.run("validate -f . -f absent.yaml");
    assert_eq!(ended.code, 1);
    for said in [
        "\"./good.yaml\" is valid\n",
        "./tab.yaml:2:",
        "./cut.yaml:2:",
        "./latin.yaml:1:4: is not UTF-8",
        "cannot read file \"absent.yaml\": stat absent.yaml: no such file or directory",
    ] {
        assert!(ended.err.contains(said), "{said}\n{}", ended.err);
    }
    let ended = folder.run("validate");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("--filename"), "{ended:?}");
}
