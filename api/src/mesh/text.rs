//! Settings from texts: a mesh config file, the key `mesh` of a ConfigMap, the annotation `proxy.istio.io/config`.

use super::mesh_config::MeshConfig;
use super::networks::MeshNetworks;
use super::proxy_config::ProxyConfig;
use serde::Deserialize;

use crate::object::{Problem, Severity};
use crate::yaml::{self, Ignored, Mark, Node, ReadError, Reader};

/// Reads mesh settings over the defaults. `file` names the text in problems. Fields that are not known are warnings, as a config may be
/// made for a newer version.
///
/// # Errors
/// When the text is not YAML, or a value is not of its field's kind.
pub fn parse_mesh_config(file: &str, text: &str) -> Result<(MeshConfig, Vec<Problem>), Problem> {
    parse(file, text, |input| MeshConfig::default().overlay(input))
}

/// Reads proxy settings over others. `file` names the text in problems; fields that are not known are warnings.
///
/// # Errors
/// When the text is not YAML, or a value is not of its field's kind.
pub fn parse_proxy_config(
    file: &str,
    text: &str,
    base: &ProxyConfig,
) -> Result<(ProxyConfig, Vec<Problem>), Problem> {
    parse(file, text, |input| base.overlay(input))
}

/// Reads the mesh's networks. `file` names the text in problems; fields that are not known are warnings.
///
/// # Errors
/// When the text is not YAML, or a value is not of its field's kind.
pub fn parse_mesh_networks(
    file: &str,
    text: &str,
) -> Result<(MeshNetworks, Vec<Problem>), Problem> {
    parse(file, text, |input| MeshNetworks::deserialize(input))
}

fn parse<T>(
    file: &str,
    text: &str,
    overlay: impl Fn(Reader<'_, '_>) -> Result<T, ReadError>,
) -> Result<(T, Vec<Problem>), Problem> {
    let problem = |at: Mark, field: &str, message: String, severity| Problem {
        file: file.to_owned(),
        line: at.line,
        column: at.column,
        object: None,
        field: (!field.is_empty()).then(|| field.to_owned()),
        message,
        severity,
    };
    let documents = yaml::parse(text)
        .map_err(|error| problem(error.at, "", error.kind.to_string(), Severity::Error))?;
    if let Some(second) = documents
        .iter()
        .filter(|document| !document.is_empty())
        .nth(1)
    {
        let message = "settings are one document, not several".to_owned();
        return Err(problem(second.root.at, "", message, Severity::Error));
    }
    let empty = Node::null(Mark { line: 1, column: 1 });
    let root = documents
        .iter()
        .map(|document| &document.root)
        .find(|root| !root.is_null())
        .unwrap_or(&empty);
    let (settings, ignored) = yaml::read_with(root, overlay).map_err(|error| {
        problem(
            error.at,
            &error.path,
            error.message.clone(),
            Severity::Error,
        )
    })?;
    let unknown = |Ignored { at, path }| {
        problem(
            at,
            &path,
            "unknown field, without effect".to_owned(),
            Severity::Warning,
        )
    };
    Ok((settings, ignored.into_iter().map(unknown).collect()))
}
