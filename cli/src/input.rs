//! Manifests that commands read: files, folders and standard input, in parts that are read at the same time.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use lateen_api::object::Problem;
use lateen_api::yaml::{self, Part};

use crate::failure::Failure;

/// The names that manifests end with.
pub(crate) const EXTENSIONS: [&str; 3] = [".json", ".yaml", ".yml"];
/// Larger files are refused: 256 MiB.
const MOST_BYTES: u64 = 256 << 20;
/// Fewer parts than this are not worth a thread.
const FEW_PARTS: usize = 32;
/// Parts that a thread takes at a time.
const STEP: usize = 16;
/// A progress bar shows after so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What the arguments of a command come to.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The files in the order of the arguments, a folder's by name; `-` is standard input.
    pub(crate) files: Vec<PathBuf>,
    /// Files that were named but have no name of a manifest.
    pub(crate) skipped: Vec<PathBuf>,
    /// Folders that cannot be read.
    pub(crate) problems: Vec<Problem>,
}

/// A file that was read.
#[derive(Debug, Clone)]
pub(crate) struct Text {
    /// The name as it was given.
    pub(crate) name: Arc<str>,
    /// The text.
    pub(crate) text: Arc<str>,
}

/// Finds the files that arguments name; folders are searched with all that is in them. `any_name` takes files that are named
/// themselves whatever their names end with.
///
/// # Errors
/// When a path does not exist.
pub(crate) fn find(paths: &[PathBuf], any_name: bool) -> Result<Found, Failure> {
    let mut found = Found::default();
    for path in paths {
        if path == Path::new("-") {
            found.files.push(path.clone());
            continue;
        }
        let about = fs::metadata(path).map_err(|error| missing(path, &error))?;
        if about.is_dir() {
            search(path, &mut found);
        } else if any_name || is_manifest(path) {
            found.files.push(path.clone());
        } else {
            found.skipped.push(path.clone());
        }
    }
    Ok(found)
}

fn missing(path: &Path, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    };
    Failure::other(format!("stat {}: {reason}", path.display()))
}

/// Adds the manifests of a folder and of the folders in it; links to folders are not followed, so that there are no circles.
fn search(folder: &Path, found: &mut Found) {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        let mut entries = Vec::new();
        match fs::read_dir(&folder) {
            Ok(listed) => entries.extend(listed.filter_map(Result::ok)),
            Err(error) => {
                let name = folder.display().to_string();
                let message = format!("the folder cannot be read: {error}");
                found.problems.push(Problem::file_error(name, message));
            }
        }
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if is_manifest(&path)
                && fs::metadata(&path).map_or(true, |about| about.is_file())
            {
                // What cannot be looked at is kept, so that reading it says why.
                found.files.push(path);
            }
        }
        // The last that is put there is the next that is searched.
        waiting.extend(folders.into_iter().rev());
    }
}

fn is_manifest(path: &Path) -> bool {
    let name = path.as_os_str().to_string_lossy();
    EXTENSIONS.iter().any(|extension| name.ends_with(extension))
}

/// Reads a file, or standard input for `-`.
///
/// # Errors
/// When it cannot be read, is too large or not UTF-8.
pub(crate) fn read(path: &Path) -> Result<Text, Problem> {
    let name = path.display().to_string();
    let problem = |message: String| Problem::file_error(name.clone(), message);
    let mut bytes = Vec::new();
    let limit = MOST_BYTES + 1;
    let done: io::Result<Option<usize>> = if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(limit)
            .read_to_end(&mut bytes)
            .map(Some)
    } else {
        File::open(path).and_then(|file| {
            let size = file.metadata().map_or(0, |about| about.len());
            // What is too large is not read at all.
            if size <= MOST_BYTES {
                bytes.reserve(usize::try_from(size).unwrap_or_default());
            } else {
                return Ok(None);
            }
            file.take(limit).read_to_end(&mut bytes).map(Some)
        })
    };
    let done = done.map_err(|error| problem(format!("cannot be read: {error}")))?;
    if done.is_none() || bytes.len() as u64 > MOST_BYTES {
        let message = format!(
            "is larger than the {} MiB that are read of one file: split it",
            MOST_BYTES >> 20
        );
        return Err(problem(message));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Text {
            name: name.into(),
            text: text.into(),
        }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..at).unwrap_or_default();
            let line_start = before.iter().rposition(|byte| *byte == b'\n');
            let lines = before.iter().filter(|byte| **byte == b'\n').count();
            let byte = error.as_bytes().get(at).copied().unwrap_or_default();
            let mut problem = problem(format!(
                "is not UTF-8: byte 0x{byte:02x} begins no character"
            ));
            problem.line = u32::try_from(lines + 1).unwrap_or(u32::MAX);
            let row = before.get(line_start.map_or(0, |at| at + 1)..);
            let column = String::from_utf8_lossy(row.unwrap_or_default())
                .chars()
                .count();
            problem.column = u32::try_from(column + 1).unwrap_or(u32::MAX);
            Err(problem)
        }
    }
}

