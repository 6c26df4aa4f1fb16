//! What belongs to every local mesh: the control plane and the ingress gateway.

use std::path::Path;

use lateen_api::object::Problem;
use serde_json::json;

use crate::source::{Documents, SourceFile, parse};

/// Namespace of the mesh's own pods.
pub(crate) const SYSTEM: &str = "istio-system";
/// The control plane's Deployment and Service.
pub(crate) const ISTIOD: &str = "istiod";
/// The ingress gateway's Deployment and Service.
pub(crate) const INGRESS: &str = "istio-ingressgateway";

const MANIFEST: &str = include_str!("built_in.yaml");

/// What the mesh's own objects depend on.
#[derive(Debug, Clone)]
pub(crate) struct BuiltIn<'a> {
    /// Folder of configuration for lateend.
    pub config: &'a Path,
    /// Folder of lateend's certificate authority.
    pub authority: &'a Path,
    /// Folder in which lateend keeps the operator's client certificate.
    pub(crate) operator: &'a Path,
    /// Value of `JWT_RULE`.
    pub jwt_rule: &'a str,
}

impl BuiltIn<'_> {
    /// The objects.
    ///
    /// # Errors
    /// Never for the manifest that is compiled in; its problems, should it have any.
    pub(crate) fn documents(&self) -> Result<Documents, Vec<Problem>> {
        // Values are JSON strings, which YAML reads the same.
        let quoted = |text: &str| json!(text).to_string();
        let text = MANIFEST
            .replace("${CONFIG}", &quoted(&self.config.to_string_lossy()))
            .replace("${CA}", &quoted(&self.authority.to_string_lossy()))
            .replace("${OPERATOR}", &quoted(&self.operator.to_string_lossy()))
            .replace("${JWT_RULE}", &quoted(self.jwt_rule))
            .replace("${VERSION}", env!("CARGO_PKG_VERSION"));
        parse(
            &[SourceFile {
                name: "local mesh".to_owned(),
                text,
            }],
            SYSTEM,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_api::object::{Kind, ObjectKey};

    #[test]
    fn the_manifest_reads_strictly() {
        let built_in = BuiltIn {
            config: Path::new("/run/x"),
            authority: Path::new("/run/y"),
            operator: Path::new("/run/z"),
            jwt_rule: "{\"issuer\": \"a\\b\"}",
        };
        let documents = built_in.documents().expect("valid");
        for name in [ISTIOD, INGRESS] {
            for kind in [Kind::Deployment, Kind::Service] {
                assert!(
                    documents.contains_key(&ObjectKey::new(kind, SYSTEM, name)),
                    "{kind} {name}"
                );
            }
        }
    }
}
