//! Rules of the tree that no compiler checks: what each file opens with, who may import whom, where tokio may stand,
//! what never stands anywhere, and which metrics the pages may name.
//!
//! Each check names file and line of every fault, all of them in one run, and fails too when it looked at suspiciously
//! little. Looks at the text alone: comments and literals are blanked first, a module behind `#[cfg(test)]` is known as
//! tests, to the end of its file. Leaves to others: lints (Cargo.toml, clippy.toml), the keys of the configuration.

#![expect(clippy::expect_used, reason = "a test's own helpers fail by panicking")]

use fca_proxy::metrics::{Kind, catalog};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

/// The rooms of `src`, from the lowest level to the highest: a room imports from itself and from lower levels only.
const LEVELS: &[&[&str]] = &[
    &["alarm", "clock", "key", "resp"],
    &["metrics"],
    &["command"],
    &["config", "fca"],
    &["cli", "log"],
    &["embedded", "near_cache", "session", "upstream"],
    &["flow"],
    &["admin", "near_link", "worker"],
    &["server"],
    &["lib", "main"],
];

/// Where tokio may stand, and why. Everything else is a value that a test can drive without a runtime.
const TOKIO_ALLOWED: &[(&str, &str)] = &[
    ("src/admin/", "serves HTTP"),
    ("src/alarm.rs", "is the one timer"),
    ("src/flow/client.rs", "holds the client's socket"),
    ("src/near_link.rs", "moves the link's bytes"),
    ("src/server.rs", "listens, hears signals"),
    ("src/upstream/connect.rs", "makes the upstream's socket"),
    ("src/upstream/lanes.rs", "spawns the prober"),
    ("src/upstream/node.rs", "waits for its breaker's time"),
    ("src/upstream/running.rs", "moves a lane's bytes"),
    ("src/upstream/task.rs", "spawns itself"),
    ("src/upstream/tls.rs", "shakes hands in TLS"),
    ("src/worker/", "is the runtime"),
];

/// What stands nowhere: half-done work, and a test that nobody runs.
const BANNED: &[&str] = &["#[ignore", "todo!", "unimplemented!", "dbg!"];

/// A file above this is two concepts; a table that a program wrote is exempt.
const FILE_LINES_MAX: usize = 700;

/// The texts that are looked at, by the ends of their names.
const TEXT_ENDS: &[&str] = &[".json", ".md", ".rs", ".toml", ".yaml", ".yml"];

/// Folders of texts that are wrong on purpose.
const FAULTY_BY_INTENT: &[&str] = &["tests/config"];

/// How many files the checks must have seen: somewhat below what is there.
const SOURCES_MIN: usize = 90;
const TEXTS_MIN: usize = 100;

#[test]
fn every_file_of_src_says_what_it_is() {
    let mut faults = Faults::default();
    for file in sources() {
        if !file.text.starts_with("//!") {
            faults.add(file, 1, "opens without a `//!` header: what it is, what it guarantees, what it leaves out");
        }
    }
    faults.none();
}

#[test]
fn imports_run_one_way() {
    let mut faults = Faults::default();
    let mut imports = 0;
    for file in sources() {
        let room = file.room();
        let Some(own_level) = level(room) else {
            faults.add(file, 1, &format!("`{room}` has no place in LEVELS: say whom it may import"));
            continue;
        };
        for (line, code) in file.lines_outside_tests() {
            for imported in crate_paths(code) {
                imports += 1;
                match level(imported) {
                    _ if imported == room => {}
                    Some(level) if level < own_level => {}
                    Some(_) => faults.add(file, line, &format!("`{room}` must not know `{imported}`")),
                    None => faults.add(file, line, &format!("`crate::{imported}` is no room that LEVELS knows")),
                }
            }
            if code.contains("crate::{") || code.contains("crate::*") {
                faults.add(file, line, "name one room in each `use crate::room::…`");
            }
            if supers(code) >= file.depth() {
                faults.add(file, line, "leaves its room by `super`: write `crate::room`");
            }
        }
    }
    assert!(imports >= 100, "only {imports} imports were seen");
    faults.none();
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = sources();
    let modules: BTreeSet<Vec<&str>> = files.iter().map(|file| file.module()).collect();
    let mut imports: BTreeMap<Vec<&str>, BTreeSet<Vec<&str>>> = BTreeMap::new();
    for file in &files {
        let program: Vec<&str> = file.lines_outside_tests().map(|(_, line)| line).collect();
        for path in imported_paths(&program.join("\n"), &file.module()) {
            // The longest part of the path that is a file; a folder's own file stands for its types.
            let target = (1..=path.len()).rev().map(|end| &path[..end]).find(|path| modules.contains(*path));
            let own = file.module();
            if let Some(target) = target.filter(|target| !own.starts_with(target) && !target.starts_with(&own)) {
                let target = target.iter().map(|part| part.to_string()).collect::<Vec<_>>();
                let target = modules.iter().find(|module| **module == target).expect("it was found there");
                imports.entry(own).or_default().insert(target.clone());
            }
        }
    }
    // Whoever imports nothing that is left stands above; what can't be taken away goes round.
    while let Some(above) = imports.iter().find(|(_, own)| own.iter().all(|file| !imports.contains_key(file))) {
        let above = above.0.clone();
        imports.remove(&above);
    }
    let circles: Vec<String> = imports.keys().map(|module| module.join("/")).collect();
    assert!(circles.is_empty(), "these files of src import each other, or such that do: {}", circles.join(", "));
}

