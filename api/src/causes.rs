//! Errors as people read them.

use std::error::Error;

/// The error's text followed by those of its causes that it does not hold already: transport errors hide the one that
/// matters at the bottom, and some repeat it on each level.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    #[test]
    fn what_an_outer_text_holds_is_not_said_twice() {
        let refused = || Box::new(Layer("connection refused", None));
        let error = Layer(
            "istiod:15012",
            Some(Box::new(Layer(
                "transport: connection refused",
                Some(refused()),
            ))),
        );
        assert_eq!(
            causes(&error),
            "istiod:15012: transport: connection refused"
        );
    }
}
