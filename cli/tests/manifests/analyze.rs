//! `lateenctl analyze` as scripts see it, on files.

use serde_json::Value;

use super::support::{Ended, Folder};

/// A namespace without injection (Info), a pod without its sidecar (Warning), and a policy about a namespace that is not (Error).
const MIXED: &str = "\
apiVersion: v1
kind: Namespace
metadata: {name: default}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: shop}
spec: {containers: [{name: app, image: app}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: who, namespace: shop}
spec:
  rules:
  - from:
    - source: {namespaces: [nowhere]}
";
const WARNING: &str = "\
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations: {networking.istio.io/exportTox: '.'}
spec: {ports: [{port: 80, name: http}]}
";

fn codes(ended: &Ended) -> Vec<String> {
    let mut codes: Vec<String> = ended
        .out
        .lines()
        .filter_map(|line| Some(line.split_once('[')?.1.split_once(']')?.0.to_owned()))
        .collect();
    codes.dedup();
    codes
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn messages_are_lines_and_errors_end_with_79() {
    let folder = Folder::of(&[("a.yaml", MIXED)]);
    let ended = folder.run("analyze -k=false -A a.yaml");
    assert_eq!(ended.code, 79, "{ended:?}");
    let first = ended.out.lines().next().unwrap_or_default();
    assert!(
        first.starts_with("Error [IST0101] (AuthorizationPolicy shop/who a.yaml:20) "),
        "{ended:?}"
    );
    assert!(
        ended
            .out
            .contains("Warning [IST0103] (Pod shop/bare a.yaml:9) "),
        "{ended:?}"
    );
    assert!(
        ended
            .out
            .contains("Info [IST0102] (Namespace default a.yaml:"),
        "{ended:?}"
    );
    assert!(
        ended.err.contains("when analyzing all namespaces"),
        "{ended:?}"
    );
    assert!(!ended.out.contains('\u{1b}'));
    let ended = folder.run("analyze -k=false -A --color a.yaml");
    assert!(
        ended
            .out
            .starts_with("\u{1b}[1;31mError\u{1b}[0m [IST0101]"),
        "{ended:?}"
    );
    // The default namespace alone.
    let ended = folder.run("analyze -k=false a.yaml");
    assert_eq!((ended.code, codes(&ended)), (0, vec!["IST0102".to_owned()]));
    let ended = folder.run("analyze -k=false a.yaml -n shop");
    assert!(!codes(&ended).contains(&"IST0102".to_owned()), "{ended:?}");
}

#[test]
fn thresholds_say_what_fails_and_what_is_shown() {
    let folder = Folder::of(&[("a.yaml", WARNING)]);
    for (flags, code, shown) in [
        ("", 0, true),
        (" --failure-threshold Warning", 79, true),
        (
            " --failure-threshold warning --output-threshold error",
            79,
            false,
        ),
        (" --failure-threshold INFO -o json", 79, true),
        (" --failure-threshold INFO -o yaml", 79, true),
        (" --failure-threshold INFO -o sarif", 79, true),
        (" --failure-threshold INFO -o GitHub", 79, true),
        (
            " --failure-threshold INFO -o json --istio-compatible",
            0,
            true,
        ),
        (
            " --failure-threshold INFO -o log --istio-compatible",
            79,
            true,
        ),
    ] {
        let ended = folder.run(&format!("analyze -k=false a.yaml{flags}"));
        assert_eq!(ended.code, code, "{flags}: {ended:?}");
        assert_eq!(ended.out.contains("IST0108"), shown, "{flags}: {ended:?}");
    }
}

#[test]
fn no_message_is_a_success_with_an_empty_line() {
    let good = WARNING.replace("exportTox", "exportTo");
    let folder = Folder::of(&[("a.yaml", &good), ("b.yaml", "kind: [\n")]);
    let ended = folder.run("analyze -k=false a.yaml");
    assert_eq!((ended.code, ended.out.as_str()), (0, "\n"));
    assert_eq!(
        ended.err,
        "\u{2714} No validation issues found when analyzing a.yaml.\n"
    );
    let ended = folder.run("analyze -k=false a.yaml b.yaml");
    assert_eq!(ended.code, 65, "{ended:?}");
    for said in [
        "Error(s) adding files:\n\t* b.yaml:2:1: ",
        "(but 1 file could not be parsed):\n  - a.yaml\n  - b.yaml\n",
        "Error: Some files couldn't be parsed.",
    ] {
        assert!(ended.err.contains(said), "{said}: {ended:?}");
    }
    assert_eq!(
        folder
            .run("analyze -k=false a.yaml b.yaml --ignore-unknown")
            .code,
        0
    );
    let ended = folder.run("analyze -k=false -o json a.yaml");
    assert_eq!((ended.code, ended.out.as_str()), (0, "[]\n"));
}

#[test]
fn programs_get_json_yaml_sarif_and_commands() {
    let folder = Folder::of(&[("sub/a b.yaml", MIXED)]);
    let run =
        |format: &str| folder.run_with(&["analyze", "-k=false", "-A", "-o", format, "./sub"], "");
    let list = json(&run("json").out);
    let first = &list[0];
    assert_eq!(first["code"], "IST0101");
    assert_eq!(first["origin"], "AuthorizationPolicy shop/who");
    assert_eq!(first["reference"], "./sub/a b.yaml:20");
    assert!(
        first["documentationUrl"]
            .as_str()
            .is_some_and(|url| url.contains("/ist0101/"))
    );
    let yaml = run("yaml").out;
    let documents = lateen_api::yaml::parse(&yaml).unwrap_or_else(|error| panic!("{error}"));
    let read: Value =
        lateen_api::yaml::read(&documents[0].root).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(read, list);
    let commands = run("github").out;
    assert!(
        commands.starts_with("::error file=sub/a b.yaml,line=20,col="),
        "{commands}"
    );
    let log = json(&run("sarif").out);
    assert_eq!(log["version"], "2.1.0");
    let driver = &log["runs"][0]["tool"]["driver"];
    assert!(driver["name"].is_string());
    let rules = driver["rules"].as_array().cloned().unwrap_or_default();
    let results = log["runs"][0]["results"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    assert_eq!(results.len(), list.as_array().map_or(0, Vec::len));
    for result in &results {
        let rule = rules.iter().position(|rule| rule["id"] == result["ruleId"]);
        assert_eq!(rule.map(Value::from), Some(result["ruleIndex"].clone()));
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "sub/a%20b.yaml");
        assert!(
            place["region"]["startLine"]
                .as_u64()
                .is_some_and(|line| line > 0)
        );
        assert!(
            ["error", "warning", "note"].contains(&result["level"].as_str().unwrap_or_default())
        );
    }
}

#[test]
fn messages_are_suppressed_by_flag_and_annotation() {
    let folder = Folder::of(&[("a.yaml", MIXED)]);
    let all = ["analyze", "-k=false", "-A", "a.yaml"];
    let with = |more: &[&str]| {
        let mut arguments = all.to_vec();
        arguments.extend(more);
        folder.run_with(&arguments, "")
    };
    let ended = with(&[
        "-S",
        "IST0101=AuthorizationPolicy shop/*",
        "-S",
        "IST0103=Pod *",
    ]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        !ended.out.contains("IST0101") && !ended.out.contains("IST0103"),
        "{ended:?}"
    );
    let ended = with(&["-S", "IST0101=AuthorizationPolicy other/*"]);
    assert_eq!(ended.code, 79, "{ended:?}");
    let ended = with(&["-S", "IST9999=*"]);
    assert!(
        ended.code == 79 && ended.err.contains("IST9999"),
        "{ended:?}"
    );
    let ended = with(&["-S", "IST0101"]);
    assert!(
        ended.code == 1 && ended.err.contains("CODE=OBJECT"),
        "{ended:?}"
    );
    let annotated = MIXED.replace(
        "{name: who, namespace: shop}",
        "{name: who, namespace: shop, annotations: {galley.istio.io/analyze-suppress: 'IST0127,IST0101'}}",
    );
    let folder = Folder::of(&[("a.yaml", &annotated)]);
    assert_eq!(folder.run("analyze -k=false -A a.yaml").code, 0);
}

#[test]
fn standard_input_folders_and_names_are_read_as_istioctl_does() {
    let folder = Folder::of(&[("sub/deep/a.yml", WARNING), ("b.txt", WARNING)]);
    let ended = folder.run_with(&["analyze", "--use-kube=false", "-"], WARNING);
    assert!(ended.out.contains("(Service default/web -:5)"), "{ended:?}");
    let ended = folder.run("analyze -k=false sub -R");
    assert!(
        ended.out.contains("(Service default/web sub/deep/a.yml:5)"),
        "{ended:?}"
    );
    assert!(ended.err.contains("-R has no effect"), "{ended:?}");
    let ended = folder.run("analyze -k=false b.txt");
    assert_eq!(ended.code, 1);
    for said in [
        "Skipping file b.txt, recognized file extensions are: [.json .yaml .yml]",
        "at least one file and/or Kubernetes source must be provided",
    ] {
        assert!(ended.err.contains(said), "{ended:?}");
    }
    let ended = folder.run("analyze -k=false absent.yaml");
    assert!(
        ended.code == 1 && ended.err.contains("absent.yaml: no such file or directory"),
        "{ended:?}"
    );
}

#[test]
fn usage_errors_end_with_64_and_a_missing_cluster_with_1() {
    let folder = Folder::of(&[("a.yaml", WARNING)]);
    for (line, code, said) in [
        ("analyze -o xml a.yaml", 64, "the forms are log, json, yaml"),
        (
            "analyze --failure-threshold bad a.yaml",
            64,
            "Info, Warning and Error",
        ),
        ("analyze --no-such-flag", 64, "--no-such-flag"),
        ("analyze --write a.yaml", 64, "--fix"),
        ("analyze --explain IST9999", 64, "no code IST9999"),
        ("analyze a.yaml", 1, "--use-kube=false"),
        ("analyze --kubeconfig absent.conf", 1, "absent.conf"),
        (
            "analyze -k=false --meshConfigFile absent.yaml a.yaml",
            1,
            "absent.yaml",
        ),
    ] {
        let ended = folder.run(line);
        assert_eq!(ended.code, code, "{line}: {ended:?}");
        assert!(ended.err.contains(said), "{line}: {ended:?}");
    }
}

#[test]
fn a_cluster_that_is_away_or_misnamed_is_named() {
    let config = "apiVersion: v1\nkind: Config\ncurrent-context: one\nclusters:\n- {name: c, cluster: {server: 'http://127.0.0.1:1'}}\n\
        contexts:\n- {name: one, context: {cluster: c, user: u}}\nusers:\n- {name: u, user: {}}\n";
    let folder = Folder::of(&[("kube.conf", config), ("bad.conf", "contexts: 7\n")]);
    for (line, said) in [
        ("analyze --kubeconfig kube.conf", "http://127.0.0.1:1"),
        (
            "analyze -c kube.conf --context two",
            "context \"two\" does not exist in the kubeconfig, which has: one",
        ),
        ("analyze -c bad.conf", "the kubeconfig cannot be used"),
    ] {
        let ended = folder.run(line);
        assert_eq!(ended.code, 1, "{line}: {ended:?}");
        assert!(ended.err.contains(said), "{line}: {ended:?}");
        assert_eq!(ended.out, "");
    }
}

#[test]
fn bad_input_is_named_and_the_rest_still_analyzed() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (before, name) in ('a'..'l').zip('b'..) {
        bomb += &format!(
            "{name}: &{name} [{}]\n",
            vec![format!("*{before}"); 10].join(", ")
        );
    }
    let foreign = "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: f}\n---\nno: object\n";
    let folder = Folder::of(&[
        ("bomb.yaml", &bomb),
        ("cut.yaml", "kind: Pod\nspec: {a: [1,\n"),
        ("foreign.yaml", foreign),
        ("tab.yaml", "a:\n\tb: 1\n"),
        ("twice.yaml", &format!("{WARNING}---\nkind: A\nkind: B\n")),
        (
            "mixed.json",
            &format!(
                "{{\"apiVersion\": \"v1\",\n\t\"kind\": \"Namespace\", \"metadata\": {{\"name\": \"n\"}}}}\n---\n{}",
                WARNING.replace("web", "two")
            ),
        ),
    ]);
    folder.write("latin.yaml", b"a: \xe4\n");
    let ended = folder.run("analyze -k=false -A .");
    assert_eq!(ended.code, 65, "{ended:?}");
    for said in [
        "./bomb.yaml:",
        "more than the",
        "./cut.yaml:3:1: not YAML",
        "./tab.yaml:2:",
        "./twice.yaml:9:1: the key `kind` is given twice, first in line 8",
        "./latin.yaml:1:4: is not UTF-8",
        "./foreign.yaml:1: not looked at: Foo f of example.com/v1",
        "./foreign.yaml:5: not looked at: no object of Kubernetes (it has no kind)",
    ] {
        assert!(ended.err.contains(said), "{said}\n{}", ended.err);
    }
    let commands = folder.run("analyze -k=false -A . -o github").out;
    assert!(
        commands.contains("::error file=twice.yaml,line=9,col=1,title=not analyzed::the key `kind` is given twice, first in line 8\n"),
        "{commands}"
    );
    for said in [
        "(Service web ./twice.yaml:5)",
        "(Service two ./mixed.json:8)",
        "(Namespace n ./mixed.json:2)",
    ] {
        assert!(ended.out.contains(said), "{said}\n{}", ended.out);
    }
}

#[test]
fn settings_come_from_files_and_the_config_map() {
    let telemetry = "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: logs}\nspec: {accessLogging: [{}]}\n";
    let settings = "defaultProviders: {accessLogging: [envoy]}\n";
    let map = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: istio, namespace: istio-system}}\ndata:\n  mesh: |\n    {settings}"
    );
    let folder = Folder::of(&[
        ("a.yaml", telemetry),
        ("mesh.yaml", settings),
        ("map.yaml", &map),
        ("empty.yaml", "{}\n"),
        ("bad.yaml", "defaultProviders: 7\n"),
    ]);
    let has = |line: &str| folder.run(line).out.contains("IST0157");
    assert!(has("analyze -k=false a.yaml"));
    assert!(!has("analyze -k=false a.yaml --meshConfigFile mesh.yaml"));
    assert!(!has("analyze -k=false a.yaml map.yaml"));
    assert!(has(
        "analyze -k=false a.yaml map.yaml --meshConfigFile empty.yaml"
    ));
    let ended = folder.run("analyze -k=false a.yaml --meshConfigFile bad.yaml");
    assert!(
        ended.code == 65 && ended.err.contains("bad.yaml:1:19: defaultProviders: "),
        "{ended:?}"
    );
}