#[test]
fn tokio_stands_only_where_bytes_or_time_are_moved() {
    let mut faults = Faults::default();
    let mut used = vec![false; TOKIO_ALLOWED.len()];
    for file in sources() {
        let allowed = TOKIO_ALLOWED.iter().position(|(place, _)| file.path.starts_with(place));
        for (line, code) in file.lines_outside_tests() {
            if !words(code).any(|word| word == "tokio" || word.starts_with("tokio_")) {
                continue;
            }
            match allowed {
                Some(place) => used[place] = true,
                None => faults.add(file, line, "tokio outside of the places in TOKIO_ALLOWED"),
            }
        }
    }
    for ((place, reason), used) in TOKIO_ALLOWED.iter().zip(used) {
        assert!(used, "{place} is allowed tokio, since it {reason}, but does not use it: take it from the list");
    }
    faults.none();
}

#[test]
fn nothing_is_left_half_done() {
    let mut faults = Faults::default();
    for file in texts().filter(|file| file.is_rust()) {
        for (line, code) in file.code_lines() {
            for banned in BANNED.iter().filter(|banned| code.contains(**banned)) {
                faults.add(file, line, &format!("`{banned}` stands nowhere in this tree"));
            }
        }
    }
    faults.none();
}

#[test]
fn no_file_of_src_is_two_concepts_long() {
    let mut faults = Faults::default();
    for file in sources() {
        let lines = file.text.lines().count();
        let written_by_a_program = file.text.lines().next().is_some_and(|header| header.contains("not by hand"));
        if lines > FILE_LINES_MAX && !written_by_a_program {
            faults.add(file, FILE_LINES_MAX + 1, &format!("{lines} lines; {FILE_LINES_MAX} is the most"));
        }
    }
    faults.none();
}

#[test]
fn no_line_has_a_tab_or_ends_in_a_space() {
    let mut faults = Faults::default();
    for file in texts() {
        for (index, line) in file.text.lines().enumerate() {
            if line.contains('\t') {
                faults.add(file, index + 1, "a tab");
            }
            if line.ends_with(' ') {
                faults.add(file, index + 1, "a space at the end");
            }
        }
        if !file.text.is_empty() && !file.text.ends_with('\n') {
            faults.add(file, file.text.lines().count(), "no line end");
        }
    }
    faults.none();
}

#[test]
fn every_metric_that_a_page_names_is_in_the_catalogue() {
    let mut faults = Faults::default();
    let pages: Vec<_> = texts().filter(|file| file.is_page()).collect();
    assert!(!pages.is_empty(), "no page was read");
    for file in pages {
        for (index, line) in file.text.lines().enumerate() {
            for word in words(line).filter(|word| word.starts_with("fca_proxy_") && !is_metric(word)) {
                faults.add(file, index + 1, &format!("`{word}` is in no row of the metrics' catalogue"));
            }
        }
    }
    faults.none();
}

/// Whether a word names a metric, one of a histogram's series, or (ending in `_`, before a wildcard) begins like one.
fn is_metric(word: &str) -> bool {
    catalog().any(|metric| {
        let series = ["_bucket", "_count", "_sum"].into_iter().find_map(|end| word.strip_suffix(end));
        metric.name == word
            || (metric.kind == Kind::Histogram && series == Some(metric.name))
            || (word.ends_with('_') && metric.name.starts_with(word))
    })
}

