//! From an image to a program of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Annotation of a pod that names the program of its one container, or of all that have no annotation of their own.
pub(crate) const ANNOTATION: &str = "lateen.dev/binary";
/// Name of the map in a sample's `local` folder.
pub(crate) const MAP_FILE: &str = "images.yaml";
/// Images every mesh knows.
const OWN: [(&str, &str); 4] = [
    ("proxyv2", "lateen-proxy"),
    ("lateen-proxy", "lateen-proxy"),
    ("lateend", "lateend"),
    ("pilot", "lateend"),
];

/// What an image stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Image {
    /// Name or absolute path of the program.
    pub binary: String,
    /// Arguments when the container gives none.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment below the container's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

/// Image names, without registry and tag, and what they stand for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageMap(BTreeMap<String, Image>);

/// A program found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// The file.
    pub file: PathBuf,
    /// Arguments when the container gives none.
    pub args: Vec<String>,
    /// Environment below the container's own.
    pub env: BTreeMap<String, String>,
}

/// Why an image stands for no program.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ImageError {
    /// Nothing maps it.
    #[error(
        "image {image:?} of container \"{container}\" is no program of this machine: map it with --set {name}=BINARY, with a line `{name}: BINARY` in a file for --images, or with the annotation {ANNOTATION}.{container} on the pod"
    )]
    Unknown {
        /// The image as written.
        image: String,
        /// Its name.
        name: String,
        /// The container.
        container: String,
    },
    /// The program it maps to is not there.
    #[error(
        "container \"{container}\" needs the program {binary:?} (image {image:?}), which is neither in {beside} nor in PATH; build it first"
    )]
    Missing {
        /// The image as written.
        image: String,
        /// The program.
        binary: String,
        /// The container.
        container: String,
        /// Folder of lateenctl itself.
        beside: String,
    },
}

/// A map that cannot be read.
#[derive(Debug, Error)]
pub(crate) enum MapError {
    /// `--set` without a name or a program.
    #[error("--set {0:?}: write it as IMAGE=BINARY")]
    Argument(String),
    /// A file of another form.
    #[error(
        "{0}: {1}: write each line as `image: binary`, or `image: {{binary: NAME, args: [..], env: {{..}}}}`"
    )]
    File(PathBuf, String),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Name(String),
    Full(Image),
}

impl ImageMap {
    /// Adds `IMAGE=BINARY`.
    ///
    /// # Errors
    /// [`MapError::Argument`] when one of both is missing.
    pub(crate) fn set(&mut self, argument: &str) -> Result<(), MapError> {
        match argument.split_once('=') {
            Some((image, binary)) if !image.is_empty() && !binary.is_empty() => {
                self.insert(image, binary);
                Ok(())
            }
            _ => Err(MapError::Argument(argument.to_owned())),
        }
    }

    /// Adds the entries of a map file that has been read; entries that are there stay.
    ///
    /// # Errors
    /// [`MapError::File`] when it has another form.
    pub(crate) fn read(&mut self, path: &Path, content: serde_json::Value) -> Result<(), MapError> {
        let fail = |e: serde_json::Error| MapError::File(path.to_owned(), e.to_string());
        let entries: BTreeMap<String, Entry> = serde_json::from_value(content).map_err(fail)?;
        for (name, entry) in entries {
            let image = match entry {
                Entry::Name(binary) => Image {
                    binary,
                    args: Vec::new(),
                    env: BTreeMap::new(),
                },
                Entry::Full(image) => image,
            };
            self.0.entry(name).or_insert(image);
        }
        Ok(())
    }

