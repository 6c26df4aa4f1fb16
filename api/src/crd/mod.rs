//! CustomResourceDefinitions of Istio's kinds, and what an API server that has them would refuse.
//!
//! A schema comes from the types; tables by kind lay over it what types do not say: what is required, limits, patterns, and CEL rules.
//! Beside the text of each pattern and each CEL rule stands its twin in Rust, so that [`refusals`] gives the server's verdict without one.
//!
//! The server knows each field by its `camelCase` name alone: the other spelling, which the mesh reads from files, is dropped there as an
//! unknown field. So a rule that asks for a field is not met by the field's other spelling.

mod bundle;
mod definition;
mod openapi;
mod refuse;
mod rule;
mod rules;
mod status;
mod tree;
mod url;
mod values;

pub use bundle::{bundle, definitions};
pub use refuse::{Refusal, refusals};

#[cfg(test)]
mod tests;
