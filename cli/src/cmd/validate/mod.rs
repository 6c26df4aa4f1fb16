//! `lateenctl validate`: what the admission webhook would say of manifests (contract/cli.md).

mod check;
mod kubernetes;

use std::path::{Path, PathBuf};

use clap::{ArgAction, Args};

use crate::args::Scope;
use crate::failure::Failure;
use crate::input::{self, Text};
use crate::output;
use check::{Checker, Verdicts};

/// Check Istio resources in files, by themselves and without a cluster
///
/// Each object is judged as the admission webhook would: fields, values and the rules between them. Ports of Services are checked for
/// names that tell their protocol, Deployments for the labels that telemetry goes by; other kinds are taken as they are. What only the
/// API server refuses is a warning, or an error with --strict. For what objects mean together see `lateenctl analyze`.
///
/// All is said on standard error; the exit code is 1 if an object would be refused, else 0.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lateenctl validate -f bookinfo-gateway.yaml\n  \
    lateenctl validate -f manifests/ --strict\n  \
    kubectl get virtualservices -A -o yaml | lateenctl validate -f -")]
pub(crate) struct ValidateArgs {
    /// A file, a folder with all that is in it, or - for standard input; may be repeated
    #[arg(short, long, value_name = "FILE", value_delimiter = ',')]
    filename: Vec<PathBuf>,
    /// Make errors of the warnings about what the API server refuses
    #[arg(long)]
    strict: bool,
    // Has had no effect for years; scripts still give it.
    #[arg(short = 'x', long, value_name = "BOOL", default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set, hide = true)]
    referential: bool,
}

/// Checks the files.
///
/// # Errors
/// All that would be refused, and files that cannot be read.
pub(crate) fn run(args: &ValidateArgs, scope: &Scope) -> Result<(), Failure> {
    if args.filename.is_empty() {
        return Err(Failure::other(
            "nothing to validate: give files, folders or - by --filename (-f), such as -f rsrc.yaml",
        ));
    }
    let checker = Checker::new(scope, args.strict);
    let mut errors = Vec::new();
    let mut texts = Vec::new();
    for path in &args.filename {
        take(path, &mut texts, &mut errors);
    }
    let parts = input::each_part(&texts, |text, part| checker.part(text, part));
    let mut unchecked = Vec::new();
    for (text, parts) in texts.iter().zip(parts) {
        let mut of_file = Verdicts::default();
        for part in parts {
            of_file.append(part);
        }
        report(text, &of_file);
        errors.append(&mut of_file.errors);
        unchecked.append(&mut of_file.unchecked);
    }
    note_unchecked(unchecked);
    if errors.is_empty() {
        return Ok(());
    }
    Err(Failure::other(list(&errors)))
}

/// Reads what a path names.
fn take(path: &Path, texts: &mut Vec<Text>, errors: &mut Vec<String>) {
    let found = match input::find(&[path.to_owned()], true) {
        Ok(found) => found,
        Err(failure) => {
            errors.push(format!(
                "cannot read file \"{}\": {failure}",
                path.display()
            ));
            return;
        }
    };
    errors.extend(found.problems.iter().map(ToString::to_string));
    for file in &found.files {
        match input::read(file) {
            Ok(text) => texts.push(text),
            Err(problem) => errors.push(problem.to_string()),
        }
    }
}

/// Says what is to be said of a file that has no error.
fn report(text: &Text, verdicts: &Verdicts) {
    for note in &verdicts.notes {
        output::note(note);
    }
    if !verdicts.warnings.is_empty() {
        let lines: String = verdicts
            .warnings
            .iter()
            .map(|warning| format!("\n\t* {warning}"))
            .collect();
        output::note(&format!("\"{}\" has warnings: {lines}\n", text.name));
    } else if verdicts.errors.is_empty() {
        if &*text.name == "-" {
            output::note("validation succeed");
        } else {
            output::note(&format!("\"{}\" is valid", text.name));
        }
    }
}

/// Says once which kinds were taken as they are.
fn note_unchecked(mut kinds: Vec<String>) {
    if kinds.is_empty() {
        return;
    }
    let count = kinds.len();
    kinds.sort();
    kinds.dedup();
    let (objects, them) = if count == 1 {
        ("document is", "it")
    } else {
        ("documents are", "them")
    };
    output::note(&format!(
        "{count} {objects} not of a kind that is checked, and nothing is said of {them}: {}",
        kinds.join(", ")
    ));
}

/// Errors as a list with a heading.
fn list(errors: &[String]) -> String {
    let heading = match errors.len() {
        1 => "1 error occurred:".to_owned(),
        count => format!("{count} errors occurred:"),
    };
    let lines: String = errors
        .iter()
        .map(|error| format!("\n\t* {error}"))
        .collect();
    format!("{heading}{lines}\n")
}
