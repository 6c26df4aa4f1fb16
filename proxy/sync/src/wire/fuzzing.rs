//! Patterns and replacements, for fuzzers.

use envoy_types::pb::envoy::config::core::v3::TypedExtensionConfig;
use envoy_types::pb::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use envoy_types::pb::envoy::extensions::path::rewrite::uri_template::v3::UriTemplateRewriteConfig;
use envoy_types::pb::envoy::r#type::matcher::v3::{RegexMatchAndSubstitute, RegexMatcher};
use lateen_xds::any;

use super::at::At;
use super::{matcher, path_template, uri_template};

/// What a pattern and its replacement make of a text: `kind` says which language they are in.
pub(crate) fn rewrite(kind: u8, pattern: &str, replacement: &str, text: &str) -> Option<String> {
    let at = At::ROOT;
    let (regex, replacement) = match kind % 3 {
        0 => {
            let pattern = RegexMatcher {
                regex: pattern.to_owned(),
                ..RegexMatcher::default()
            };
            let both = RegexMatchAndSubstitute {
                pattern: Some(pattern),
                substitution: replacement.to_owned(),
            };
            matcher::substitution(&at, &both).ok()?
        }
        1 => {
            let condition = extension(any::pack(&UriTemplateMatchConfig {
                path_template: pattern.to_owned(),
            }));
            let condition = path_template::condition(&at, condition).ok()?;
            let rewrite = extension(any::pack(&UriTemplateRewriteConfig {
                path_template_rewrite: replacement.to_owned(),
            }));
            let rewrite = path_template::rewrite(&at, rewrite, &condition).ok()?;
            (condition, rewrite)
        }
        _ => (uri_template::compile(pattern)?, Box::default()),
    };
    Some(regex.replace_all(text, &*replacement).into_owned())
}

fn extension(packed: envoy_types::pb::google::protobuf::Any) -> TypedExtensionConfig {
    TypedExtensionConfig {
        name: "fuzz".to_owned(),
        typed_config: Some(packed),
    }
}
