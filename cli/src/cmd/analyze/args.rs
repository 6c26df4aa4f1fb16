//! The flags of `lateenctl analyze`: istioctl's, and some of our own.

use std::path::PathBuf;

use clap::{ArgAction, Args};
use lateen_api::Duration;
use lateen_controlplane_analyze::Level;
use lateen_controlplane_analyze::output::Format;

/// Find mistakes in the configuration of a mesh, in files, a cluster, or both
///
/// Looks at all objects together: references that lead nowhere, policies that select nothing, rules that can never match. Files stand
/// before the cluster's objects of the same names, so that changes can be tried before they are applied. With --use-kube=false the
/// files alone are judged, and no cluster is needed.
///
/// Exit codes: 0 if nothing reaches the failure threshold, 79 if something does, 65 if files cannot be read, 64 for a wrong command
/// line, 1 for all else.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lateenctl analyze\n  \
    lateenctl analyze --use-kube=false -A manifests/\n  \
    lateenctl analyze -n shop my-virtual-service.yaml\n  \
    helm template chart/ | lateenctl analyze --use-kube=false -A -\n  \
    lateenctl analyze --use-kube=false -A -o sarif manifests/ > analyze.sarif\n  \
    lateenctl analyze -S \"IST0103=Pod testing/*\" -S \"IST0102=Namespace testing\"\n  \
    lateenctl analyze --use-kube=false -A --fix manifests/\n  \
    lateenctl analyze --explain IST0101")]
pub(crate) struct AnalyzeArgs {
    /// Files, folders with all that is in them, or - for standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// List the analyzers and exit
    #[arg(short = 'L', long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true, value_parser = boolean)]
    pub(super) list_analyzers: bool,
    /// Read the cluster; false reads files alone
    #[arg(short = 'k', long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = boolean)]
    pub(super) use_kube: bool,
    /// Colour the output [default: on a terminal]
    #[arg(long, value_name = "BOOL", default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, value_parser = boolean)]
    pub(super) color: Option<bool>,
    /// Say which analyzers ran, which were skipped and why, and which objects were not looked at
    #[arg(short, long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true, value_parser = boolean)]
    pub(super) verbose: bool,
    /// The level from which messages make the command fail: Info, Warning or Error
    #[arg(long, value_name = "LEVEL", default_value = "Error", value_parser = level)]
    pub(super) failure_threshold: Level,
    /// The level from which messages are shown: Info, Warning or Error
    #[arg(long, value_name = "LEVEL", default_value = "Info", value_parser = level)]
    pub(super) output_threshold: Level,
    /// The form of the output: log, json, yaml, sarif or github
    #[arg(short, long, value_name = "FORMAT", default_value = "log", value_parser = format)]
    pub(super) output: Format,
    /// A file with the mesh's settings, instead of those of the ConfigMap
    #[arg(long = "meshConfigFile", value_name = "FILE")]
    pub(super) mesh_config_file: Option<PathBuf>,
    /// A file with the mesh's networks, instead of those of the ConfigMap
    #[arg(long = "meshNetworksFile", value_name = "FILE")]
    pub(super) mesh_networks_file: Option<PathBuf>,
    /// Show messages of all namespaces
    #[arg(short = 'A', long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true, value_parser = boolean)]
    pub(super) all_namespaces: bool,
    /// Leave out messages of a code about an object, `*` standing for any text, such as IST0103=Pod testing/*; may be repeated
    #[arg(short = 'S', long, value_name = "CODE=OBJECT")]
    pub(super) suppress: Vec<String>,
    /// How long reading a cluster may take
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(super) timeout: Duration,
    /// Has no effect: folders are always read with all that is in them
    #[arg(short = 'R', long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide = true, value_parser = boolean)]
    pub(super) recursive: bool,
    /// Do not fail because of documents that cannot be read
    #[arg(long, value_name = "BOOL", default_value_t = false, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide_default_value = true, value_parser = boolean)]
    pub(super) ignore_unknown: bool,
    /// The revision of the control plane: Istio's objects of other revisions are left out [default: default, for the cluster's objects]
    #[arg(short, long, value_name = "REVISION")]
    pub(super) revision: Option<String>,
    /// Contexts of further clusters of the mesh [default: those of the remote secrets]
    #[arg(long, value_name = "CONTEXT", value_delimiter = ',')]
    pub(super) remote_contexts: Vec<String>,
    /// An analyzer to run instead of all (see -L); may be repeated
    #[arg(long, value_name = "NAME")]
    pub(super) analyzer: Vec<String>,
    /// Behave exactly as istioctl: its analyzers and line numbers alone, and exit code 0 for json and yaml
    #[arg(long)]
    pub(super) istio_compatible: bool,
    /// Explain a code, its causes and its cure; without one, list the codes
    #[arg(long, value_name = "CODE", num_args = 0..=1, default_missing_value = "")]
    pub(super) explain: Option<String>,
    /// Show the changes that cure messages with one safe answer
    #[arg(long)]
    pub(super) fix: bool,
    /// Write the changes of --fix into the files
    #[arg(long, requires = "fix")]
    pub(super) write: bool,
}

impl AnalyzeArgs {
    /// Whether lines for people are asked for.
    pub(super) fn is_log(&self) -> bool {
        self.output == Format::Log
    }
}

/// A boolean in all spellings that istioctl takes.
fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "True" | "TRUE" => Ok(true),
        "0" | "f" | "F" | "false" | "False" | "FALSE" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

fn level(text: &str) -> Result<Level, String> {
    Level::parse(text).ok_or_else(|| "the levels are Info, Warning and Error".to_owned())
}

fn format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| {
        let names = Format::ALL.map(Format::as_str);
        format!("the forms are {}", names.join(", "))
    })
}
