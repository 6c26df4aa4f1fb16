//! What of the configuration cannot be made into resources. Each finding names the object and the field; the rest is served.

mod mesh;
mod routes;
mod rules;

use std::collections::BTreeSet;

use lateen_controlplane_model::generate::Rejection;
use lateen_controlplane_model::snapshot::Snapshot;

/// Findings about one object.
struct Findings<'a> {
    kind: &'static str,
    object: String,
    out: &'a mut BTreeSet<Rejection>,
}

impl Findings<'_> {
    fn add(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        self.out.insert(Rejection {
            kind: self.kind.into(),
            object: self.object.clone(),
            field: field.into(),
            reason: reason.into(),
        });
    }

    fn when(&mut self, wrong: bool, field: &str, reason: &str) {
        if wrong {
            self.add(field, reason);
        }
    }
}

/// Every finding, by kind, object and field.
pub(crate) fn rejections(snapshot: &Snapshot) -> Vec<Rejection> {
    let mut out: BTreeSet<Rejection> = snapshot.rejections.iter().cloned().collect();
    routes::check(snapshot, &mut out);
    rules::check(snapshot, &mut out);
    mesh::check(snapshot, &mut out);
    out.into_iter().collect()
}