#[test]
fn networks_are_a_document_of_their_own() {
    let networks = "# c\n---\nnetworks:\n  one:\n    endpoints:\n    - fromRegistry: nobody\n    gateways: []\n";
    let folder = Folder::of(&[("a.yaml", WARNING), ("n.yaml", networks)]);
    let ended = folder.run("analyze -k=false -A a.yaml n.yaml");
    assert!(
        ended
            .out
            .contains("Error [IST0126] (MeshNetworks istio-system/meshnetworks n.yaml:3)"),
        "{ended:?}"
    );
    let ended = folder.run("analyze -k=false -A a.yaml --meshNetworksFile n.yaml");
    assert!(
        ended
            .out
            .contains("Error [IST0126] (MeshNetworks istio-system/meshnetworks n.yaml:"),
        "{ended:?}"
    );
}

#[test]
fn revisions_leave_out_objects_of_others() {
    let labelled = MIXED.replace("{name: who,", "{name: who, labels: {istio.io/rev: canary},");
    let folder = Folder::of(&[("a.yaml", &labelled)]);
    for (flags, found) in [("", true), (" -r canary", true), (" -r stable", false)] {
        let ended = folder.run(&format!("analyze -k=false -A a.yaml{flags}"));
        assert_eq!(ended.out.contains("IST0101"), found, "{flags}: {ended:?}");
    }
}

