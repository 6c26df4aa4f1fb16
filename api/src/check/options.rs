//! What objects are checked against.

/// What objects are checked against.
#[derive(Debug, Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Whether the objects are all that there are, so that what is not among them is missing.
    pub complete: bool,
    /// The cluster's domain, `cluster.local`.
    pub domain: &'a str,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        Self {
            complete: false,
            domain: "cluster.local",
        }
    }
}
