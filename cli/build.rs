//! Gathers the pages about the codes of `analyze` into a table, so that the program can print them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let folder = root.join("../docs/analysis");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages: Vec<PathBuf> = match fs::read_dir(&folder) {
        Ok(entries) => entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect(),
        Err(_) => Vec::new(),
    };
    pages.retain(|path| code(path).is_some());
    pages.sort();
    let mut table = String::from("pub(super) static PAGES: &[(&str, &str)] = &[\n");
    for page in &pages {
        println!("cargo::rerun-if-changed={}", page.display());
        let path = page.canonicalize()?;
        let id = code(page).unwrap_or_default();
        let _ = writeln!(
            table,
            "    ({id:?}, include_str!({:?})),",
            path.display().to_string()
        );
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("pages.rs"), table)
}

/// The code that a page is about: `IST0101` of `IST0101.md`.
fn code(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".md")?;
    let digits = name
        .strip_prefix("IST")
        .or_else(|| name.strip_prefix("LAT"))?;
    (digits.len() == 4 && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(name)
}
