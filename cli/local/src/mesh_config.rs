//! Settings of a local mesh: metrics and access logs are on, everything else is Istio's default or the user's.

use lateen_api::mesh::MeshConfig;
use lateen_api::object::{Problem, Severity};
use lateen_api::yaml;
use serde_json::{Value, json};

/// Settings as lateend and the injector get them.
#[derive(Debug, Clone)]
pub(crate) struct LocalMeshConfig {
    /// Typed.
    pub config: MeshConfig,
    /// As lateend reads it from its file.
    pub text: String,
}

/// Reads the user's settings, if there are any, over those of a local mesh; each of the user's top-level fields replaces ours.
///
/// # Errors
/// A problem with file and line when the text is no mesh config.
pub(crate) fn read(file: Option<(&str, &str)>) -> Result<LocalMeshConfig, Problem> {
    let mut value = json!({ "accessLogFile": "/dev/stdout", "defaultProviders": { "metrics": ["prometheus"] } });
    if let Some((name, text)) = file {
        merge(&mut value, users(name, text)?);
    }
    let config = MeshConfig::default().overlay(&value);
    let config = config.map_err(|e| {
        Problem::file_error(file.map_or("mesh config", |(name, _)| name), e.to_string())
    })?;
    Ok(LocalMeshConfig {
        config,
        text: value.to_string(),
    })
}

fn users(name: &str, text: &str) -> Result<Value, Problem> {
    let problem = |at: yaml::Mark, field: Option<String>, message: String| Problem {
        file: name.to_owned(),
        line: at.line,
        column: at.column,
        object: None,
        field,
        message,
        severity: Severity::Error,
    };
    let documents = yaml::parse(text).map_err(|e| problem(e.at, None, e.kind.to_string()))?;
    let Some(document) = documents.iter().find(|d| !d.is_empty()) else {
        return Ok(json!({}));
    };
    let field = |path: String| (!path.is_empty()).then_some(path);
    // Read once for its positions: a wrong field is named with its line.
    let typed = yaml::read_with(&document.root, |reader| {
        MeshConfig::default().overlay(reader)
    });
    let (_, ignored) = typed.map_err(|e| problem(e.at, field(e.path), e.message))?;
    if let Some(unknown) = ignored.into_iter().next() {
        return Err(problem(
            unknown.at,
            field(unknown.path),
            "unknown field: correct its name or take it out".to_owned(),
        ));
    }
    yaml::read(&document.root).map_err(|e| problem(e.at, field(e.path), e.message))
}

fn merge(ours: &mut Value, users: Value) {
    if let (Some(ours), Value::Object(users)) = (ours.as_object_mut(), users) {
        ours.extend(users);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_fields_replace_ours() {
        let ours = read(None).expect("ours");
        assert_eq!(ours.config.access_log_file, "/dev/stdout");
        let users = read(Some((
            "mesh.yaml",
            "accessLogFile: \"\"\nrootNamespace: x\n",
        )))
        .expect("users");
        assert_eq!(
            (
                users.config.access_log_file.as_str(),
                users.config.root_namespace.as_str()
            ),
            ("", "x")
        );
        assert!(users.text.contains("prometheus"));
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let problem = read(Some(("mesh.yaml", "accessLogFile: x\naccesLogFormat: y\n")))
            .expect_err("unknown");
        assert!(problem.to_string().starts_with("mesh.yaml:2:"), "{problem}");
    }
}
