//! The architecture: which folder of `src` may use which, and that no files import each other in a
//! circle. Reads the paths in the sources, but not those of tests and of the fuzz targets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// What each folder or file of `src` may use besides itself, from the ground up.
const FLOORS: &[(&str, &[&str])] = &[
    // Values.
    ("error", &[]),
    ("limits", &[]),
    ("text", &["limits"]),
    ("labels", &["error"]),
    ("policy", &["labels"]),
    // Formats and protocols: no labels, no refusals, and not each other.
    ("json", &["limits", "text"]),
    ("http1", &["limits", "text"]),
    ("http2", &["limits"]),
    // The label injector.
    (
        "inject",
        &[
            "error", "limits", "text", "labels", "policy", "json", "http1", "http2",
        ],
    ),
    // Sockets and connections. What is JSON is the injector's business.
    (
        "proxy",
        &[
            "error", "limits", "text", "policy", "http1", "http2", "inject",
        ],
    ),
    // The program.
    ("options", &["error", "limits", "labels", "proxy"]),
    ("args", &["error", "labels", "options", "proxy"]),
    ("program", &["args", "error", "policy", "proxy"]),
    ("lib", &["args", "error", "labels", "program", "proxy"]),
    ("main", &["args", "error", "program"]),
];

/// A file of the crate: its module path, and its tokens without comments, texts and tests.
struct Source {
    module: Vec<String>,
    tokens: Vec<String>,
}

/// A file that uses another, by the paths of their modules, such as `proxy::connection`.
type Import = (String, String);

#[test]
fn imports_go_downward_only_and_in_no_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &src, &mut files);
    let imports = imports(&files);
    for expected in [("proxy::connection", "inject::routes"), ("main", "args")] {
        let expected = (expected.0.to_owned(), expected.1.to_owned());
        assert!(imports.contains(&expected), "{expected:?} is not seen");
    }
    let found = violations(&imports);
    assert!(found.is_empty(), "{found:#?}");
}

fn collect(dir: &Path, src: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, src, files);
        } else {
            let name = path.strip_prefix(src).unwrap().to_str().unwrap().to_owned();
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// What the rules forbid: uses that [`FLOORS`] does not allow, and a circle.
fn violations(imports: &BTreeSet<Import>) -> Vec<String> {
    let floor = |module: &str| module.split("::").next().unwrap_or_default().to_owned();
    let mut found: Vec<String> = imports
        .iter()
        .filter(|(from, to)| {
            let (from, to) = (floor(from), floor(to));
            let row = FLOORS.iter().find(|(name, _)| *name == from);
            from != to && !row.is_some_and(|(_, allowed)| allowed.contains(&&*to))
        })
        .map(|(from, to)| format!("{from} may not use {to}"))
        .collect();
    let circle = circle(imports);
    if !circle.is_empty() {
        found.push(format!("a circle: {}", circle.join(", ")));
    }
    found
}

/// The files of which each uses another of them, and is used by one.
fn circle(imports: &BTreeSet<Import>) -> Vec<String> {
    let mut left = imports.clone();
    loop {
        let users: BTreeSet<String> = left.iter().map(|(from, _)| from.clone()).collect();
        let used: BTreeSet<String> = left.iter().map(|(_, to)| to.clone()).collect();
        let n = left.len();
        left.retain(|(from, to)| users.contains(to) && used.contains(from));
        if left.len() == n {
            return left
                .into_iter()
                .map(|(from, _)| from)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect();
        }
    }
}

/// All uses of one file by another, of files given by their path in `src` and text.
fn imports(files: &[(String, String)]) -> BTreeSet<Import> {
    let mut tests = BTreeSet::new();
    let sources: Vec<Source> = files
        .iter()
        .map(|(path, text)| {
            let module = module_of(path);
            let tokens = without_tests(&tokens(text), &module, &mut tests);
            Source { module, tokens }
        })
        .collect();
    let is_product =
        |source: &&Source| (0..=source.module.len()).all(|n| !tests.contains(&source.module[..n]));
    let sources: Vec<&Source> = sources.iter().filter(is_product).collect();
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|s| s.module.clone()).collect();
    let paths: Vec<(&Source, Paths)> = sources
        .iter()
        .map(|source| (*source, Paths::of(source, &modules)))
        .collect();
    let exported: BTreeMap<Vec<String>, Vec<String>> = paths
        .iter()
        .flat_map(|(source, paths)| paths.exports(&source.module))
        .collect();
    let mut imports = BTreeSet::new();
    for (source, paths) in &paths {
        for path in &paths.used {
            let to = file_of(path, &modules, &exported);
            if to != source.module {
                imports.insert((shown(&source.module), shown(&to)));
            }
        }
    }
    imports
}

fn shown(module: &[String]) -> String {
    if module.is_empty() {
        "lib".to_owned()
    } else {
        module.join("::")
    }
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" {
        return Vec::new();
    }
    path.split('/').map(str::to_owned).collect()
}

