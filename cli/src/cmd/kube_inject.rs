//! `lateenctl kube-inject`: manifests in, manifests with sidecars out (contract/inject.md §9).

use std::path::{Path, PathBuf};

use clap::Args;
use lateen_api::mesh::{MeshConfig, ProxyConfig};
use lateen_api::yaml;
use lateen_controlplane_inject::{Settings, Values, inject_documents};
use serde_json::Value;

use crate::args::Scope;
use crate::failure::Failure;
use crate::output;

/// Add the sidecar to the workloads of a manifest
///
/// Workloads (Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController, Job, CronJob, Pod, List, DeploymentConfig) are written
/// anew with the sidecar; all other documents pass byte for byte. Without a mesh config or values file the built-in defaults are used.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:\n  \
    lateenctl kube-inject -f deployment.yaml | kubectl apply -f -\n  \
    kubectl get deployment web -o yaml | lateenctl kube-inject -f - | kubectl apply -f -\n  \
    lateenctl kube-inject -f deployment.yaml --meshConfigFile mesh.yaml --valuesFile values.yaml -o injected.yaml")]
pub(crate) struct KubeInjectArgs {
    /// The manifest; `-` reads standard input
    #[arg(short, long, value_name = "FILE")]
    filename: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The mesh config, laid over the built-in defaults
    #[arg(long = "meshConfigFile", value_name = "FILE")]
    mesh_config_file: Option<PathBuf>,
    /// Helm values (YAML or JSON), laid over the built-in defaults
    #[arg(long = "valuesFile", value_name = "FILE")]
    values_file: Option<PathBuf>,
    /// The control plane's revision
    #[arg(
        short,
        long,
        value_name = "REVISION",
        default_value = "",
        hide_default_value = true
    )]
    revision: String,
    /// Where images come from, in place of the values' hub
    #[arg(long, value_name = "HUB")]
    hub: Option<String>,
    /// The tag of images, in place of the values' tag
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Not supported yet: an inject config with Go templates
    #[arg(long = "injectConfigFile", value_name = "FILE", hide = true)]
    inject_config_file: Option<PathBuf>,
    /// Not supported yet: an IstioOperator file
    #[arg(long = "operatorFileName", value_name = "FILE", hide = true)]
    operator_file_name: Option<PathBuf>,
    /// Not supported yet: a ConfigMap of a cluster
    #[arg(long = "meshConfigMapName", value_name = "NAME", hide = true)]
    mesh_config_map_name: Option<String>,
    /// Not supported yet: a ConfigMap of a cluster
    #[arg(long = "injectConfigMapName", value_name = "NAME", hide = true)]
    inject_config_map_name: Option<String>,
    /// Not supported yet: a webhook of a cluster
    #[arg(long = "webhookConfig", value_name = "NAME", hide = true)]
    webhook_config: Option<String>,
    /// Not supported yet: the address of a control plane
    #[arg(long = "xds-address", value_name = "HOST:PORT", hide = true)]
    xds_address: Option<String>,
}

/// Injects a manifest.
pub(crate) fn run(args: &KubeInjectArgs, scope: &Scope) -> Result<(), Failure> {
    args.refuse_unsupported()?;
    let Some(file) = &args.filename else {
        return Err(Failure::usage(
            "filename not specified (see --filename or -f)",
        ));
    };
    let text = output::read_file(file)?;
    let settings = args.settings(scope)?;
    let shown = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let injected = inject_documents(&text, &shown, &scope.namespace, &settings)
        .map_err(|error| Failure::data(error.to_string()))?;
    for note in &injected.notes {
        output::note(note);
    }
    if injected.injected > 0 && args.mesh_config_file.is_none() && args.values_file.is_none() {
        output::note(
            "Rendered with the built-in defaults: no cluster, --meshConfigFile or --valuesFile was given.",
        );
    }
    match &args.output {
        None => output::print(&injected.text),
        Some(path) => std::fs::write(path, &injected.text).map_err(|error| {
            Failure::other(format!("{} cannot be written: {error}", path.display()))
        }),
    }
}

impl KubeInjectArgs {
    fn refuse_unsupported(&self) -> Result<(), Failure> {
        let cluster = "a Kubernetes cluster is not supported yet: give --meshConfigFile and --valuesFile, or use the built-in defaults";
        let templates = "Go templates are not supported yet: the stock templates sidecar and gateway are built in";
        let operator =
            "IstioOperator files are not supported yet: give --meshConfigFile and --valuesFile";
        let given = [
            (
                "--injectConfigFile",
                self.inject_config_file.is_some(),
                templates,
            ),
            (
                "--operatorFileName",
                self.operator_file_name.is_some(),
                operator,
            ),
            (
                "--meshConfigMapName",
                self.mesh_config_map_name.is_some(),
                cluster,
            ),
            (
                "--injectConfigMapName",
                self.inject_config_map_name.is_some(),
                cluster,
            ),
            ("--webhookConfig", self.webhook_config.is_some(), cluster),
            ("--xds-address", self.xds_address.is_some(), cluster),
        ];
        match given.into_iter().find(|(_, given, _)| *given) {
            None => Ok(()),
            Some((flag, _, reason)) => Err(Failure::usage(format!("{flag}: {reason}"))),
        }
    }

