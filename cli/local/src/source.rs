//! Files and folders that a mesh is made from, and the objects in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lateen_api::check::duplicate;
use lateen_api::object::{Object, ObjectKey, Problem, parse_documents};
use lateen_api::yaml;
use serde::{Deserialize, Serialize};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;

/// A file or folder as the user gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// As given, for messages.
    pub name: String,
    /// Absolute path.
    pub path: PathBuf,
}

/// Text of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// As given, for messages.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// An object with the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Document {
    /// The object.
    pub object: Object,
    /// File it comes from, as given.
    pub file: Arc<str>,
    /// Its text, when it stands alone in its document, with the number of the text's first line.
    pub text: Option<(Arc<str>, u32)>,
}

/// Objects by their keys.
pub(crate) type Documents = BTreeMap<ObjectKey, Document>;

impl Source {
    /// Takes a path as the user gave it.
    ///
    /// # Errors
    /// A problem that names the file when it is not there.
    pub(crate) fn new(name: &str) -> Result<Self, Problem> {
        let path =
            std::fs::canonicalize(name).map_err(|e| Problem::file_error(name, e.to_string()))?;
        Ok(Self {
            name: name.to_owned(),
            path,
        })
    }

    /// Files of this source: itself, or what a folder holds directly, in order of the names.
    fn files(&self) -> std::io::Result<Vec<(String, PathBuf)>> {
        if !self.path.is_dir() {
            return Ok(vec![(self.name.clone(), self.path.clone())]);
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let path = entry?.path();
            if path.is_file() && is_manifest(&path) {
                let base = path.file_name().unwrap_or_default().to_string_lossy();
                files.push((
                    format!("{}/{base}", self.name.trim_end_matches('/')),
                    path.clone(),
                ));
            }
        }
        files.sort();
        Ok(files)
    }
}

/// Texts of all files of the sources; a file that is given twice counts once.
///
/// # Errors
/// A problem a file that cannot be read.
pub(crate) fn read(sources: &[Source]) -> Result<Vec<SourceFile>, Vec<Problem>> {
    let mut seen = Vec::new();
    let mut files = Vec::new();
    let mut problems = Vec::new();
    for source in sources {
        match source.files() {
            Err(error) => problems.push(Problem::file_error(&source.name, error.to_string())),
            Ok(found) => {
                for (name, path) in found {
                    if seen.contains(&path) {
                        continue;
                    }
                    match read_file(&path) {
                        Ok(text) => files.push(SourceFile { name, text }),
                        Err(message) => problems.push(Problem::file_error(name, message)),
                    }
                    seen.push(path);
                }
            }
        }
    }
    if problems.is_empty() {
        Ok(files)
    } else {
        Err(problems)
    }
}

/// Objects of all files.
///
/// # Errors
/// Every problem in any of them; the same object in two places is one, which names both.
pub(crate) fn parse(files: &[SourceFile], namespace: &str) -> Result<Documents, Vec<Problem>> {
    let mut documents = Documents::new();
    let mut problems = Vec::new();
    for file in files {
        let parsed = parse_documents(&file.name, &file.text, namespace);
        problems.extend(parsed.problems.into_iter().filter(Problem::is_error));
        let name: Arc<str> = file.name.as_str().into();
        let texts = texts(&file.text);
        for object in parsed.objects {
            let line = object.source.as_ref().map_or(0, |s| s.line);
            let text = texts
                .iter()
                .find(|(at, ..)| *at == line)
                .map(|(_, text, first)| (Arc::clone(text), *first));
            let key = object.key.clone();
            if let Some(other) = documents.get(&key) {
                problems.push(duplicate(&other.object, &object));
            } else {
                documents.insert(
                    key,
                    Document {
                        object,
                        file: Arc::clone(&name),
                        text,
                    },
                );
            }
        }
    }
    if problems.is_empty() {
        Ok(documents)
    } else {
        Err(problems)
    }
}

/// Documents of a text: line of the root node, text, and line of the text's begin.
fn texts(text: &str) -> Vec<(u32, Arc<str>, u32)> {
    let documents = yaml::parse(text).unwrap_or_default();
    let one = |document: yaml::Document| {
        let body = text.get(document.body.clone())?;
        let first = text.get(..document.body.start)?.matches('\n').count() + 1;
        Some((
            document.root.at.line,
            Arc::from(body),
            u32::try_from(first).ok()?,
        ))
    };
    documents.into_iter().filter_map(one).collect()
}

fn read_file(path: &Path) -> Result<String, String> {
    let size = path.metadata().map_err(|e| e.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!(
            "the file has {size} bytes; at most {MAX_FILE} are read"
        ));
    }
    std::fs::read_to_string(path).map_err(|e| e.to_string())
}

fn is_manifest(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| matches!(e, "yaml" | "yml" | "json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> SourceFile {
        SourceFile {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn the_same_object_in_two_files_names_both() {
        let text = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n";
        let problems =
            parse(&[file("one.yaml", text), file("two.yaml", text)], "default").expect_err("twice");
        let said = problems[0].to_string();
        assert!(
            said.contains("two.yaml:1") && said.contains("one.yaml:1"),
            "{said}"
        );
    }

    #[test]
    fn documents_keep_their_text_and_line() {
        let text = "# first\napiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: b}\n";
        let documents = parse(&[file("one.yaml", text)], "default").expect("parsed");
        for document in documents.values() {
            let (body, first) = document.text.clone().expect("text");
            let at = body
                .lines()
                .position(|l| l.starts_with("apiVersion"))
                .expect("begin");
            let line = document.object.source.as_ref().expect("source").line;
            assert_eq!(first as usize + at, line as usize, "{body:?}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        assert!(
            Source::new("/no/such/file.yaml")
                .expect_err("absent")
                .to_string()
                .starts_with("/no/such/file.yaml: ")
        );
    }
}
