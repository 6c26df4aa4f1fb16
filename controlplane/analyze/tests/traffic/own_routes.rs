//! Analyzers of our own.