/// The file that defines what a path names: the longest module in it, or the one that it is
/// exported from there.
fn file_of(
    path: &[String],
    modules: &BTreeSet<Vec<String>>,
    exported: &BTreeMap<Vec<String>, Vec<String>>,
) -> Vec<String> {
    let n = (0..=path.len())
        .rev()
        .find(|&n| modules.contains(&path[..n]))
        .unwrap_or_default();
    match path.get(..n + 1).and_then(|item| exported.get(item)) {
        Some(origin) if *origin != path[..n + 1] => file_of(origin, modules, exported),
        _ => path[..n].to_vec(),
    }
}

/// The paths in a file, from the root of the crate.
#[derive(Default)]
struct Paths {
    used: Vec<Vec<String>>,
    /// Those that a `pub use` makes names of the file's own.
    exported: Vec<Vec<String>>,
}

impl Paths {
    fn of(source: &Source, modules: &BTreeSet<Vec<String>>) -> Paths {
        let mut paths = Paths::default();
        let tokens = &source.tokens;
        let mut module = source.module.clone();
        // At which depth of braces the modules within the file began.
        let (mut depth, mut inner) = (0, Vec::new());
        let mut i = 0;
        while i < tokens.len() {
            let begins_path = is_name(&tokens[i]) && (i == 0 || tokens[i - 1] != "::");
            match &*tokens[i] {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inner.last() == Some(&depth) {
                        inner.pop();
                        module.pop();
                    }
                }
                "mod" if tokens.get(i + 2).is_some_and(|token| token == "{") => {
                    inner.push(depth);
                    module.push(tokens[i + 1].clone());
                }
                "use" => {
                    let is_public = i > 0 && matches!(&*tokens[i - 1], "pub" | ")");
                    let mut found = Vec::new();
                    i = tree(tokens, i + 1, &[], &mut found);
                    for path in found
                        .iter()
                        .filter_map(|path| absolute(path, &module, modules))
                    {
                        paths.used.push(path.clone());
                        paths.exported.extend(is_public.then_some(path));
                    }
                }
                _ if begins_path => {
                    let mut path = vec![tokens[i].clone()];
                    while tokens.get(i + 1).is_some_and(|token| token == "::")
                        && tokens.get(i + 2).is_some_and(|token| is_name(token))
                    {
                        path.push(tokens[i + 2].clone());
                        i += 2;
                    }
                    if path.len() > 1 {
                        paths.used.extend(absolute(&path, &module, modules));
                    }
                }
                _ => (),
            }
            i += 1;
        }
        paths
    }

    /// What these names of `module` stand for.
    fn exports(&self, module: &[String]) -> Vec<(Vec<String>, Vec<String>)> {
        let names = self.exported.iter().filter_map(|path| {
            let name = path.last()?.clone();
            Some(([module, &[name]].concat(), path.clone()))
        });
        names.collect()
    }
}

/// Reads a tree of `use` behind `prefix`, and returns the place of what ends it.
fn tree(tokens: &[String], mut i: usize, prefix: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(i) {
        match &**token {
            "::" => (),
            "{" => {
                while tokens.get(i).is_some_and(|token| token != "}") {
                    i = tree(tokens, i + 1, &path, found);
                }
                return i + 1;
            }
            "as" => i += 1,
            "self" if !path.is_empty() => (),
            name if is_name(name) => path.push(name.to_owned()),
            _ => break,
        }
        i += 1;
    }
    if path != prefix || tokens.get(i - 1).is_some_and(|token| token == "self") {
        found.push(path);
    }
    i
}

/// A path from the root of the crate, if it is one of the crate's.
fn absolute(
    path: &[String],
    module: &[String],
    modules: &BTreeSet<Vec<String>>,
) -> Option<Vec<String>> {
    let up = path.iter().take_while(|name| *name == "super").count();
    let (base, rest) = match &*path[0] {
        "crate" | "docker_label_proxy" => (&[][..], &path[1..]),
        "self" => (module, &path[1..]),
        "super" => (module.get(..module.len().checked_sub(up)?)?, &path[up..]),
        name if modules.contains(&[module, &[name.to_owned()]].concat()) => (module, path),
        _ => return None,
    };
    Some([base, rest].concat())
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Leaves out what is there for tests or fuzzing only, and notes the modules among it.
fn without_tests(
    tokens: &[String],
    module: &[String],
    tests: &mut BTreeSet<Vec<String>>,
) -> Vec<String> {
    let attributes = ["test", "fuzzing"].map(|cfg| ["#", "[", "cfg", "(", cfg, ")", "]"]);
    let (mut kept, mut i) = (Vec::new(), 0);
    while i < tokens.len() {
        if !attributes
            .iter()
            .any(|attribute| tokens[i..].starts_with(&attribute.map(str::to_owned)))
        {
            kept.push(tokens[i].clone());
            i += 1;
            continue;
        }
        // The item ends with its last brace, or with a semicolon outside of any.
        let mut depth = 0;
        i += attributes[0].len();
        while let Some(token) = tokens.get(i) {
            i += 1;
            match &**token {
                "mod" if depth == 0 => {
                    tests.insert([module, &[tokens[i].clone()]].concat());
                }
                "{" => depth += 1,
                "}" if depth == 1 => break,
                "}" => depth -= 1,
                ";" if depth == 0 => break,
                _ => (),
            }
        }
    }
    kept
}

/// The names and signs of a source without its comments, texts and characters.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(len) = text_len(rest) {
            len
        } else if is_name(rest) {
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            tokens.push(rest[..len.unwrap_or(rest.len())].to_owned());
            len.unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[len..];
    }
    tokens
}

