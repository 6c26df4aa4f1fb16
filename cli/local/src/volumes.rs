//! Volumes of a pod as folders, kept up to date the way a kubelet does: tokens before they expire, settings when they change.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::{
    ConfigMapProjection, Container, DownwardAPIVolumeFile, KeyToPath, Pod, SecretProjection,
    ServiceAccountTokenProjection, Volume, VolumeProjection,
};
use thiserror::Error;

use crate::container::Bind;
use crate::facts::{Data, FactError, PodFacts, Settings, resource};
use crate::state::write_atomic;
use crate::tokens::{DEFAULT_LIFE, ISSUER, Subject, TokenError, TokenIssuer, renewal};

/// Mode of files whose volume names none.
const DEFAULT_MODE: i32 = 0o644;

/// Why a volume cannot be made.
#[derive(Debug, Error)]
pub(crate) enum VolumeError {
    /// A ConfigMap or Secret is not there (yet).
    #[error("volume \"{volume}\": {kind} \"{name}\" is not in namespace \"{namespace}\"")]
    Absent {
        /// The volume.
        volume: String,
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// What it asks for.
        name: String,
        /// The pod's namespace.
        namespace: String,
    },
    /// A kind of volume that a local mesh does not have.
    #[error(
        "volume \"{0}\": this kind of volume is not supported in a local mesh; use emptyDir, configMap, secret, downwardAPI, projected or hostPath"
    )]
    Unsupported(String),
    /// An item's key is not in its ConfigMap or Secret.
    #[error("volume \"{0}\": key {1:?} is not there")]
    Key(String, String),
    /// A path inside the volume climbs or is absolute.
    #[error("volume \"{0}\": path {1:?} must be relative and must not hold '..'")]
    Path(String, String),
    /// A mount names no volume of the pod.
    #[error("container \"{0}\" mounts volume \"{1}\", which the pod does not have")]
    Mount(String, String),
    /// A field of the downward API is not there.
    #[error("volume \"{0}\": {1}")]
    Fact(String, FactError),
    /// A token could not be made.
    #[error("volume \"{0}\": {1}")]
    Token(String, TokenError),
    /// The machine's path of a hostPath volume is not there.
    #[error("volume \"{0}\": {1} does not exist on this machine")]
    HostPath(String, PathBuf),
    /// A file operation failed.
    #[error("volume \"{0}\": {1}: {2}")]
    Io(String, PathBuf, io::Error),
}

/// Relative path → content and mode.
type Files = BTreeMap<String, (Vec<u8>, u32)>;

/// The volumes of one pod.
#[derive(Debug)]
pub(crate) struct PodVolumes {
    root: PathBuf,
    volumes: Vec<Volume>,
    containers: Vec<Container>,
    facts: PodFacts,
    group: Option<u32>,
}

impl PodVolumes {
    /// Volumes of a pod below a folder of its own.
    #[must_use]
    pub(crate) fn new(root: PathBuf, pod: &Pod, facts: PodFacts) -> Self {
        let spec = pod.spec.clone().unwrap_or_default();
        let group = spec
            .security_context
            .as_ref()
            .and_then(|s| s.fs_group)
            .and_then(|g| u32::try_from(g).ok());
        let containers = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .cloned()
            .collect();
        Self {
            root,
            volumes: spec.volumes.unwrap_or_default(),
            containers,
            facts,
            group,
        }
    }

    /// Makes all folders and files; also brings existing ones up to date.
    ///
    /// # Errors
    /// [`VolumeError`] naming the volume; [`VolumeError::Absent`] may pass when the object appears.
    pub(crate) fn write(
        &self,
        settings: &Settings,
        issuer: &TokenIssuer,
    ) -> Result<(), VolumeError> {
        self.volumes
            .iter()
            .try_for_each(|volume| self.write_one(volume, settings, issuer))
    }

    /// How long tokens in the volumes may stay; `None` when there is none.
    #[must_use]
    pub(crate) fn renewal(&self) -> Option<Duration> {
        let projected = self.volumes.iter().filter_map(|v| v.projected.as_ref());
        let tokens = projected
            .flat_map(|p| p.sources.iter().flatten())
            .filter_map(|s| s.service_account_token.as_ref());
        tokens.map(|t| renewal(life(t))).min()
    }

