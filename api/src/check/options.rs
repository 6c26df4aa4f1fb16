//! What objects are checked against.

/// A function that says why an expression is none; `Ok` for one that can be used.
pub type RegexCheck<'a> = &'a dyn Fn(&str) -> Result<(), String>;

/// What objects are checked against.
#[derive(Clone, Copy)]
pub struct CheckOptions<'a> {
    /// Whether the objects are all that there are, so that what is not among them is missing.
    pub complete: bool,
    /// The cluster's domain, `cluster.local`.
    pub domain: &'a str,
    /// How expressions are checked; `None` leaves that to others.
    pub regex: Option<RegexCheck<'a>>,
}

impl Default for CheckOptions<'_> {
    fn default() -> Self {
        Self {
            complete: false,
            domain: "cluster.local",
            regex: None,
        }
    }
}

impl std::fmt::Debug for CheckOptions<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CheckOptions")
            .field("complete", &self.complete)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}
