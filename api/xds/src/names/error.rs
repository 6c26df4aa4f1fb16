/// A text that starts like a known name and is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no {kind} name: {reason}")]
pub struct NameError {
    /// Kind of name: cluster, listener, route…
    pub kind: &'static str,
    /// The text.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl NameError {
    pub(super) fn new(kind: &'static str, name: &str, reason: &'static str) -> Self {
        Self {
            kind,
            name: name.chars().take(256).collect(),
            reason,
        }
    }
}

/// A port as names carry it: decimal, no sign, no leading zero.
pub(super) fn port(text: &str) -> Option<u16> {
    let plain = !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
