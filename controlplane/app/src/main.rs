//! The control plane binary: lateend.

fn main() {}