/// Reads the parts of texts on all processors; the results are those of each text in its order.
pub(crate) fn each_part<T: Send>(
    texts: &[Text],
    with: impl Fn(&Text, &Part) -> T + Sync,
) -> Vec<Vec<T>> {
    let parts: Vec<(usize, Part)> = texts
        .iter()
        .enumerate()
        .flat_map(|(number, text)| {
            yaml::split(&text.text)
                .into_iter()
                .map(move |part| (number, part))
        })
        .collect();
    let progress = Progress::new(parts.len());
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<T>)>> = Mutex::new(Vec::new());
    let work = || {
        loop {
            let start = next.fetch_add(STEP, Ordering::Relaxed);
            let Some(chunk) = parts.get(start..(start + STEP).min(parts.len())) else {
                return;
            };
            if chunk.is_empty() {
                return;
            }
            let results = chunk
                .iter()
                .filter_map(|(number, part)| texts.get(*number).map(|text| with(text, part)))
                .collect();
            progress.advance(chunk.len());
            if let Ok(mut done) = done.lock() {
                done.push((start, results));
            }
        }
    };
    let threads = if parts.len() < FEW_PARTS {
        1
    } else {
        std::thread::available_parallelism().map_or(1, usize::from)
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    progress.finish();
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(start, _)| *start);
    let results = done.into_iter().flat_map(|(_, results)| results);
    let mut all: Vec<Vec<T>> = texts.iter().map(|_| Vec::new()).collect();
    for ((number, _), result) in parts.iter().zip(results) {
        if let Some(of_text) = all.get_mut(*number) {
            of_text.push(result);
        }
    }
    all
}

/// A bar on standard error that shows only where somebody waits: on a terminal, and not at once.
struct Progress {
    bar: ProgressBar,
    began: Instant,
    shown: AtomicBool,
}

impl Progress {
    fn new(parts: usize) -> Self {
        let bar = ProgressBar::with_draw_target(
            Some(u64::try_from(parts).unwrap_or(u64::MAX)),
            ProgressDrawTarget::hidden(),
        );
        if let Ok(style) = ProgressStyle::with_template("reading {wide_bar} {pos}/{len} documents")
        {
            bar.set_style(style);
        }
        Self {
            bar,
            began: Instant::now(),
            shown: AtomicBool::new(false),
        }
    }

    fn advance(&self, parts: usize) {
        self.bar.inc(u64::try_from(parts).unwrap_or(u64::MAX));
        if self.began.elapsed() > PATIENCE && !self.shown.swap(true, Ordering::Relaxed) {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back_in_order() {
        let text = |name: &str, count: usize| Text {
            name: name.into(),
            text: (0..count)
                .map(|number| format!("---\nn: {number}\n"))
                .collect::<String>()
                .into(),
        };
        let texts = [text("a", 100), text("b", 3), text("c", 517)];
        let parts = each_part(&texts, |text, part| {
            format!("{} {}", text.name, &text.text[part.span.clone()])
        });
        for (text, (parts, count)) in texts.iter().zip(parts.iter().zip([100, 3, 517])) {
            let expected: Vec<String> = (0..count)
                .map(|number| format!("{} ---\nn: {number}\n", text.name))
                .collect();
            assert_eq!(*parts, expected);
        }
    }

    #[test]
    fn folders_give_their_manifests_by_name() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("b/c")).unwrap_or_default();
        for name in ["z.yaml", "a.yml", "b/x.json", "b/c/y.yaml", "notes.txt"] {
            fs::write(at(name), "").unwrap_or_default();
        }
        std::os::unix::fs::symlink(folder.path(), at("b/circle.yaml")).unwrap_or_default();
        let found = find(&[folder.path().to_owned(), at("notes.txt")], false)
            .unwrap_or_else(|failure| panic!("{failure}"));
        let files: Vec<PathBuf> = ["a.yml", "z.yaml", "b/x.json", "b/c/y.yaml"].map(at).into();
        assert_eq!(found.files, files);
        assert_eq!(found.skipped, [at("notes.txt")]);
        let absent = find(&[at("absent.yaml")], false).expect_err("absent");
        assert!(
            absent
                .to_string()
                .ends_with("absent.yaml: no such file or directory")
        );
    }

    #[test]
    fn what_is_no_text_and_what_is_too_much_is_named() {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = folder.path().join("a.yaml");
        fs::write(&path, b"a: 1\nb: \xff\n").unwrap_or_default();
        let problem = read(&path).expect_err("not UTF-8");
        assert_eq!((problem.line, problem.column), (2, 4));
        assert!(problem.message.contains("0xff"), "{problem}");
        let large = folder.path().join("large.yaml");
        let file = File::create(&large).unwrap_or_else(|error| panic!("{error}"));
        file.set_len(MOST_BYTES + 1).unwrap_or_default();
        let problem = read(&large).expect_err("too large");
        assert!(
            problem.to_string().ends_with(
                "large.yaml: is larger than the 256 MiB that are read of one file: split it"
            ),
            "{problem}"
        );
    }
}
