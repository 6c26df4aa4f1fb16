//! Which file an object is taken from, where several have it, and what changes when a file does.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lateen_api::check::duplicate;
use lateen_api::object::{Object, ObjectKey, Problem};
use lateen_controlplane_model::change::Change;

use crate::file::File;

/// All files and the objects that they claim.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    files: BTreeMap<PathBuf, File>,
    /// The claims on each object; the first one counts, and keeps its place when its file changes.
    claims: HashMap<ObjectKey, Vec<Claim>>,
    /// Objects with more than one claim.
    contested: BTreeSet<ObjectKey>,
}

/// A file's objects by key; more than one for a key that the file has twice.
type IndexedObjects = HashMap<ObjectKey, Vec<Arc<Object>>>;

#[derive(Debug)]
struct Claim {
    file: PathBuf,
    object: Arc<Object>,
}

impl Claims {
    /// What a file held when it was last read.
    pub(crate) fn file(&self, path: &Path) -> Option<&File> {
        self.files.get(path)
    }

    /// The files that are known in a folder.
    pub(crate) fn files_in(&self, folder: &Path) -> Vec<PathBuf> {
        self.files
            .keys()
            .filter(|file| file.parent() == Some(folder))
            .cloned()
            .collect()
    }

    /// Takes what a file holds now, `None` if it is gone, and gives the changes that follow.
    pub(crate) fn update(&mut self, path: &Path, file: Option<File>) -> Vec<Change> {
        let mut now: IndexedObjects = HashMap::new();
        let mut touched: Vec<ObjectKey> = Vec::new();
        for object in file.iter().flat_map(|file| &file.objects) {
            let places = now.entry(object.key.clone()).or_default();
            if places.is_empty() {
                touched.push(object.key.clone());
            }
            places.push(Arc::clone(object));
        }
        let before = match file {
            Some(file) => self.files.insert(path.to_owned(), file),
            None => self.files.remove(path),
        };
        for object in before.iter().flat_map(|before| &before.objects) {
            if let Entry::Vacant(gone) = now.entry(object.key.clone()) {
                gone.insert(Vec::new());
                touched.push(object.key.clone());
            }
        }
        let settle = |key: ObjectKey| {
            let objects = now.remove(&key).unwrap_or_default();
            self.settle(key, path, objects)
        };
        touched.into_iter().filter_map(settle).collect()
    }

    /// Renews a file's claims on one object and gives the change that follows.
    fn settle(&mut self, key: ObjectKey, path: &Path, objects: Vec<Arc<Object>>) -> Option<Change> {
        let claims = self.claims.entry(key.clone()).or_default();
        let before = claims.first().map(|claim| Arc::clone(&claim.object));
        let place = claims.iter().position(|claim| claim.file == path);
        claims.retain(|claim| claim.file != path);
        let renewed = objects.into_iter().map(|object| Claim {
            file: path.to_owned(),
            object,
        });
        let place = place.unwrap_or(claims.len());
        claims.splice(place..place, renewed);
        let now = claims.first().map(|claim| Arc::clone(&claim.object));
        if claims.len() > 1 {
            self.contested.insert(key.clone());
        } else {
            self.contested.remove(&key);
        }
        if claims.is_empty() {
            self.claims.remove(&key);
        }
        match (before, now) {
            (Some(before), Some(now)) if before.spec == now.spec && before.meta == now.meta => None,
            (_, Some(now)) => Some(Change::Apply(now)),
            (Some(_), None) => Some(Change::Delete(key)),
            (None, None) => None,
        }
    }

    /// All that is wrong at present.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = self
            .files
            .values()
            .flat_map(|file| file.problems.iter().cloned())
            .collect();
        for key in &self.contested {
            let claims = self.claims.get(key).map(Vec::as_slice).unwrap_or_default();
            if let [first, others @ ..] = claims {
                problems.extend(
                    others
                        .iter()
                        .map(|other| duplicate(&first.object, &other.object)),
                );
            }
        }
        problems
    }
}
