//! Queries of admin pages, and the part of a dump that they ask for.
#![no_main]
#![allow(dead_code, reason = "modules of the program, of which the pages use more")]

#[path = "../../app/src/admin/dump_part.rs"]
mod dump_part;
#[path = "../../app/src/admin/query.rs"]
mod query;

use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    let query = query::Query::parse(text);
    let owned = |name: &str| query.value(name).map(ToOwned::to_owned);
    let part = dump_part::Part {
        resource: owned("resource"),
        mask: owned("mask"),
        name_regex: owned("name_regex"),
    };
    assert_eq!(dump_part::Part::from_json(&part.to_json()), Some(part.clone()));
    let cluster = json!({"version_info": "1", "cluster": {"name": "a", "hosts": [{"x": 1}, {"y": [2]}]}});
    let _ = part.of(vec![
        json!({"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": {"node": {"id": "a"}}}),
        json!({"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "version_info": "1",
            "static_clusters": [cluster.clone()], "dynamic_active_clusters": [cluster]}),
    ]);
});
