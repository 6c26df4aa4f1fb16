//! What a run says, and how it ends.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use lateen_api::object::{Problem, UnknownObject};
use lateen_controlplane_analyze::output::{Format, View, page};
use lateen_controlplane_analyze::{Analysis, Message};

use super::args::AnalyzeArgs;
use super::excerpt::excerpt;
use super::{reaches, repair};
use crate::failure::Failure;
use crate::input::Text;
use crate::output;

/// Objects that nobody looks at are named up to so many.
const FEW: usize = 3;

/// All that a run gave.
pub(super) struct Report<'a> {
    pub(super) args: &'a AnalyzeArgs,
    pub(super) texts: &'a [Text],
    /// What was analyzed, for people.
    pub(super) target: Target,
    /// What could not be read.
    pub(super) problems: Vec<Problem>,
    /// Objects that nobody looks at.
    pub(super) unknown: Vec<UnknownObject>,
    pub(super) analysis: Analysis,
}

/// What was analyzed, for people.
pub(super) struct Target {
    /// The namespace, or all of them.
    namespace: String,
    /// The files; none if only a cluster was.
    files: Vec<String>,
}

/// What the arguments say is analyzed.
pub(super) fn target(args: &AnalyzeArgs, namespace: Option<&str>) -> Target {
    Target {
        namespace: namespace.map_or_else(
            || "all namespaces".to_owned(),
            |namespace| format!("namespace: {namespace}"),
        ),
        files: args
            .files
            .iter()
            .map(|file| file.display().to_string())
            .collect(),
    }
}