    /// Program of a container: by its annotation, by this map, by the images every mesh knows, or a program of the image's name.
    ///
    /// # Errors
    /// [`ImageError`] naming the image, the container and how to map it.
    pub(crate) fn resolve(
        &self,
        image: &str,
        container: &str,
        annotations: &BTreeMap<String, String>,
    ) -> Result<Program, ImageError> {
        let own = annotations.get(&format!("{ANNOTATION}.{container}"));
        // The pod's annotation means the app; the mesh's own containers keep their program.
        let shared = annotations
            .get(ANNOTATION)
            .filter(|_| !container.starts_with("istio-"));
        let name = image_name(image);
        let known = OWN
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, binary)| *binary);
        let chosen = match (own.or(shared), self.0.get(name), known) {
            (Some(binary), _, _) => plain(binary),
            (None, Some(image), _) => image.clone(),
            (None, None, Some(binary)) => plain(binary),
            (None, None, None) => {
                let file = locate(name).ok_or_else(|| ImageError::Unknown {
                    image: image.to_owned(),
                    name: name.to_owned(),
                    container: container.to_owned(),
                })?;
                return Ok(Program {
                    file,
                    args: Vec::new(),
                    env: BTreeMap::new(),
                });
            }
        };
        let file = locate(&chosen.binary).ok_or_else(|| ImageError::Missing {
            image: image.to_owned(),
            binary: chosen.binary.clone(),
            container: container.to_owned(),
            beside: own_folder().unwrap_or_default().display().to_string(),
        })?;
        Ok(Program {
            file,
            args: chosen.args,
            env: chosen.env,
        })
    }

    fn insert(&mut self, image: &str, binary: &str) {
        self.0.insert(image_name(image).to_owned(), plain(binary));
    }
}

fn plain(binary: &str) -> Image {
    Image {
        binary: binary.to_owned(),
        args: Vec::new(),
        env: BTreeMap::new(),
    }
}

/// The last part of an image's path, without tag and digest.
#[must_use]
pub(crate) fn image_name(image: &str) -> &str {
    let path = image.split('@').next().unwrap_or(image);
    let last = path.rsplit('/').next().unwrap_or(path);
    last.split(':').next().unwrap_or(last)
}

/// Finds a program: an absolute path, beside this executable, else in PATH.
#[must_use]
pub(crate) fn locate(binary: &str) -> Option<PathBuf> {
    if binary.contains('/') {
        return std::fs::canonicalize(binary).ok().filter(|p| is_program(p));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = own_folder().into_iter().chain(std::env::split_paths(&path));
    folders
        .map(|f| f.join(binary))
        .find(|p| is_program(p))
        .and_then(|p| std::fs::canonicalize(p).ok())
}

/// Maps that belong to a sample: `local/images.yaml` or `platform/local/images.yaml` in the source's folder or one of the two above.
#[must_use]
pub(crate) fn maps_near(source: &Path) -> Vec<PathBuf> {
    let folders = source
        .ancestors()
        .skip(usize::from(!source.is_dir()))
        .take(3);
    let places = folders.flat_map(|f| {
        [
            f.join("local").join(MAP_FILE),
            f.join("platform/local").join(MAP_FILE),
        ]
    });
    places.filter(|p| p.is_file()).collect()
}

fn own_folder() -> Option<PathBuf> {
    std::env::current_exe().ok()?.parent().map(Path::to_owned)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_names() {
        for (image, name) in [
            ("lateen/proxyv2:0.1.0", "proxyv2"),
            ("registry:5000/a/b", "b"),
            ("b@sha256:00", "b"),
            (
                "docker.io/istio/examples-bookinfo-reviews-v1:1.20",
                "examples-bookinfo-reviews-v1",
            ),
        ] {
            assert_eq!(image_name(image), name);
        }
    }

    #[test]
    fn annotations_come_before_maps_and_an_unknown_image_says_how_to_map_it() {
        let mut map = ImageMap::default();
        map.read(
            Path::new("images.yaml"),
            serde_json::json!({"app": {"binary": "sh", "args": ["-c", "true"]}, "b": "sh"}),
        )
        .expect("map");
        let none = BTreeMap::new();
        assert_eq!(
            map.resolve("x/app:1", "c", &none).expect("mapped").args,
            ["-c", "true"]
        );
        let annotated = BTreeMap::from([(format!("{ANNOTATION}.c"), "cat".to_owned())]);
        assert!(
            map.resolve("x/app:1", "c", &annotated)
                .expect("annotated")
                .args
                .is_empty()
        );
        let unknown = map
            .resolve("x/nothing-like-it:1", "c", &none)
            .expect_err("unknown");
        assert!(
            unknown.to_string().contains("--set nothing-like-it=BINARY"),
            "{unknown}"
        );
        map.set("nothing-like-it=no-such-program-here")
            .expect("set");
        let missing = map
            .resolve("x/nothing-like-it:1", "c", &none)
            .expect_err("missing");
        assert!(matches!(missing, ImageError::Missing { .. }));
        assert!(map.set("x").is_err());
    }
}