#[test]
fn analyzers_are_listed_chosen_and_named() {
    let folder = Folder::of(&[("a.yaml", MIXED)]);
    let ended = folder.run("analyze -L");
    assert_eq!(ended.code, 0);
    assert!(ended.out.starts_with("* "), "{ended:?}");
    assert!(
        ended.out.contains("* injection.Analyzer:\n    "),
        "{ended:?}"
    );
    let ended = folder.run("analyze -k=false -A a.yaml --analyzer injection.Analyzer -v");
    assert_eq!(ended.code, 0);
    assert!(
        ended
            .err
            .contains("Executed analyzers:\n\tinjection.Analyzer\n\n"),
        "{ended:?}"
    );
    let ended = folder.run("analyze -k=false -A a.yaml -v");
    assert!(
        ended.err.contains(
            "Skipped analyzers:\n\tmeshnetworks.MeshNetworksAnalyzer (cannot read MeshNetworks)\n"
        ),
        "{ended:?}"
    );
}

#[test]
fn codes_are_explained() {
    let folder = Folder::of(&[]);
    let ended = folder.run("analyze --explain ist0101");
    assert!(
        ended.code == 0
            && ended
                .out
                .starts_with("IST0101: ReferencedResourceNotFound\n="),
        "{ended:?}"
    );
    assert!(!ended.out.contains("```"));
    let ended = folder.run("analyze --explain");
    assert!(
        ended
            .out
            .contains("IST0101  Error    ReferencedResourceNotFound\n"),
        "{ended:?}"
    );
}

