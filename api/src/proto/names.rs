//! Field names: the proto file's `snake_case` and JSON's `camelCase`.

/// The JSON name of a proto field: underscores go, the letter after one becomes upper case.
///
/// ```
/// assert_eq!(lateen_api::proto::json_name("consecutive_5xx_errors"), "consecutive5xxErrors");
/// ```
#[must_use]
pub fn json_name(proto: &str) -> String {
    camel(proto).collect()
}

/// Whether `key` is the field `proto`, written either way.
#[must_use]
pub fn name_matches(key: &str, proto: &str) -> bool {
    let proto = proto.strip_prefix("r#").unwrap_or(proto);
    key == proto
        || (key.as_bytes().first() == proto.as_bytes().first() && camel(proto).eq(key.chars()))
}

fn camel(proto: &str) -> impl Iterator<Item = char> + '_ {
    let proto = proto.strip_prefix("r#").unwrap_or(proto);
    let mut upper = false;
    proto.chars().filter_map(move |letter| {
        if letter == '_' {
            upper = true;
            return None;
        }
        let cased = if upper {
            letter.to_ascii_uppercase()
        } else {
            letter
        };
        upper = false;
        Some(cased)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_proto_json_rule() {
        for (proto, json) in [
            ("host", "host"),
            ("port_level_mtls", "portLevelMtls"),
            ("http1_max_pending_requests", "http1MaxPendingRequests"),
            ("consecutive_5xx_errors", "consecutive5xxErrors"),
            ("mesh_mTLS", "meshMTLS"),
            ("r#match", "match"),
        ] {
            assert_eq!(json_name(proto), json);
            assert!(name_matches(json, proto), "{json} is {proto}");
            assert!(name_matches(proto.trim_start_matches("r#"), proto));
        }
        assert!(!name_matches("Host", "host"));
        assert!(!name_matches("exportto", "export_to"));
    }
}
