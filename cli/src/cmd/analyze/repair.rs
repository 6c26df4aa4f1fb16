//! `--fix`: changes of files that cure messages, shown as a diff and, with `--write`, written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use lateen_controlplane_analyze::Message;
use lateen_controlplane_analyze::analyzers::annotation_names;
use lateen_controlplane_analyze::fix::{Fixer, apply};
use lateen_controlplane_analyze::output::printable;
use similar::{ChangeTag, TextDiff};

use super::args::AnalyzeArgs;
use super::report::colour_by_default;
use crate::failure::Failure;
use crate::input::Text;
use crate::output;

/// Lines around a change.
const CONTEXT: usize = 3;

/// What `--fix` did or would do.
#[derive(Debug, Default)]
pub(super) struct Cured {
    /// The diff.
    diff: String,
    /// How many messages it is about.
    messages: usize,
    /// The files that were written or would be.
    files: usize,
    /// Whether they were written.
    written: bool,
}

/// Finds the changes, writes them if they are to be written, and gives the messages that are left then.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn run(
    args: &AnalyzeArgs,
    texts: &[Text],
    messages: Vec<Message>,
) -> Result<(Option<Cured>, Vec<Message>), Failure> {
    let mut by_file: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (number, message) in messages.iter().enumerate() {
        let place = message
            .origin
            .as_ref()
            .and_then(|origin| origin.place.as_ref());
        if let Some(place) = place {
            by_file.entry(&place.file).or_default().push(number);
        }
    }
    let colour = args.color.unwrap_or_else(colour_by_default);
    let mut cured = Cured {
        written: args.write,
        ..Cured::default()
    };
    let mut gone = Vec::new();
    for text in texts {
        let Some(numbers) = by_file.remove(&*text.name) else {
            continue;
        };
        let about: Vec<&Message> = numbers
            .iter()
            .filter_map(|number| messages.get(*number))
            .collect();
        let cure = Fixer::new(&text.text, annotation_names).cure(&about);
        if cure.edits.is_empty() {
            continue;
        }
        let after = apply(&text.text, &cure.edits);
        cured.diff.push_str(&diff(text, &after, colour));
        cured.messages += cure.cured.len();
        cured.files += 1;
        if !args.write {
            continue;
        }
        if &*text.name == "-" {
            output::note("Warning: standard input cannot be changed, the change is only shown.");
            continue;
        }
        write(Path::new(&*text.name), &text.text, &after)?;
        gone.extend(
            cure.cured
                .iter()
                .filter_map(|number| numbers.get(*number).copied()),
        );
    }
    gone.sort_unstable();
    let left = messages
        .into_iter()
        .enumerate()
        .filter(|(number, _)| gone.binary_search(number).is_err())
        .map(|(_, message)| message)
        .collect();
    Ok((Some(cured), left))
}

impl Cured {
    /// Shows the diff: on standard output beside log lines, else on standard error.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(super) fn tell(&self, args: &AnalyzeArgs) -> Result<(), Failure> {
        if args.is_log() {
            output::print(&self.diff)?;
        } else if !self.diff.is_empty() {
            output::note(self.diff.trim_end_matches('\n'));
        }
        let counted = |count: usize, what: &str| match count {
            1 => format!("1 {what}"),
            count => format!("{count} {what}s"),
        };
        let messages = counted(self.messages, "message");
        let files = counted(self.files, "file");
        output::note(&match (self.messages, self.written) {
            (0, _) => "No message has a change that surely cures it.".to_owned(),
            (_, true) => format!("{messages} cured by changes in {files}."),
            (_, false) => {
                format!("Changes in {files} would cure {messages}: --write makes them.")
            }
        });
        Ok(())
    }
}

/// A unified diff.
fn diff(text: &Text, after: &str, colour: bool) -> String {
    let diff = TextDiff::from_lines(&*text.text, after);
    let paint = |code: &str, line: &str| {
        if colour {
            format!("\u{1b}[{code}m{line}\u{1b}[0m\n")
        } else {
            format!("{line}\n")
        }
    };
    let name = printable(&text.name);
    let mut out = paint("1", &format!("--- {name}")) + &paint("1", &format!("+++ {name}"));
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        out.push_str(&paint("36", &hunk.header().to_string()));
        for change in hunk.iter_changes() {
            let line = printable(change.value().trim_end_matches(['\n', '\r']));
            match change.tag() {
                ChangeTag::Delete => out.push_str(&paint("31", &format!("-{line}"))),
                ChangeTag::Insert => out.push_str(&paint("32", &format!("+{line}"))),
                ChangeTag::Equal => out.push_str(&format!(" {line}\n")),
            }
        }
    }
    out
}

/// Replaces a file as a whole or not at all, behind a link if it is one, with the rights that it had.
fn write(path: &Path, before: &str, after: &str) -> Result<(), Failure> {
    let failed = |error: &io::Error| {
        Failure::other(format!("{} cannot be written: {error}", path.display()))
    };
    let path: PathBuf = fs::canonicalize(path).map_err(|error| failed(&error))?;
    let current = fs::read(&path).map_err(|error| failed(&error))?;
    if current != before.as_bytes() {
        return Err(Failure::other(format!(
            "{} has changed while it was analyzed: nothing was written into it",
            path.display()
        )));
    }
    let rights = fs::metadata(&path)
        .map_err(|error| failed(&error))?
        .permissions();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let replaced = (|| {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&beside)?;
        file.write_all(after.as_bytes())?;
        file.set_permissions(rights)?;
        file.sync_all()?;
        fs::rename(&beside, &path)
    })();
    if let Err(error) = replaced {
        // Nothing is left behind; that it cannot be removed either is no news.
        let _ = fs::remove_file(&beside);
        return Err(failed(&error));
    }
    Ok(())
}
