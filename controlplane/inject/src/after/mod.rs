//! What happens to a pod after the templates are laid on it (contract/inject.md §5, steps 4 to 6).

pub(crate) mod finish;
pub(crate) mod probes;
pub(crate) mod prometheus;
pub(crate) mod reapply;
pub(crate) mod status;
