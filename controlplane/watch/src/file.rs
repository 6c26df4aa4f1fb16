//! One file of configuration: which names count, reading, and what it holds.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lateen_api::object::{Object, Problem, parse_documents};
use lateen_api::yaml::Limits;

/// Says what is wrong with an object by itself; one with an error is not used.
pub type Check = Arc<dyn Fn(&Object) -> Vec<Problem> + Send + Sync>;

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// The text as it was last read, to tell whether there is anything new.
    text: String,
    /// The objects that are used.
    pub(crate) objects: Vec<Arc<Object>>,
    /// What is wrong with the file.
    pub(crate) problems: Vec<Problem>,
}

/// Whether a file of this name is read: `.yaml`, `.yml` or `.json`, and not hidden.
pub(crate) fn counts(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'));
    let known = path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|known| extension == *known)
    });
    known && !hidden
}

/// The files of a folder that count, in the order of their names.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if counts(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Reads a file's text; `None` if there is no such file any more, or it is a folder.
pub(crate) fn text(path: &Path) -> Option<Result<String, Problem>> {
    let limit = Limits::default().bytes;
    let name = path.display().to_string();
    match read_limited(path, limit) {
        Ok(Some(bytes)) if bytes.len() > limit => {
            let message = format!("the file is larger than the {limit} bytes that are allowed");
            Some(Err(Problem::file_error(name, message)))
        }
        Ok(Some(bytes)) => Some(String::from_utf8(bytes).map_err(|error| not_text(name, &error))),
        Ok(None) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(Problem::file_error(
            name,
            format!("cannot be read: {error}"),
        ))),
    }
}

fn read_limited(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    // A pipe or a socket would block the reading of all other files.
    if !fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

fn not_text(name: String, error: &std::string::FromUtf8Error) -> Problem {
    let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
    let mut problem = Problem::file_error(name, "the file is not UTF-8 text");
    problem.line = u32::try_from(line).unwrap_or(u32::MAX);
    problem.column = 1;
    problem
}

impl File {
    /// What a file holds after it was read again. Of objects that have become wrong the last good state stays; where it is not known
    /// which objects are meant, that of all of the file's.
    ///
    /// `None` if the text has not changed.
    pub(crate) fn reread(
        before: Option<&Self>,
        path: &Path,
        text: Result<String, Problem>,
        (namespace, check): (&str, &Check),
    ) -> Option<Self> {
        let text = match text {
            Ok(text) if before.is_some_and(|before| before.text == text) => return None,
            Ok(text) => text,
            Err(problem) => {
                let objects = before
                    .map(|before| before.objects.clone())
                    .unwrap_or_default();
                return Some(Self {
                    text: String::new(),
                    objects,
                    problems: vec![problem],
                });
            }
        };
        let parsed = parse_documents(&path.display().to_string(), &text, namespace);
        let mut problems = parsed.problems;
        let mut objects = Vec::new();
        for object in parsed.objects {
            let found = check(&object);
            if !found.iter().any(Problem::is_error) {
                objects.push(Arc::new(object));
            }
            problems.extend(found);
        }
        if let Some(before) = before {
            keep_last_good(before, &problems, &mut objects);
        }
        Some(Self {
            text,
            objects,
            problems,
        })
    }
}

fn keep_last_good(before: &File, problems: &[Problem], objects: &mut Vec<Arc<Object>>) {
    let errors = || problems.iter().filter(|problem| problem.is_error());
    let unnamed = errors().any(|problem| problem.object.is_none());
    let named: HashSet<&str> = errors()
        .filter_map(|problem| problem.object.as_deref())
        .collect();
    let good: HashSet<_> = objects.iter().map(|object| object.key.clone()).collect();
    for object in &before.objects {
        let wrong_now = unnamed || named.contains(object.key.to_string().as_str());
        if wrong_now && !good.contains(&object.key) {
            objects.push(Arc::clone(object));
        }
    }
}
