//! A line a message: `<Level> [<code>] (<object> <file>:<line>) <text>`.

use super::{View, object, printable};
use crate::code::Level;
use crate::message::Message;

pub(super) fn render(view: &View, messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        out.push_str(&line(view, message));
        out.push('\n');
    }
    out
}

pub(super) fn line(view: &View, message: &Message) -> String {
    let mut out = String::new();
    let level = message.code.level;
    if view.colour {
        out.push_str(match level {
            Level::Error => "\u{1b}[1;31m",
            Level::Warning => "\u{1b}[33m",
            Level::Info => "",
        });
        out.push_str(level.as_str());
        out.push_str("\u{1b}[0m");
    } else {
        out.push_str(level.as_str());
    }
    out.push_str(" [");
    out.push_str(message.code.id);
    out.push(']');
    if !message.cluster.is_empty() {
        out.push_str(&printable(&format!(" [cluster-{}]", message.cluster)));
    }
    if message.origin.is_some() {
        let reference = view
            .reference(message)
            .map(|reference| format!(" {reference}"))
            .unwrap_or_default();
        out.push_str(&printable(&format!(" ({}{reference})", object(message))));
    }
    out.push(' ');
    out.push_str(&printable(&message.text));
    out
}
