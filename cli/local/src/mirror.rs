//! The user's mesh configuration, mirrored into a folder of our own for lateend: same file names, same lines, only Istio's kinds
//! and only what is valid. The user's files are never written.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::source::{Document, Documents};
use crate::state::write_atomic;

/// Folder of mirrored files.
#[derive(Debug)]
pub(crate) struct Mirror {
    folder: PathBuf,
    names: BTreeMap<Arc<str>, String>,
    written: BTreeMap<String, String>,
}

impl Mirror {
    /// Mirrors into a folder that is there and empty.
    #[must_use]
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            names: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// Brings the folder up to date; files that do not change are not touched.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn write(&mut self, documents: &Documents) -> io::Result<()> {
        let mut files: BTreeMap<Arc<str>, Vec<&Document>> = BTreeMap::new();
        for document in documents.values().filter(|d| d.object.key.kind.is_istio()) {
            files
                .entry(Arc::clone(&document.file))
                .or_default()
                .push(document);
        }
        let wanted: BTreeMap<String, String> = files
            .into_iter()
            .map(|(file, documents)| (self.name(&file), render(documents)))
            .collect();
        for (name, text) in wanted
            .iter()
            .filter(|(name, text)| self.written.get(*name) != Some(*text))
        {
            write_atomic(&self.folder.join(name), text.as_bytes(), 0o644)?;
        }
        for gone in self
            .written
            .keys()
            .filter(|name| !wanted.contains_key(*name))
        {
            std::fs::remove_file(self.folder.join(gone))?;
        }
        self.written = wanted;
        Ok(())
    }

    /// The mirrored file's name: the file's own, with a number when another file has the same.
    fn name(&mut self, file: &Arc<str>) -> String {
        if let Some(name) = self.names.get(file) {
            return name.clone();
        }
        let base = Path::new(file.as_ref()).file_name().map_or_else(
            || "input.yaml".to_owned(),
            |n| n.to_string_lossy().into_owned(),
        );
        let base = if base.contains('.') && !base.starts_with('.') {
            base
        } else {
            format!("{}.yaml", base.trim_start_matches('.'))
        };
        let taken = |name: &String| self.names.values().any(|known| known == name);
        let mut name = base.clone();
        let mut number = 2;
        while taken(&name) {
            name = format!("{number}-{base}");
            number += 1;
        }
        self.names.insert(Arc::clone(file), name.clone());
        name
    }
}

/// Documents at the lines they have in the user's file; one that has no text of its own is written as JSON.
fn render(mut documents: Vec<&Document>) -> String {
    let line = |d: &Document| d.object.source.as_ref().map_or(0, |s| s.line);
    documents.sort_by_key(|d| line(d));
    let mut out = String::new();
    let mut next = 1;
    for document in documents {
        let (text, first) = body(document);
        if !out.is_empty() {
            out.push_str("---\n");
            next += 1;
        }
        while next < first {
            out.push('\n');
            next += 1;
        }
        out.push_str(&text);
        if !text.ends_with('\n') {
            out.push('\n');
        }
        next += u32::try_from(text.trim_end_matches('\n').matches('\n').count()).unwrap_or(0) + 1;
    }
    out
}

fn body(document: &Document) -> (String, u32) {
    if let Some((text, first)) = &document.text {
        return (text.trim_end_matches('\n').to_owned() + "\n", *first);
    }
    let Some(source) = &document.object.source else {
        return (String::new(), 1);
    };
    let value: Option<serde_json::Value> = lateen_api::yaml::read(&source.node()).ok();
    (
        value.map(|v| v.to_string()).unwrap_or_default(),
        source.line,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceFile, parse};

    const TEXT: &str = "apiVersion: v1\nkind: Service\nmetadata:\n  name: s\nspec:\n  ports: []\n---\n# route\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: v\nspec:\n  hosts: [s]\n---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata:\n  name: g\nspec: {}\n";

    #[test]
    fn mirrored_lines_are_the_users_lines() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = |name: &str| SourceFile {
            name: name.to_owned(),
            text: TEXT.to_owned(),
        };
        let mut mirror = Mirror::new(dir.path().to_owned());
        mirror
            .write(&parse(&[file("a/x.yaml")], "default").expect("parsed"))
            .expect("written");
        let text = std::fs::read_to_string(dir.path().join("x.yaml")).expect("mirrored");
        assert!(!text.contains("kind: Service"), "{text}");
        for kind in ["VirtualService", "Gateway"] {
            let find = |text: &str| text.lines().position(|l| l == format!("kind: {kind}"));
            assert_eq!(find(&text), find(TEXT), "{kind} in {text}");
        }
        mirror.write(&Documents::new()).expect("emptied");
        assert!(!dir.path().join("x.yaml").exists());
    }

    #[test]
    fn files_of_one_name_do_not_meet() {
        let mut mirror = Mirror::new(PathBuf::from("/"));
        assert_eq!(mirror.name(&Arc::from("a/x.yaml")), "x.yaml");
        assert_eq!(mirror.name(&Arc::from("b/x.yaml")), "2-x.yaml");
        assert_eq!(mirror.name(&Arc::from("a/x.yaml")), "x.yaml");
        assert_eq!(mirror.name(&Arc::from("-")), "-.yaml");
    }
}
