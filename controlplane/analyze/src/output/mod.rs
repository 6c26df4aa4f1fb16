//! Messages as text for people and programs: log lines, JSON, YAML, SARIF, and annotations of GitHub's workflows.

mod github;
mod json;
mod log;
mod sarif;
mod yaml;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use lateen_api::object::Problem;

use crate::code::Code;
use crate::message::{Message, Place};

/// The release of Istio whose pages about its codes are linked.
const ISTIO: &str = "v1.32";

/// How messages are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Whether places are exactly those that Istio prints; else the line of the field is given wherever it is known.
    pub istio_compatible: bool,
    /// Whether levels are coloured.
    pub colour: bool,
    /// The folder that paths are made relative to where programs want them so; empty leaves them as they are.
    pub base: String,
}

/// A form of output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// A line a message.
    #[default]
    Log,
    /// A JSON list.
    Json,
    /// A YAML list.
    Yaml,
    /// A SARIF 2.1.0 log.
    Sarif,
    /// Commands of GitHub's workflows.
    Github,
}

impl Format {
    /// All forms.
    pub const ALL: [Self; 5] = [Self::Log, Self::Json, Self::Yaml, Self::Sarif, Self::Github];

    /// The form's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Sarif => "sarif",
            Self::Github => "github",
        }
    }

    /// The form of a name, in any case.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str().eq_ignore_ascii_case(name))
    }
}

impl View {
    /// All messages in a form, with the line end that belongs to it.
    #[must_use]
    pub fn render(&self, messages: &[Message], format: Format) -> String {
        match format {
            Format::Log => log::render(self, messages),
            Format::Json => json::render(self, messages),
            Format::Yaml => yaml::render(self, messages),
            Format::Sarif => sarif::render(self, messages),
            Format::Github => github::render(self, messages),
        }
    }

    /// One message as a line, without line end.
    #[must_use]
    pub fn line(&self, message: &Message) -> String {
        log::line(self, message)
    }

    /// The command that shows what could not be read in GitHub's workflows, with its line end.
    #[must_use]
    pub fn problem_command(&self, problem: &Problem) -> String {
        github::problem(self, problem)
    }

    /// The line of a message in its file.
    #[must_use]
    pub const fn line_number(&self, message: &Message, place: &Place) -> u32 {
        if message.own_line || !self.istio_compatible {
            place.line
        } else {
            place.document_line
        }
    }

    /// `file:line` of a message; `None` for an object of a cluster.
    fn reference(&self, message: &Message) -> Option<String> {
        let place = place(message)?;
        let line = self.line_number(message, place);
        // Istio knows no lines of JSON files.
        let no_line = self.istio_compatible && has_extension(&place.file, "json");
        if line == 0 || no_line {
            Some(place.file.to_string())
        } else {
            Some(format!("{}:{line}", place.file))
        }
    }

    /// A file's path as programs want it: relative to the base, without a leading `./`.
    fn path<'p>(&self, file: &'p str) -> &'p str {
        let below = (!self.base.is_empty())
            .then(|| file.strip_prefix(self.base.trim_end_matches('/')))
            .flatten()
            .and_then(|rest| rest.strip_prefix('/'));
        let mut path = below.unwrap_or(file);
        while let Some(rest) = path.strip_prefix("./") {
            path = rest.trim_start_matches('/');
        }
        path
    }
}

/// Where the causes and cures of a code are written down: Istio's page for its codes, a page of the repository for ours.
#[must_use]
pub fn documentation_url(code: Code) -> String {
    if code.is_istio() {
        let id = code.id.to_ascii_lowercase();
        format!(
            "https://istio.io/{ISTIO}/docs/reference/config/analysis/{id}/?ref=istioctl-analyze"
        )
    } else {
        page(code)
    }
}

/// The page of the repository about a code.
#[must_use]
pub fn page(code: Code) -> String {
    format!("docs/analysis/{}.md", code.id)
}

/// A text in which nothing can steer a terminal: control characters are written as escapes.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            let _ = write!(out, "{}", character.escape_default());
        } else {
            out.push(character);
        }
    }
    out
}

/// Where a message's object was read; `None` for one of a cluster.
fn place(message: &Message) -> Option<&Place> {
    let place = message.origin.as_ref()?.place.as_ref()?;
    (!place.file.is_empty()).then_some(place)
}

/// The name of a message's object; empty where there is none.
fn object(message: &Message) -> String {
    message
        .origin
        .as_ref()
        .map(crate::message::Origin::friendly_name)
        .unwrap_or_default()
}

fn has_extension(file: &str, extension: &str) -> bool {
    std::path::Path::new(file)
        .extension()
        .is_some_and(|found| found.eq_ignore_ascii_case(extension))
}