impl Report<'_> {
    /// Prints the messages, and says how the command ends.
    pub(super) fn finish(mut self) -> Result<ExitCode, Failure> {
        self.tell_problems();
        self.tell_unknown();
        if self.args.verbose {
            self.tell_analyzers();
        }
        let messages = std::mem::take(&mut self.analysis.messages);
        let (cured, messages) = if self.args.fix {
            repair::run(self.args, self.texts, messages)?
        } else {
            (None, messages)
        };
        self.print(&messages)?;
        if let Some(cured) = cured {
            cured.tell(self.args)?;
        }
        self.verdict(&messages)
    }

    fn tell_problems(&self) {
        if self.problems.is_empty() {
            return;
        }
        let lines: String = self
            .problems
            .iter()
            .map(|problem| format!("\n\t* {problem}"))
            .collect();
        output::note(&format!("Error(s) adding files:{lines}"));
    }

    /// Objects of kinds that are not the mesh's are left alone, but not without a word.
    fn tell_unknown(&self) {
        if self.unknown.is_empty() || (self.args.istio_compatible && !self.args.verbose) {
            return;
        }
        let most = if self.args.verbose { usize::MAX } else { FEW };
        for object in self.unknown.iter().take(most) {
            let what = match (object.kind.as_str(), object.api_version.as_str()) {
                ("", _) => "no object of Kubernetes (it has no kind)".to_owned(),
                (kind, "") => format!("{kind} without an apiVersion"),
                (kind, api_version) => {
                    format!("{kind} {} of {api_version}", object.name)
                }
            };
            output::note(&format!(
                "{}:{}: not looked at: {what}",
                object.file, object.line
            ));
        }
        if let Some(more) = self
            .unknown
            .len()
            .checked_sub(most)
            .filter(|more| *more > 0)
        {
            output::note(&format!("and {more} more (-v names them all)"));
        }
    }

    fn tell_analyzers(&self) {
        output::note(&format!("Analyzed resources in {}", self.target.namespace));
        if !self.analysis.skipped.is_empty() {
            output::note("Skipped analyzers:");
            for (name, missing) in &self.analysis.skipped {
                output::note(&format!("\t{name} (cannot read {missing})"));
            }
        }
        output::note("Executed analyzers:");
        for name in &self.analysis.executed {
            output::note(&format!("\t{name}"));
        }
        output::note("");
    }

    fn print(&self, messages: &[Message]) -> Result<(), Failure> {
        let shown: Vec<Message> = messages
            .iter()
            .filter(|message| reaches(message.code.level, self.args.output_threshold))
            .cloned()
            .collect();
        let terminal = io::stdout().is_terminal();
        let view = View {
            istio_compatible: self.args.istio_compatible,
            colour: self.args.color.unwrap_or_else(colour_by_default),
            base: std::env::current_dir()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        };
        if self.args.output == Format::Github {
            let problems = self.problems.iter();
            let unread: String = problems
                .map(|problem| view.problem_command(problem))
                .collect();
            return output::print(&(unread + &view.render(&shown, Format::Github)));
        }
        if self.args.output != Format::Log {
            return output::print(&view.render(&shown, self.args.output));
        }
        if shown.is_empty() {
            self.tell_success();
            return output::print("\n");
        }
        if terminal && !self.args.istio_compatible {
            return output::print(&self.with_excerpts(&view, &shown));
        }
        output::print(&view.render(&shown, Format::Log))
    }

    /// Each message with the lines that it is about, and where to read more.
    fn with_excerpts(&self, view: &View, messages: &[Message]) -> String {
        let texts: HashMap<&str, &str> = self
            .texts
            .iter()
            .map(|text| (&*text.name, &*text.text))
            .collect();
        let mut out = String::new();
        for message in messages {
            out.push_str(&view.line(message));
            out.push('\n');
            let place = message
                .origin
                .as_ref()
                .and_then(|origin| origin.place.as_ref());
            // The first line of an object shows nothing that the message does not say.
            let place = place.filter(|_| !message.field.is_empty());
            let lines = place.and_then(|place| {
                let text = texts.get(&*place.file)?;
                excerpt(text, place.line, place.column, view.colour)
            });
            out.push_str(&lines.unwrap_or_default());
            out.push_str(&format!("  = {}\n\n", page(message.code)));
        }
        out
    }

    fn tell_success(&self) {
        let unparsed = self.unparsed_files();
        let (tick, but) = if unparsed == 0 {
            ("\u{2714} ", String::new())
        } else {
            let files = if unparsed == 1 { "file" } else { "files" };
            ("", format!(" (but {unparsed} {files} could not be parsed)"))
        };
        let what = match &self.target.files[..] {
            [] => format!(" {}", self.target.namespace),
            [file] => format!(" {file}"),
            files => {
                let lines: String = files.iter().map(|file| format!("\n  - {file}")).collect();
                output::note(&format!(
                    "{tick}No validation issues found when analyzing{but}:{lines}"
                ));
                return;
            }
        };
        output::note(&format!(
            "{tick}No validation issues found when analyzing{what}{but}."
        ));
    }

    fn unparsed_files(&self) -> usize {
        let files: BTreeSet<&str> = self
            .problems
            .iter()
            .map(|problem| problem.file.as_str())
            .collect();
        files.len()
    }

    fn verdict(&self, messages: &[Message]) -> Result<ExitCode, Failure> {
        let structured = matches!(self.args.output, Format::Json | Format::Yaml);
        if structured && self.args.istio_compatible {
            return Ok(ExitCode::SUCCESS);
        }
        let threshold = self.args.failure_threshold;
        if messages
            .iter()
            .any(|message| reaches(message.code.level, threshold))
        {
            return Err(Failure::Findings(format!(
                "Analyzers found issues when analyzing {}.\nlateenctl analyze --explain CODE tells the causes and cures, as docs/analysis/CODE.md does.",
                self.target.namespace
            )));
        }
        if !self.problems.is_empty() && !self.args.ignore_unknown {
            return Err(Failure::data("Some files couldn't be parsed."));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Colours are for terminals that have them.
pub(super) fn colour_by_default() -> bool {
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    io::stdout().is_terminal() && !dumb && std::env::var_os("NO_COLOR").is_none()
}
