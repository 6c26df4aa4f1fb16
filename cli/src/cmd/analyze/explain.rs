//! `--explain`: the pages about codes, built into the program.

use std::fmt::Write as _;

use lateen_controlplane_analyze::Code;
use lateen_controlplane_analyze::code::CODES;
use lateen_controlplane_analyze::output::documentation_url;

use crate::failure::Failure;
use crate::output;

// `PAGES`: each code that has a page, with its text.
include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Prints the page about a code, or a list of all codes.
///
/// # Errors
/// When there is no such code.
pub(super) fn run(code: &str) -> Result<(), Failure> {
    if code.is_empty() {
        return output::print(&list());
    }
    let Some(code) = Code::find(&code.to_ascii_uppercase()) else {
        return Err(Failure::usage(format!(
            "there is no code {code}: `lateenctl analyze --explain` lists them"
        )));
    };
    output::print(&explain(code))
}

fn list() -> String {
    let mut out = String::new();
    for code in CODES {
        let _ = writeln!(out, "{}  {:7}  {}", code.id, code.level.as_str(), code.name);
    }
    out
}

fn explain(code: Code) -> String {
    match PAGES.iter().find(|(id, _)| *id == code.id) {
        Some((_, page)) => plain(page),
        None => format!(
            "{}: {}\n\nLevel: {}\n\nSee {}\n",
            code.id,
            code.name,
            code.level,
            documentation_url(code)
        ),
    }
}

/// A page without its markup: headings are underlined, blocks of code indented.
fn plain(page: &str) -> String {
    let mut out = String::new();
    let mut in_code = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            let _ = writeln!(out, "    {line}");
        } else if let Some((marks, heading)) = line
            .split_once(' ')
            .filter(|(marks, _)| !marks.is_empty() && marks.bytes().all(|mark| mark == b'#'))
        {
            let underline = if marks.len() == 1 { "=" } else { "-" };
            let _ = writeln!(
                out,
                "{heading}\n{}",
                underline.repeat(heading.chars().count())
            );
        } else {
            let _ = writeln!(out, "{}", line.replace('`', ""));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_of_a_code_and_in_the_common_form() {
        for (id, page) in PAGES {
            let code = Code::find(id).unwrap_or_else(|| panic!("{id} is no code"));
            assert!(
                page.starts_with(&format!("# {id}: {}\n", code.name)),
                "{id}"
            );
            assert!(page.contains(&format!("\nLevel: {}\n", code.level)), "{id}");
            assert!(page.contains("\n## Cause\n"), "{id}");
        }
    }

    #[test]
    fn pages_are_printed_plainly() {
        let out = plain("# A: B\n\nLevel: Error\n\n## Cause\n\n`x` is.\n\n```yaml\na: 1\n```\n");
        assert_eq!(
            out,
            "A: B\n====\n\nLevel: Error\n\nCause\n-----\n\nx is.\n\n    a: 1\n"
        );
        assert!(list().contains("IST0101  Error    ReferencedResourceNotFound\n"));
        assert!(explain(CODES[0]).contains(CODES[0].id));
    }
}
