//! Real folders, real events.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lateen_controlplane_model::change::{Batch, Change};
use tempfile::TempDir;
use tokio::sync::mpsc::{Receiver, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn service(name: &str, port: u16) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{name: http, port: {port}}}]}}\n---\n"
    )
}

fn texts(batch: &Batch) -> Vec<String> {
    let text = |change: &Change| match change {
        Change::Apply(object) => {
            let service = object
                .spec
                .as_service()
                .and_then(|service| service.spec.as_ref());
            let port = service
                .and_then(|spec| spec.ports.as_ref())
                .map_or(0, |ports| ports[0].port);
            format!("{} {port}", object.key)
        }
        Change::Delete(key) => format!("-{key}"),
    };
    let mut texts: Vec<String> = batch.changes.iter().map(text).collect();
    texts.sort();
    texts
}

/// Writes as a careful program does: into a file beside it, renamed at the end.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).expect("write");
    fs::rename(&beside, path).expect("rename");
}

async fn next(batches: &mut Receiver<Batch>) -> Vec<String> {
    let batch = tokio::time::timeout(PATIENCE, batches.recv())
        .await
        .expect("a batch in time")
        .expect("a batch");
    assert!(batch.synced);
    texts(&batch)
}

struct Fixture {
    folder: TempDir,
    source: FileSource,
    batches: Receiver<Batch>,
}

fn start(files: &[(&str, &str)]) -> Fixture {
    let folder = tempfile::tempdir().expect("folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("write");
    }
    let (sender, batches) = channel(16);
    let config = FileSourceConfig::new(vec![folder.path().to_owned()]);
    let source = FileSource::start(config, sender).expect("start");
    Fixture {
        folder,
        source,
        batches,
    }
}

impl Fixture {
    fn problems(&self) -> Vec<String> {
        let prefix = format!("{}/", self.folder.path().display());
        self.source
            .problems()
            .iter()
            .map(|problem| problem.to_string().replace(&prefix, ""))
            .collect()
    }

    /// Problems are listed just before a batch is sent; where no batch follows they are waited for.
    fn problems_once(&self, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
        let start = Instant::now();
        loop {
            let problems = self.problems();
            if wanted(&problems) || start.elapsed() > PATIENCE {
                return problems;
            }
            std::thread::yield_now();
        }
    }
}

#[tokio::test]
async fn what_there_is_comes_first_and_then_what_changes() {
    let mut it = start(&[
        ("a.yaml", &service("a", 1)),
        ("b.yml", &service("b", 1)),
        ("c.txt", &service("c", 1)),
    ]);
    assert_eq!(
        next(&mut it.batches).await,
        ["Service default/a 1", "Service default/b 1"]
    );
    let path = it.folder.path().join("a.yaml");
    let began = Instant::now();
    replace(&path, &(service("a", 2) + &service("d", 1)));
    assert_eq!(
        next(&mut it.batches).await,
        ["Service default/a 2", "Service default/d 1"]
    );
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "took {:?}",
        began.elapsed()
    );
    replace(&path, &service("d", 1));
    assert_eq!(
        next(&mut it.batches).await,
        ["-Service default/a"],
        "what did not change is not sent"
    );
    fs::write(&path, service("e", 1)).expect("write in place");
    assert_eq!(
        next(&mut it.batches).await,
        ["-Service default/d", "Service default/e 1"]
    );
    fs::remove_file(&path).expect("remove");
    assert_eq!(next(&mut it.batches).await, ["-Service default/e"]);
    fs::rename(
        it.folder.path().join("c.txt"),
        it.folder.path().join("c.json"),
    )
    .expect("rename");
    assert_eq!(next(&mut it.batches).await, ["Service default/c 1"]);
    fs::rename(
        it.folder.path().join("c.json"),
        it.folder.path().join("c.txt"),
    )
    .expect("rename");
    assert_eq!(next(&mut it.batches).await, ["-Service default/c"]);
}