    /// Mounts of a container.
    ///
    /// # Errors
    /// [`VolumeError`] when a mount names no volume or its `subPath` climbs or cannot be made.
    pub(crate) fn binds(
        &self,
        container: &Container,
        expand: impl Fn(&str) -> String,
    ) -> Result<Vec<Bind>, VolumeError> {
        let mut binds = Vec::new();
        for mount in container.volume_mounts.iter().flatten() {
            let volume = self.volumes.iter().find(|v| v.name == mount.name);
            let volume = volume
                .ok_or_else(|| VolumeError::Mount(container.name.clone(), mount.name.clone()))?;
            let sub = mount
                .sub_path_expr
                .as_deref()
                .map(&expand)
                .or_else(|| mount.sub_path.clone())
                .unwrap_or_default();
            let mut source = self.source(volume)?;
            if !sub.is_empty() {
                source.push(relative(&volume.name, &sub)?);
                if !source.exists() {
                    fs::create_dir_all(&source).map_err(|e| io_error(volume, &source, e))?;
                }
            }
            let settings = volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some();
            let read_only = mount.read_only == Some(true) || settings;
            binds.push(Bind {
                source,
                target: PathBuf::from(&mount.mount_path),
                read_only,
            });
        }
        Ok(binds)
    }

    fn folder(&self, volume: &Volume) -> PathBuf {
        self.root.join(&volume.name)
    }

    fn source(&self, volume: &Volume) -> Result<PathBuf, VolumeError> {
        let Some(host) = &volume.host_path else {
            return Ok(self.folder(volume));
        };
        let path = PathBuf::from(&host.path);
        if !path.exists() && matches!(host.type_.as_deref(), Some("DirectoryOrCreate")) {
            fs::create_dir_all(&path).map_err(|e| io_error(volume, &path, e))?;
        }
        if path.exists() {
            Ok(path)
        } else {
            Err(VolumeError::HostPath(volume.name.clone(), path))
        }
    }

    fn write_one(
        &self,
        volume: &Volume,
        settings: &Settings,
        issuer: &TokenIssuer,
    ) -> Result<(), VolumeError> {
        if volume.host_path.is_some() {
            return self.source(volume).map(drop);
        }
        let folder = self.folder(volume);
        let files = self.files(volume, settings, issuer)?;
        let fail = |e| io_error(volume, &folder, e);
        fs::create_dir_all(&folder).map_err(fail)?;
        let mode = if files.is_some() { 0o755 } else { 0o777 };
        // The set-group-id bit makes new files belong to the pod's group.
        let mode = if self.group.is_some() {
            mode | 0o2070
        } else {
            mode
        };
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).map_err(fail)?;
        chown(&folder, None, self.group).map_err(fail)?;
        files.map_or(Ok(()), |files| self.replace(volume, &folder, &files))
    }

    fn replace(&self, volume: &Volume, folder: &Path, files: &Files) -> Result<(), VolumeError> {
        for (name, (content, mode)) in files {
            let path = folder.join(relative(&volume.name, name)?);
            let fail = |e| io_error(volume, &path, e);
            if fs::read(&path).is_ok_and(|old| old == *content) {
                continue;
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(fail)?;
            }
            let mode = if self.group.is_some() {
                mode | 0o040
            } else {
                *mode
            };
            write_atomic(&path, content, mode).map_err(fail)?;
            chown(&path, None, self.group).map_err(fail)?;
        }
        for entry in fs::read_dir(folder)
            .map_err(|e| io_error(volume, folder, e))?
            .flatten()
        {
            let name = entry.file_name().to_string_lossy().into_owned();
            let wanted = files
                .keys()
                .any(|f| f.split('/').next() == Some(name.as_str()));
            if !wanted && entry.path().is_file() {
                fs::remove_file(entry.path()).map_err(|e| io_error(volume, &entry.path(), e))?;
            }
        }
        Ok(())
    }

    /// Files of a volume that a kubelet writes; `None` for an empty folder.
    fn files(
        &self,
        volume: &Volume,
        settings: &Settings,
        issuer: &TokenIssuer,
    ) -> Result<Option<Files>, VolumeError> {
        let mut files = Files::new();
        let writer = Writer {
            volume: &volume.name,
            pod: self,
            settings,
            issuer,
        };
        if volume.empty_dir.is_some() || is_bare(volume) {
            return Ok(None);
        } else if let Some(map) = &volume.config_map {
            writer.config_map(
                &mut files,
                &map.name,
                map.items.as_deref(),
                map.optional,
                mode(map.default_mode),
            )?;
        } else if let Some(secret) = &volume.secret {
            let name = secret.secret_name.clone().unwrap_or_default();
            writer.secret(
                &mut files,
                &name,
                secret.items.as_deref(),
                secret.optional,
                mode(secret.default_mode),
            )?;
        } else if let Some(downward) = &volume.downward_api {
            writer.downward(
                &mut files,
                downward.items.iter().flatten(),
                mode(downward.default_mode),
            )?;
        } else if let Some(projected) = &volume.projected {
            for source in projected.sources.iter().flatten() {
                writer.projection(&mut files, source, mode(projected.default_mode))?;
            }
        } else {
            return Err(VolumeError::Unsupported(volume.name.clone()));
        }
        Ok(Some(files))
    }
}