#[test]
fn fixes_are_shown_and_only_written_when_asked() {
    let folder = Folder::of(&[("a.yaml", WARNING), ("b.yaml", MIXED)]);
    let ended = folder.run("analyze -k=false -A --fix a.yaml b.yaml");
    assert_eq!(ended.code, 79, "{ended:?}");
    for said in [
        "--- a.yaml\n+++ a.yaml\n@@ ",
        "-  annotations: {networking.istio.io/exportTox: '.'}\n+  annotations: {networking.istio.io/exportTo: '.'}\n",
    ] {
        assert!(ended.out.contains(said), "{ended:?}");
    }
    assert!(
        ended
            .err
            .contains("Changes in 1 file would cure 1 message: --write makes them."),
        "{ended:?}"
    );
    assert_eq!(folder.read("a.yaml"), WARNING);
    let ended =
        folder.run("analyze -k=false -A --fix --write --failure-threshold warning a.yaml --color");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(
        ended
            .out
            .contains("\u{1b}[32m+  annotations: {networking.istio.io/exportTo: '.'}\u{1b}[0m\n"),
        "{ended:?}"
    );
    assert_eq!(
        folder.read("a.yaml"),
        WARNING.replace("exportTox", "exportTo")
    );
    assert_eq!(folder.read("b.yaml"), MIXED);
    let left = std::fs::read_dir(folder.path())
        .map(Iterator::count)
        .unwrap_or_default();
    assert_eq!(left, 2, "nothing is left beside the files");
    let ended = folder.run("analyze -k=false -A --fix a.yaml");
    assert!(ended.err.contains("No message has a change"), "{ended:?}");
}
