//! The commands that read manifests, as scripts see them: exit codes, standard output and standard error.

// The helpers of tests fail as tests do.
#![allow(clippy::panic)]

mod analyze;
mod support;
mod validate;