#[tokio::test]
async fn an_empty_folder_is_synced_too() {
    let mut it = start(&[]);
    assert_eq!(next(&mut it.batches).await, Vec::<String>::new());
    assert_eq!(it.problems(), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_read_keeps_its_last_good_state() {
    let mut it = start(&[
        ("a.yaml", &(service("a", 1) + &service("b", 1))),
        ("bad.yaml", "a: [\n"),
    ]);
    assert_eq!(
        next(&mut it.batches).await,
        ["Service default/a 1", "Service default/b 1"],
        "synced in spite of a problem"
    );
    assert!(
        it.problems()[0].starts_with("bad.yaml:2:1: not YAML: "),
        "{:?}",
        it.problems()
    );
    let path = it.folder.path().join("a.yaml");
    replace(&path, "a: [\n");
    let problems = it.problems_once(|problems| problems.len() == 2);
    assert!(
        problems[0].starts_with("a.yaml:2:1: not YAML: "),
        "{problems:?}"
    );
    replace(
        &path,
        &(service("a", 2) + &service("b", 2).replace("port:", "prot:")),
    );
    assert_eq!(
        next(&mut it.batches).await,
        ["Service default/a 2"],
        "b keeps its last good state"
    );
    assert!(
        it.problems()[0].contains("Service default/b: spec.ports[0].prot: unknown field"),
        "{:?}",
        it.problems()
    );
    replace(&path, &service("b", 3));
    assert_eq!(
        next(&mut it.batches).await,
        ["-Service default/a", "Service default/b 3"]
    );
    fs::remove_file(it.folder.path().join("bad.yaml")).expect("remove");
    assert_eq!(
        it.problems_once(|problems| problems.is_empty()),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn an_object_that_breaks_a_rule_is_not_used() {
    let gateway = |port: u32| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: g}}\nspec: {{servers: [{{port: {{number: {port}, name: http, protocol: HTTP}}, hosts: ['*']}}]}}\n"
        )
    };
    let mut it = start(&[("g.yaml", &gateway(0))]);
    assert_eq!(next(&mut it.batches).await, Vec::<String>::new());
    let said = "g.yaml:4:26: Gateway default/g: spec.servers[0].port.number: 0 is not a port: 1 to 65535 are";
    assert_eq!(it.problems(), [said]);
    replace(&it.folder.path().join("g.yaml"), &gateway(80));
    assert_eq!(next(&mut it.batches).await, ["Gateway default/g 0"]);
}

#[tokio::test]
async fn of_two_files_with_the_same_object_the_first_stays() {
    let mut it = start(&[("a.yaml", &service("x", 1)), ("b.yaml", &service("x", 2))]);
    assert_eq!(next(&mut it.batches).await, ["Service default/x 1"]);
    let problems = it.problems();
    assert_eq!(problems.len(), 1);
    assert!(
        problems[0].starts_with("b.yaml:1:1: Service default/x: is given twice, first at "),
        "{problems:?}"
    );
    assert!(
        problems[0].ends_with("a.yaml:1: take one out"),
        "{problems:?}"
    );
    replace(&it.folder.path().join("a.yaml"), &service("x", 3));
    assert_eq!(
        next(&mut it.batches).await,
        ["Service default/x 3"],
        "the first stays first when it changes"
    );
    fs::remove_file(it.folder.path().join("a.yaml")).expect("remove");
    assert_eq!(
        next(&mut it.batches).await,
        ["Service default/x 2"],
        "the other one takes over"
    );
    assert_eq!(it.problems(), Vec::<String>::new());
}

#[tokio::test]
async fn a_swapped_mount_is_read_anew() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    for (version, port) in [("..1", 1), ("..2", 2)] {
        fs::create_dir(at(version)).expect("folder");
        fs::write(at(version).join("a.yaml"), service("a", port)).expect("write");
    }
    std::os::unix::fs::symlink("..1", at("..data")).expect("link");
    std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).expect("link");
    let (sender, mut batches) = channel(16);
    let _source = FileSource::start(
        FileSourceConfig::new(vec![folder.path().to_owned()]),
        sender,
    )
    .expect("start");
    assert_eq!(next(&mut batches).await, ["Service default/a 1"]);
    std::os::unix::fs::symlink("..2", at("..next")).expect("link");
    fs::rename(at("..next"), at("..data")).expect("swap");
    assert_eq!(next(&mut batches).await, ["Service default/a 2"]);
}

#[tokio::test]
async fn a_file_that_is_no_text_is_a_problem() {
    let mut it = start(&[]);
    assert_eq!(next(&mut it.batches).await, Vec::<String>::new());
    fs::write(it.folder.path().join("a.yaml"), b"a: 1\nb: \xff\n").expect("write");
    let problems = it.problems_once(|problems| !problems.is_empty());
    assert_eq!(problems, ["a.yaml:2:1: the file is not UTF-8 text"]);
}

#[test]
fn a_folder_that_is_missing_is_an_error() {
    let (sender, _batches) = channel(1);
    let error = FileSource::start(
        FileSourceConfig::new(vec!["/nowhere/at/all".into()]),
        sender,
    )
    .expect_err("missing");
    assert!(
        error
            .to_string()
            .starts_with("cannot watch the folder /nowhere/at/all: "),
        "{error}"
    );
}
