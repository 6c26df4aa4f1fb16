//! The pages of `docs/analysis` say what is so: each example raises its code, each cure does not.
//!
//! A page has one fence ` ```yaml ` under `## Example` and one under `## Cure`. The cure's stands alone, or, marked ` ```yaml changed `,
//! is laid over the example's objects. A code that files alone cannot raise has no such fence, and is one of [`NOT_FROM_FILES`].
//! Files are read as `lateenctl analyze --use-kube=false` does, with `-A` where the example mentions it: a document with only
//! `networks:` is the mesh's networks, and the ConfigMap `istio` holds the mesh's settings.
#![allow(clippy::panic)]

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use lateen_api::mesh::{MeshConfig, parse_mesh_config, parse_mesh_networks};
use lateen_api::object::{Kind, ObjectKey, ReadOptions, Spec, read_text};
use lateen_controlplane_analyze::code::{
    CODES, REFERENCED_INTERNAL_GATEWAY, SCHEMA_VALIDATION_ERROR, SCHEMA_WARNING,
};
use lateen_controlplane_analyze::{
    Analysis, ClusterInput, Code, Options, Origin, analyze, analyzers,
};

/// Codes that no files raise: kept ones, those about an installation, and that of several clusters.
const NOT_FROM_FILES: [&str; 9] = [
    "IST0001", "IST0141", "IST0142", "IST0143", "IST0156", "IST0168", "IST0169", "IST0170",
    "IST0172",
];

/// The namespace of objects that name none, and the one whose messages are kept, unless `-A` is given.
const NAMESPACE: &str = "default";

/// When certificates are looked at.
const NOW: &str = "2030-01-01T00:00:00Z";

/// Where the mesh's own objects are.
const ISTIO_NAMESPACE: &str = "istio-system";

/// Lines are printed on terminals.
const LINE_WIDTH: usize = 100;

/// `--explain` indents code by four.
const CODE_WIDTH: usize = LINE_WIDTH - 4;

const ANY_KIND: &str = "<Kind>";

/// A page, taken apart.
struct Page {
    code: Code,
    text: String,
    analyzers: Vec<String>,
    example: Option<Fence>,
    cure: Option<Fence>,
    all_namespaces: bool,
}

/// The YAML of a section.
struct Fence {
    changed: bool,
    text: String,
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let mut pages: BTreeSet<String> = fs::read_dir(folder())
        .expect("docs/analysis")
        .map(|entry| {
            let name = entry.expect("an entry").file_name();
            name.into_string().expect("a name")
        })
        .collect();
    assert!(pages.remove("README.md"), "there is no README.md");
    let codes: BTreeSet<String> = CODES.iter().map(|code| format!("{}.md", code.id)).collect();
    assert_eq!(pages, codes);
}

