//! The samples are read without a problem, and make sense together.

use std::fs;
use std::path::{Path, PathBuf};

use lateen_api::check::{CheckOptions, check_all};
use lateen_api::object::{Object, parse_documents};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../samples")
}

fn read(path: &Path) -> Vec<Object> {
    let text = fs::read_to_string(path).expect("a sample");
    let parsed = parse_documents(&path.display().to_string(), &text, "default");
    let problems: Vec<String> = parsed.problems.iter().map(ToString::to_string).collect();
    assert_eq!(problems, Vec::<String>::new());
    assert!(!parsed.objects.is_empty(), "{}", path.display());
    parsed.objects
}

#[test]
fn each_file_of_bookinfo_makes_sense_with_its_platform() {
    let bookinfo = samples().join("bookinfo");
    let platform = read(&bookinfo.join("platform/kube/bookinfo.yaml"));
    let networking = bookinfo.join("networking");
    let shared = ["bookinfo-gateway.yaml", "destination-rule-all.yaml"];
    let base: Vec<Object> = platform
        .into_iter()
        .chain(shared.iter().flat_map(|name| read(&networking.join(name))))
        .collect();
    let folder = fs::read_dir(&networking).unwrap_or_else(|e| panic!("{e}"));
    for file in folder.flatten().map(|entry| entry.path()) {
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let objects = read(&file);
        if shared.contains(&name.as_str()) || name.starts_with("destination-rule") {
            continue;
        }
        let options = CheckOptions {
            complete: true,
            ..CheckOptions::default()
        };
        let problems: Vec<String> = check_all(base.iter().chain(&objects), options)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(problems, Vec::<String>::new());
    }
}