/// Whether a line of code opens a module, which is a file's last item where it holds tests.
fn is_inline_module(code: &str) -> bool {
    code.starts_with("mod ") && code.ends_with('{')
}

fn level(room: &str) -> Option<usize> {
    LEVELS.iter().position(|rooms| rooms.contains(&room))
}

/// The rooms that a line of code names by `crate::`.
fn crate_paths(code: &str) -> impl Iterator<Item = &str> {
    code.match_indices("crate::").filter_map(|(at, path)| {
        let room = words(&code[at + path.len()..]).next()?;
        let is_named = code[at + path.len()..].starts_with(room) && !code[..at].ends_with(is_of_a_word);
        is_named.then_some(room)
    })
}

/// The longest chain of `super::` in a line of code.
fn supers(code: &str) -> usize {
    (1..).take_while(|n| code.contains(&"super::".repeat(*n))).count()
}

/// The paths of the `use` statements of a module's program, from the crate's top.
fn imported_paths<'a>(program: &'a str, module: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut paths = Vec::new();
    for statement in program.split("use ").skip(1).filter_map(|rest| rest.split_once(';')).map(|(path, _)| path.trim())
    {
        let supers = statement.matches("super::").count();
        let (base, rest) = match statement.strip_prefix("crate::") {
            Some(rest) => (&module[..0], rest),
            None if supers > 0 && supers <= module.len() => {
                (&module[..module.len() - supers], statement.trim_start_matches("super::"))
            }
            None => continue,
        };
        let (head, members) = rest.split_once('{').map_or((rest, ""), |(head, members)| (head, members));
        let head: Vec<&str> = base.iter().copied().chain(words(head)).collect();
        let mut depth = 0;
        let members = members.split(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        });
        paths.extend(members.map(|member| head.iter().copied().chain(words(member).take(1)).collect()));
    }
    paths
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c| !is_of_a_word(c)).filter(|word| !word.is_empty())
}

fn is_of_a_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What is wrong, a line each.
#[derive(Default)]
struct Faults(String);

impl Faults {
    fn add(&mut self, file: &File, line: usize, fault: &str) {
        writeln!(self.0, "{}:{line}: {fault}", file.path).expect("a String takes any text");
    }

    fn none(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// One file of the tree.
struct File {
    /// From the top of the tree, with slashes.
    path: String,
    text: String,
    /// The text with comments and literals blanked, for Rust alone.
    code: String,
    /// The line with which the file's tests begin, counted from 1.
    tests_at: usize,
}

impl File {
    fn read(path: String) -> Self {
        let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(&path)).expect("a file that was listed");
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let code = if path.ends_with(".rs") { blanked(&text) } else { String::new() };
        let is_tests = path.ends_with("/tests.rs") || path.contains("/tests/");
        let lines: Vec<&str> = code.lines().map(str::trim).collect();
        let inline_tests = lines.windows(2).position(|two| two[0] == "#[cfg(test)]" && is_inline_module(two[1]));
        let tests_at = match inline_tests {
            _ if is_tests => 1,
            Some(index) => index + 1,
            None => usize::MAX,
        };
        Self { path, text, code, tests_at }
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether people or their tools read it to learn which metrics there are.
    fn is_page(&self) -> bool {
        !self.is_rust() && !self.path.ends_with(".toml")
    }

    /// `flow` of `src/flow/step.rs`, `clock` of `src/clock.rs`.
    fn room(&self) -> &str {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        words(below).next().unwrap_or(below)
    }

    /// How many modules stand between this file's and the crate's own, its own among them.
    fn depth(&self) -> usize {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        below.split('/').filter(|part| *part != "mod.rs").count()
    }

    /// `["flow", "fca", "store"]` of `src/flow/fca/store.rs`, `["flow"]` of `src/flow/mod.rs`.
    fn module(&self) -> Vec<&str> {
        let below = self.path.strip_prefix("src/").unwrap_or(&self.path);
        let below = below.strip_suffix(".rs").unwrap_or(below);
        below.split('/').filter(|part| *part != "mod").collect()
    }

    fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// The code that ends up in the program, with the number of each line.
    fn lines_outside_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code_lines().take_while(|(line, _)| *line < self.tests_at)
    }
}

/// The Rust files of `src`.
fn sources() -> Vec<&'static File> {
    let files: Vec<_> = texts().filter(|file| file.path.starts_with("src/") && file.is_rust()).collect();
    assert!(files.len() >= SOURCES_MIN, "only {} files of src were read", files.len());
    files
}