/// How long the text or character is with which `rest` begins, if it begins with one.
fn text_len(rest: &str) -> Option<usize> {
    let literal = rest.strip_prefix('b').unwrap_or(rest);
    let before = rest.len() - literal.len();
    if let Some(raw) = literal.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let len = raw[hashes + 1..].find(&end)?;
            return Some(before + 1 + hashes + 1 + len + end.len());
        }
    }
    let quote = literal.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut chars = literal.char_indices().skip(1);
    while let Some((i, c)) = chars.next() {
        if c == quote {
            return Some(before + i + 1);
        }
        if c == '\\' {
            chars.next();
        } else if quote == '\'' && !literal[i + c.len_utf8()..].starts_with('\'') {
            // A lifetime.
            return None;
        }
    }
    None
}

/// What is found in made-up files.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
    let files: Vec<_> = files.iter().map(owned).collect();
    violations(&imports(&files))
}

#[test]
fn a_use_of_a_higher_floor_is_found_however_it_is_written() {
    let broken = ["http1::body may not use proxy::exchange"];
    for text in [
        "use crate::proxy::exchange;",
        "use crate::proxy::exchange::End;",
        "use crate::{http1::head, proxy::{exchange::{self, End}}};",
        "pub(crate) use crate::proxy::exchange::{\n    End as Ended,\n    // and more\n    Start,\n};",
        "use super::super::proxy::exchange;",
        "fn x() -> crate::proxy::exchange::End { 1 }",
        "fn x<'a>(a: &'a str) { let _ = '\"'; super::super::proxy::exchange::run() }",
        "mod inner { use super::super::super::proxy::exchange; }",
        "use crate::proxy::Exported;",
        "#[cfg(test)]\nmod tests {}\nuse crate::proxy::exchange;",
    ] {
        let files = [
            ("lib.rs", "mod http1; mod proxy;"),
            ("http1/mod.rs", "mod body;"),
            ("http1/body.rs", text),
            ("http1/head.rs", ""),
            ("proxy/mod.rs", "mod exchange; pub use exchange::Exported;"),
            ("proxy/exchange.rs", ""),
        ];
        assert_eq!(found(&files), broken, "{text}");
    }
}

#[test]
fn texts_comments_and_tests_use_nothing() {
    for text in [
        "// use crate::proxy::exchange;",
        "/// [`crate::proxy::exchange`]",
        "const A: &str = \"use crate::proxy::exchange;\";",
        "const A: &str = r#\"\"crate::proxy::exchange;\"#;",
        "#[cfg(test)]\nmod tests { mod x { } use crate::proxy::exchange; }",
        "#[cfg(test)]\nuse crate::proxy::exchange;",
        "#[cfg(fuzzing)]\n#[doc(hidden)]\npub(crate) fn fuzz() { crate::proxy::exchange::run() }",
        "use std::io; use super::Value; use self::inner::x; mod inner {}",
    ] {
        let files = [
            ("http1/mod.rs", "#[cfg(test)] mod tests;"),
            ("http1/body.rs", text),
            ("http1/tests.rs", "use crate::proxy::exchange;"),
            ("proxy/exchange.rs", ""),
        ];
        assert_eq!(found(&files), [""; 0], "{text}");
    }
}

#[test]
fn protocols_do_not_use_each_other_and_a_folder_needs_a_floor() {
    let files = [
        ("http1/body.rs", "use crate::json::Object;"),
        ("json/mod.rs", ""),
        ("cellar/mod.rs", "use crate::json;"),
    ];
    assert_eq!(
        found(&files),
        ["cellar may not use json", "http1::body may not use json"]
    );
}

#[test]
fn a_circle_of_files_is_found() {
    let files = [
        ("proxy/mod.rs", "mod a; mod b; mod c; mod d; fn x() {}"),
        ("proxy/a.rs", "use crate::proxy::b;"),
        ("proxy/b.rs", "fn x() { super::c::x() }"),
        ("proxy/c.rs", "use super::a::X;"),
        ("proxy/d.rs", "use super::a;"),
    ];
    assert_eq!(found(&files), ["a circle: proxy::a, proxy::b, proxy::c"]);
    let files = [
        ("proxy/mod.rs", "mod a; pub use a::X; fn x() { a::run() }"),
        ("proxy/a.rs", "use super::x;"),
    ];
    assert_eq!(found(&files), ["a circle: proxy, proxy::a"]);
}