/// Collects the files of one volume.
struct Writer<'a> {
    volume: &'a str,
    pod: &'a PodVolumes,
    settings: &'a Settings,
    issuer: &'a TokenIssuer,
}

impl Writer<'_> {
    fn projection(
        &self,
        files: &mut Files,
        source: &VolumeProjection,
        mode: u32,
    ) -> Result<(), VolumeError> {
        if let Some(ConfigMapProjection {
            items,
            name,
            optional,
        }) = &source.config_map
        {
            self.config_map(files, name, items.as_deref(), *optional, mode)
        } else if let Some(SecretProjection {
            items,
            name,
            optional,
        }) = &source.secret
        {
            self.secret(files, name, items.as_deref(), *optional, mode)
        } else if let Some(downward) = &source.downward_api {
            self.downward(files, downward.items.iter().flatten(), mode)
        } else if let Some(token) = &source.service_account_token {
            self.token(files, token, mode)
        } else {
            Err(VolumeError::Unsupported(self.volume.to_owned()))
        }
    }

    fn config_map(
        &self,
        files: &mut Files,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: u32,
    ) -> Result<(), VolumeError> {
        let data = self
            .settings
            .config_maps
            .get(&(self.pod.facts.namespace.clone(), name.to_owned()));
        self.data(files, (data, "ConfigMap", name), items, optional, mode)
    }

    fn secret(
        &self,
        files: &mut Files,
        name: &str,
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: u32,
    ) -> Result<(), VolumeError> {
        let data = self
            .settings
            .secrets
            .get(&(self.pod.facts.namespace.clone(), name.to_owned()));
        self.data(files, (data, "Secret", name), items, optional, mode)
    }

    fn data(
        &self,
        files: &mut Files,
        (data, kind, name): (Option<&Data>, &'static str, &str),
        items: Option<&[KeyToPath]>,
        optional: Option<bool>,
        mode: u32,
    ) -> Result<(), VolumeError> {
        let optional = optional == Some(true);
        let Some(data) = data else {
            let absent = || VolumeError::Absent {
                volume: self.volume.to_owned(),
                kind,
                name: name.to_owned(),
                namespace: self.pod.facts.namespace.clone(),
            };
            return if optional { Ok(()) } else { Err(absent()) };
        };
        let Some(items) = items else {
            files.extend(
                data.iter()
                    .map(|(key, value)| (key.clone(), (value.clone(), mode))),
            );
            return Ok(());
        };
        for item in items {
            match data.get(&item.key) {
                Some(value) => {
                    let mode = item.mode.map_or(mode, |m| self::mode(Some(m)));
                    files.insert(item.path.clone(), (value.clone(), mode));
                }
                None if optional => {}
                None => return Err(VolumeError::Key(self.volume.to_owned(), item.key.clone())),
            }
        }
        Ok(())
    }

    fn downward<'i>(
        &self,
        files: &mut Files,
        items: impl Iterator<Item = &'i DownwardAPIVolumeFile>,
        mode: u32,
    ) -> Result<(), VolumeError> {
        let fail = |e| VolumeError::Fact(self.volume.to_owned(), e);
        for item in items {
            let value = match (&item.field_ref, &item.resource_field_ref) {
                (Some(field), _) => self.pod.facts.field(field).map_err(fail)?,
                (None, Some(selector)) => {
                    resource(selector, &self.pod.containers, "").map_err(fail)?
                }
                (None, None) => String::new(),
            };
            let mode = item.mode.map_or(mode, |m| self::mode(Some(m)));
            files.insert(item.path.clone(), (value.into_bytes(), mode));
        }
        Ok(())
    }

    fn token(
        &self,
        files: &mut Files,
        token: &ServiceAccountTokenProjection,
        mode: u32,
    ) -> Result<(), VolumeError> {
        let facts = &self.pod.facts;
        let subject = Subject {
            namespace: facts.namespace.clone(),
            service_account: facts.service_account.clone(),
            pod: Some((facts.name.clone(), facts.uid.clone())),
        };
        let audience = token.audience.clone().unwrap_or_else(|| ISSUER.to_owned());
        let text = self
            .issuer
            .issue(&subject, &[audience], life(token), SystemTime::now());
        let text = text.map_err(|e| VolumeError::Token(self.volume.to_owned(), e))?;
        files.insert(token.path.clone(), (text.into_bytes(), mode));
        Ok(())
    }
}