#[test]
fn pages_have_their_form() {
    let mut faults = Vec::new();
    for code in CODES {
        let page = Page::read(code);
        let mut fault = |what: String| faults.push(format!("{}: {what}", code.id));
        let title = format!(
            "# {}: {}\n\nLevel: {}\nAnalyzers: ",
            code.id, code.name, code.level
        );
        if !page.text.starts_with(&title) {
            fault(format!("does not begin with {title:?}"));
        }
        let headings: Vec<&str> = page
            .text
            .lines()
            .filter(|line| line.starts_with("## "))
            .collect();
        if headings != ["## Cause", "## Example", "## Cure"] {
            fault(format!("has the headings {headings:?}"));
        }
        let mut in_code = false;
        for line in page.text.lines() {
            in_code ^= line.starts_with("```");
            let width = if in_code { CODE_WIDTH } else { LINE_WIDTH };
            if line.chars().count() > width || line.ends_with(' ') || line.contains('\t') {
                fault(format!("has a line that is long or untidy: {line}"));
            }
        }
        let quiet = NOT_FROM_FILES.contains(&code.id);
        if page.example.is_some() == quiet || page.cure.is_some() == quiet {
            fault("has YAML in only one section, or not where it should".to_owned());
        }
        if quiet && !page.text.contains("iles alone do not raise it") && code.id != "IST0001" {
            fault("does not say that files alone do not raise it".to_owned());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn pages_name_analyzers_that_exist() {
    let known = known_analyzers();
    for code in CODES {
        let page = Page::read(code);
        for name in &page.analyzers {
            assert!(
                known.contains(name),
                "{}: there is no analyzer {name}",
                code.id
            );
        }
        let none = page.text.contains("\nAnalyzers: none\n");
        assert_eq!(page.analyzers.is_empty(), none, "{}", code.id);
    }
}

#[test]
fn examples_raise_their_code_and_cures_do_not() {
    let mut faults = Vec::new();
    for code in CODES {
        let page = Page::read(code);
        let (Some(example), Some(cure)) = (&page.example, &page.cure) else {
            continue;
        };
        let cure = if cure.changed {
            format!("{}\n---\n{}", example.text, cure.text)
        } else {
            cure.text.clone()
        };
        for (what, text, expected) in [("example", &example.text, true), ("cure", &cure, false)] {
            for analysis in page.runs(text) {
                if has(&analysis, code) != expected {
                    faults.push(format!("{}: its {what} gives {}", code.id, said(&analysis)));
                }
                if analysis
                    .messages
                    .iter()
                    .any(|message| is_stray(message.code, code))
                {
                    let said = said(&analysis);
                    faults.push(format!("{}: its {what} gives others: {said}", code.id));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_table_has_all_codes() {
    let text = fs::read_to_string(folder().join("README.md")).expect("README.md");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| ["))
        .collect();
    assert_eq!(rows.len(), CODES.len());
    for (row, code) in rows.iter().zip(CODES) {
        let start = format!(
            "| [{0}]({0}.md) {1} | {2} | ",
            code.id, code.name, code.level
        );
        assert!(row.starts_with(&start), "{row}");
    }
}

impl Page {
    fn read(code: Code) -> Self {
        let path = folder().join(format!("{}.md", code.id));
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let head = text.split("\n\n").nth(1).unwrap_or_default();
        let named = head.split('`').skip(1).step_by(2);
        let example = section(&text, "Example");
        Self {
            code,
            analyzers: named.flat_map(expanded).collect(),
            example: fence(example),
            cure: fence(section(&text, "Cure")),
            all_namespaces: example.contains("`-A`"),
            text,
        }
    }

    /// The runs that must agree: all analyzers (without those that run only when named), and the page's own.
    fn runs(&self, yaml: &str) -> Vec<Analysis> {
        let on_request = analyzers::on_request();
        let unasked = !self
            .analyzers
            .iter()
            .any(|name| on_request.iter().any(|analyzer| analyzer.name == name));
        let own = self.run(yaml, &self.analyzers);
        if unasked {
            vec![self.run(yaml, &[]), own]
        } else {
            vec![own]
        }
    }

    fn run(&self, yaml: &str, analyzers: &[String]) -> Analysis {
        let namespace = if self.all_namespaces { "" } else { NAMESPACE };
        let options = Options {
            analyzers: analyzers.to_vec(),
            namespace: (!self.all_namespaces).then(|| NAMESPACE.to_owned()),
            ..Options::default()
        };
        analyze(vec![input(self.code, yaml, namespace)], &options)
    }
}

fn input(code: Code, yaml: &str, namespace: &str) -> ClusterInput {
    let mut input = ClusterInput {
        mesh: MeshConfig::default(),
        istio_namespace: ISTIO_NAMESPACE.to_owned(),
        files_only: true,
        now: NOW.parse().expect("a time"),
        ..ClusterInput::default()
    };
    for document in yaml.split("\n---\n") {
        if document.starts_with("networks:") {
            let (networks, problems) = parse_mesh_networks(code.id, document)
                .unwrap_or_else(|error| panic!("{}: {error:?}", code.id));
            assert!(problems.is_empty(), "{}: {problems:?}", code.id);
            input.networks = Some((networks, origin_of_networks()));
            continue;
        }
        let options = ReadOptions {
            namespace,
            strict: false,
        };
        let file = format!("{}.yaml", code.id);
        let mut parsed = read_text(&file, &document.into(), options);
        assert!(
            parsed.problems.is_empty() && parsed.unknown.is_empty(),
            "{}: {:?} {:?}",
            code.id,
            parsed.problems,
            parsed.unknown
        );
        input.objects.append(&mut parsed.objects);
    }
    if let Some(mesh) = mesh_config(code, &input) {
        input.mesh = mesh;
    }
    input
}

/// The mesh's settings, if the ConfigMap with them is among the objects.
fn mesh_config(code: Code, input: &ClusterInput) -> Option<MeshConfig> {
    let key = ObjectKey::new(Kind::ConfigMap, ISTIO_NAMESPACE, "istio");
    let object = input.objects.iter().find(|object| object.key == key)?;
    let Spec::ConfigMap(map) = &object.spec else {
        return None;
    };
    let text = map.data.as_ref()?.get("mesh")?;
    let (mesh, problems) =
        parse_mesh_config(code.id, text).unwrap_or_else(|error| panic!("{}: {error:?}", code.id));
    assert!(problems.is_empty(), "{}: {problems:?}", code.id);
    Some(mesh)
}

fn origin_of_networks() -> Origin {
    Origin {
        kind: "MeshNetworks",
        namespace: ISTIO_NAMESPACE.to_owned(),
        name: "meshnetworks".to_owned(),
        suppressed: String::new(),
        place: None,
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/analysis")
}

fn known_analyzers() -> BTreeSet<String> {
    let mut all = analyzers::istio();
    all.extend(analyzers::own());
    all.extend(analyzers::on_request());
    all.iter()
        .map(|analyzer| analyzer.name.to_owned())
        .collect()
}

/// A name that ends in `<Kind>` stands for the analyzers of all kinds.
fn expanded(name: &str) -> Vec<String> {
    let Some(start) = name.strip_suffix(ANY_KIND) else {
        return vec![name.to_owned()];
    };
    let all = known_analyzers();
    let mut found: Vec<String> = all
        .into_iter()
        .filter(|known| known.starts_with(start))
        .collect();
    if found.is_empty() {
        found.push(name.to_owned());
    }
    found
}

fn section<'t>(text: &'t str, title: &str) -> &'t str {
    let heading = format!("\n## {title}\n");
    let (_, rest) = text.split_once(&heading).unwrap_or_default();
    rest.split("\n## ").next().unwrap_or_default()
}

fn fence(section: &str) -> Option<Fence> {
    let (_, rest) = section.split_once("```yaml")?;
    let (mark, rest) = rest.split_once('\n')?;
    let (text, rest) = rest.split_once("\n```").expect("the fence ends");
    assert!(!rest.contains("```yaml"), "a second fence: {section}");
    Some(Fence {
        changed: match mark {
            "" => false,
            " changed" => true,
            _ => panic!("an unknown mark {mark:?}"),
        },
        text: text.to_owned(),
    })
}

fn has(analysis: &Analysis, code: Code) -> bool {
    analysis.messages.iter().any(|message| message.code == code)
}

/// Whether a page's files raise something besides: a page shows one mistake, though every EnvoyFilter is doubtful, and an internal
/// gateway's name is no valid one.
fn is_stray(found: Code, code: Code) -> bool {
    found != code
        && found != SCHEMA_WARNING
        && (code, found) != (REFERENCED_INTERNAL_GATEWAY, SCHEMA_VALIDATION_ERROR)
}

fn said(analysis: &Analysis) -> String {
    let lines: Vec<String> = analysis
        .messages
        .iter()
        .map(|message| {
            let name = message.origin.as_ref().map(Origin::friendly_name);
            let name = name.unwrap_or_default();
            format!("  {} ({name}) {}", message.code, message.text)
        })
        .collect();
    format!("{} messages\n{}", lines.len(), lines.join("\n"))
}