    fn settings(&self, scope: &Scope) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        if let Some(path) = &self.values_file {
            settings.values = read_values(path)?;
        }
        let values = &mut settings.values;
        if scope.istio_namespace != "istio-system" {
            values
                .global
                .istio_namespace
                .clone_from(&scope.istio_namespace);
        }
        if !self.revision.is_empty() {
            values.revision.clone_from(&self.revision);
        }
        if let Some(hub) = &self.hub {
            values.global.hub.clone_from(hub);
        }
        if let Some(tag) = &self.tag {
            values.global.tag.clone_from(tag);
        }
        if let Some(path) = &self.mesh_config_file {
            settings.mesh = read_mesh(path, &settings.mesh)?;
        }
        // What the mesh config of this revision and namespace would say.
        if settings.mesh.default_config.discovery_address
            == ProxyConfig::default().discovery_address
        {
            settings.mesh.default_config.discovery_address = settings.discovery_address();
        }
        Ok(settings)
    }
}

fn read_mesh(path: &Path, base: &MeshConfig) -> Result<MeshConfig, Failure> {
    let text = output::read_file(path)?;
    let documents =
        yaml::parse(&text).map_err(|error| Failure::data(format!("{}:{error}", path.display())))?;
    let Some(document) = documents.first().filter(|document| !document.is_empty()) else {
        return Ok(base.clone());
    };
    yaml::read_with(&document.root, |input| base.overlay(input))
        .map(|(mesh, _)| mesh)
        .map_err(|error| Failure::data(format!("{}:{}: {error}", path.display(), error.at)))
}

fn read_values(path: &Path) -> Result<Values, Failure> {
    let text = output::read_file(path)?;
    let wrong = |reason: String| Failure::data(format!("{}:{reason}", path.display()));
    let documents = yaml::parse(&text).map_err(|error| wrong(error.to_string()))?;
    let Some(document) = documents.first().filter(|document| !document.is_empty()) else {
        return Ok(Values::default());
    };
    let given: Value =
        yaml::read(&document.root).map_err(|error| wrong(format!("{}: {error}", error.at)))?;
    Values::read(&given).map_err(|error| wrong(format!(" {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  template:\n    spec:\n      containers: [{name: web}]\n";

    fn inject(
        text: &str,
        with: impl FnOnce(&Path, &mut KubeInjectArgs),
    ) -> Result<String, Failure> {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let (input, out) = (
            folder.path().join("in.yaml"),
            folder.path().join("out.yaml"),
        );
        std::fs::write(&input, text).unwrap_or_else(|error| panic!("{error}"));
        let mut args = KubeInjectArgs {
            filename: Some(input),
            output: Some(out.clone()),
            ..KubeInjectArgs::default()
        };
        with(folder.path(), &mut args);
        run(&args, &Scope::default())?;
        Ok(std::fs::read_to_string(out).unwrap_or_default())
    }

    #[test]
    fn what_is_no_workload_passes_byte_for_byte_into_the_output_file() {
        let text = "kind: Service   # odd spacing\nmetadata:   {name: a}\n";
        let out = inject(&format!("{text}---\n{DEPLOYMENT}"), |_, _| {})
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(
            out.starts_with(&format!("{text}---\napiVersion: apps/v1\n")),
            "{out}"
        );
        assert!(
            out.contains(concat!(
                "image: lateen/proxyv2:",
                env!("CARGO_PKG_VERSION"),
                "\n"
            )),
            "{out}"
        );
    }

    #[test]
    fn files_and_flags_shape_the_sidecar() {
        let out = inject(DEPLOYMENT, |folder, args| {
            let (mesh, values) = (folder.join("mesh.yaml"), folder.join("values.yaml"));
            std::fs::write(
                &mesh,
                "trustDomain: example.org\ndefaultConfig: {concurrency: 3}\n",
            )
            .unwrap_or_default();
            std::fs::write(
                &values,
                "global: {hub: example.org/mesh, tag: 7, proxy: {logLevel: debug}}\n",
            )
            .unwrap_or_default();
            args.mesh_config_file = Some(mesh);
            args.values_file = Some(values);
            args.revision = "canary".to_owned();
        })
        .unwrap_or_else(|error| panic!("{error}"));
        for part in [
            "image: example.org/mesh/proxyv2:7\n",
            "--proxyLogLevel=debug\n",
            "value: example.org\n",
            "\"concurrency\":3",
            "value: istiod-canary.istio-system.svc:15012\n",
            "istio.io/rev: canary\n",
        ] {
            assert!(out.contains(part), "{part}\n{out}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let missing = run(&KubeInjectArgs::default(), &Scope::default()).expect_err("no file");
        assert_eq!(
            missing.to_string(),
            "filename not specified (see --filename or -f)"
        );
        let absent = KubeInjectArgs {
            filename: Some("/no/such.yaml".into()),
            ..KubeInjectArgs::default()
        };
        let absent = run(&absent, &Scope::default()).expect_err("no such file");
        assert_eq!(
            absent.to_string(),
            "open /no/such.yaml: no such file or directory"
        );
        let refused = inject(DEPLOYMENT, |_, args| {
            args.inject_config_file = Some("x".into())
        })
        .expect_err("templates");
        assert!(
            refused
                .to_string()
                .starts_with("--injectConfigFile: Go templates are not supported yet"),
            "{refused}"
        );
        let broken = inject("kind: Pod\n  x: [\n", |_, _| {})
            .expect_err("not YAML")
            .to_string();
        assert!(broken.contains("in.yaml:2:"), "{broken}");
        let mesh = inject(DEPLOYMENT, |folder, args| {
            let mesh = folder.join("mesh.yaml");
            std::fs::write(&mesh, "\ndefaultConfig:\n  concurrency: many\n").unwrap_or_default();
            args.mesh_config_file = Some(mesh);
        })
        .expect_err("bad mesh config")
        .to_string();
        assert!(
            mesh.contains("mesh.yaml:3:16: defaultConfig.concurrency: "),
            "{mesh}"
        );
    }
}