/// Every text of the tree that people write, in the order of paths.
fn texts() -> impl Iterator<Item = &'static File> {
    static TEXTS: LazyLock<Vec<File>> = LazyLock::new(|| {
        let mut paths = Vec::new();
        list(Path::new(env!("CARGO_MANIFEST_DIR")), "", &mut paths);
        paths.sort();
        paths.into_iter().map(File::read).collect()
    });
    assert!(TEXTS.len() >= TEXTS_MIN, "only {} files were read", TEXTS.len());
    TEXTS.iter()
}

/// Adds the texts below a folder; `prefix` is the folder's own path from the top, with a slash behind.
fn list(top: &Path, prefix: &str, paths: &mut Vec<String>) {
    for entry in fs::read_dir(top.join(prefix)).expect("a folder of the tree") {
        let entry = entry.expect("an entry of a folder");
        let name = entry.file_name().into_string().expect("names are UTF-8");
        let path = format!("{prefix}{name}");
        let is_folder = entry.file_type().expect("the type of an entry").is_dir();
        if is_folder && !name.starts_with('.') && name != "target" && !FAULTY_BY_INTENT.contains(&path.as_str()) {
            list(top, &format!("{path}/"), paths);
        } else if !is_folder && TEXT_ENDS.iter().any(|end| name.ends_with(end)) {
            paths.push(path);
        }
    }
}

/// The Rust text with comments and literals turned into spaces, line for line.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = blank_length(rest, code.chars().next_back().unwrap_or(' '));
        let (blank, behind) = rest.split_at(if length == 0 { next.len_utf8() } else { length });
        if length == 0 {
            code.push(next);
        } else {
            code.extend(blank.chars().map(|c| if c == '\n' { c } else { ' ' }));
        }
        rest = behind;
    }
    code
}

/// How long the comment or literal is that `text` begins with; 0 for code.
fn blank_length(text: &str, before: char) -> usize {
    let through = |from: usize, end: &str| text[from..].find(end).map_or(text.len(), |at| from + at + end.len());
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return through(2, "*/");
    }
    if let Some(raw) = ["r", "br", "cr"].iter().find_map(|prefix| text.strip_prefix(prefix))
        && !is_of_a_word(before)
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let from = text.len() - raw.len() + hashes + 1;
            return through(from, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    match text.chars().next() {
        Some('"') => quoted_length(text, '"'),
        // Else it is a lifetime.
        Some('\'') if text[1..].starts_with('\\') || text.chars().nth(2) == Some('\'') => quoted_length(text, '\''),
        _ => 0,
    }
}

/// The length of a literal up to its closing quotation mark, which a backslash before it does not make.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|&(_, c)| {
        let closes = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[test]
fn comments_and_literals_are_no_code() {
    let cases = [
        ("a // crate::b", "a "),
        ("a /* crate::b */ c", "a  c"),
        (r#"a("crate::b \" c") d"#, "a() d"),
        (r##"a(r#"b " c"#, br"d") e"##, "a(, ) e"),
        (r"('\'', 'b', '\n', b'\\') 'c: loop", "(, , , b) 'c: loop"),
        ("<'a>(x: &'a str) 'b'", "<'a>(x: &'a str) "),
        ("ä \"ä\" ä", "ä  ä"),
    ];
    for (text, expected) in cases {
        let spaceless = |text: &str| text.replace(' ', "");
        assert_eq!(spaceless(&blanked(text)), spaceless(expected), "{text}");
    }
    assert_eq!(blanked("a\n\"b\nc\"\nd").lines().count(), 4);
}

#[test]
fn a_path_is_seen_wherever_it_stands_in_a_line() {
    let seen = |code| crate_paths(code).collect::<Vec<_>>();
    assert_eq!(seen("pub use crate::resp::{Protocol, encode};"), ["resp"]);
    assert_eq!(seen("f(crate::key::twin(x), $crate::fca::y, my_crate::z)"), ["key", "fca"]);
    assert_eq!(seen("use crate::{key, fca};"), [""; 0]);
    assert_eq!((supers("use super::super::x; super::y"), supers("pub(super) fn f()")), (2, 0));
}
