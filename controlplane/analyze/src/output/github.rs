//! Commands of GitHub's workflows, which show messages beside the changed lines.

use std::fmt::Write as _;

use lateen_api::object::Problem;

use super::{View, object, place};
use crate::code::Level;
use crate::message::Message;

pub(super) fn render(view: &View, messages: &[Message]) -> String {
    let mut out = String::new();
    for message in messages {
        command(view, message, &mut out);
    }
    out
}

fn command(view: &View, message: &Message, out: &mut String) {
    out.push_str(match message.code.level {
        Level::Error => "::error ",
        Level::Warning => "::warning ",
        Level::Info => "::notice ",
    });
    if let Some(place) = place(message) {
        let _ = write!(
            out,
            "file={},line={},",
            property(view.path(&place.file)),
            view.line_number(message, place).max(1)
        );
        // The column is that of the field, which Istio's line may not be.
        if place.column > 0 && view.line_number(message, place) == place.line {
            let _ = write!(out, "col={},", place.column);
        }
    }
    let title = format!("{} {}", message.code.id, message.code.name);
    let cluster = if message.cluster.is_empty() {
        String::new()
    } else {
        format!(" [cluster-{}]", message.cluster)
    };
    let text = match object(message) {
        object if object.is_empty() => format!("{}{cluster}", message.text),
        object => format!("{object}{cluster}: {}", message.text),
    };
    let _ = writeln!(out, "title={}::{}", property(&title), data(&text));
}

/// The command about what could not be read.
pub(super) fn problem(view: &View, problem: &Problem) -> String {
    let mut out = String::from("::error ");
    if !problem.file.is_empty() {
        let _ = write!(out, "file={},", property(view.path(&problem.file)));
    }
    if problem.line > 0 {
        let _ = write!(out, "line={},col={},", problem.line, problem.column.max(1));
    }
    let parts = [&problem.object, &problem.field];
    let mut text: String = parts
        .into_iter()
        .flatten()
        .map(|part| format!("{part}: "))
        .collect();
    text.push_str(&problem.message);
    let _ = writeln!(out, "title=not analyzed::{}", data(&text));
    out
}

/// A command's text: what would end or change it is escaped as percents.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// A property's value, which colons and commas would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