fn life(token: &ServiceAccountTokenProjection) -> u64 {
    token
        .expiration_seconds
        .and_then(|s| u64::try_from(s).ok())
        .unwrap_or(DEFAULT_LIFE)
}

fn mode(given: Option<i32>) -> u32 {
    u32::try_from(given.unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o777
}

/// A volume that names no kind is an empty folder (as `emptyDir: null` is written).
fn is_bare(volume: &Volume) -> bool {
    *volume
        == Volume {
            name: volume.name.clone(),
            ..Volume::default()
        }
}

fn relative(volume: &str, path: &str) -> Result<PathBuf, VolumeError> {
    let parsed = PathBuf::from(path);
    if parsed
        .components()
        .all(|c| matches!(c, Component::Normal(_) | Component::CurDir))
    {
        Ok(parsed)
    } else {
        Err(VolumeError::Path(volume.to_owned(), path.to_owned()))
    }
}

fn io_error(volume: &Volume, path: &Path, error: io::Error) -> VolumeError {
    VolumeError::Io(volume.name.clone(), path.to_owned(), error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn volumes(root: &Path, list: serde_json::Value) -> PodVolumes {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "u", "labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "volumeMounts": [
                {"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "k"}
            ]}], "volumes": list}
        }))
        .expect("pod");
        let facts = PodFacts::of(&pod, std::net::Ipv4Addr::new(10, 244, 0, 5));
        PodVolumes::new(root.join("volumes"), &pod, facts)
    }

    #[test]
    fn settings_are_waited_for_and_followed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let issuer = TokenIssuer::open(&dir.path().join("key")).expect("issuer");
        let pod = volumes(
            dir.path(),
            json!([{"name": "v", "configMap": {"name": "istio-ca-root-cert"}}]),
        );
        let mut settings = Settings::default();
        assert!(matches!(
            pod.write(&settings, &issuer),
            Err(VolumeError::Absent { .. })
        ));
        let key = ("default".to_owned(), "istio-ca-root-cert".to_owned());
        settings.config_maps.insert(
            key.clone(),
            Data::from([("k".to_owned(), b"1".to_vec()), ("gone".to_owned(), vec![])]),
        );
        pod.write(&settings, &issuer).expect("written");
        settings
            .config_maps
            .insert(key, Data::from([("k".to_owned(), b"2".to_vec())]));
        pod.write(&settings, &issuer).expect("written again");
        let folder = dir.path().join("volumes/v");
        assert_eq!(fs::read(folder.join("k")).expect("k"), b"2");
        assert!(!folder.join("gone").exists());
        let binds = pod.binds(&pod.containers[0], str::to_owned).expect("binds");
        assert_eq!(binds[1].source, folder.join("k"));
        assert!(binds[0].read_only);
    }

    #[test]
    fn a_projected_token_and_labels() {
        let dir = tempfile::tempdir().expect("tempdir");
        let issuer = TokenIssuer::open(&dir.path().join("key")).expect("issuer");
        let pod = volumes(
            dir.path(),
            json!([{"name": "v", "projected": {"sources": [
                {"serviceAccountToken": {"audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token"}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}}
            ]}}]),
        );
        pod.write(&Settings::default(), &issuer).expect("written");
        let folder = dir.path().join("volumes/v");
        assert_eq!(
            fs::read_to_string(folder.join("labels")).expect("labels"),
            "app=\"x\"\n"
        );
        assert_eq!(
            fs::read_to_string(folder.join("istio-token"))
                .expect("token")
                .split('.')
                .count(),
            3
        );
        assert_eq!(pod.renewal(), Some(Duration::from_secs(34_560)));
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let dir = tempfile::tempdir().expect("tempdir");
        let issuer = TokenIssuer::open(&dir.path().join("key")).expect("issuer");
        let nfs = volumes(
            dir.path(),
            json!([{"name": "v", "nfs": {"path": "/", "server": "s"}}]),
        );
        assert!(matches!(
            nfs.write(&Settings::default(), &issuer),
            Err(VolumeError::Unsupported(_))
        ));
        let climbing = volumes(
            dir.path(),
            json!([{"name": "v", "downwardAPI": {"items": [{"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}]}}]),
        );
        assert!(matches!(
            climbing.write(&Settings::default(), &issuer),
            Err(VolumeError::Path(..))
        ));
    }
}
