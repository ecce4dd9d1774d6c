//! Text as Go's standard library treats it, where daemons rely on that: names that differ in case,
//! and paths that mean the same. And how much of a client's text is shown.

use crate::limits;

/// Whether two names differ at most in case, as Go folds the letters of ASCII
/// (`strings.EqualFold`).
pub(crate) fn same_but_for_case(a: &str, b: &str) -> bool {
    a.chars().map(fold).eq(b.chars().map(fold))
}

fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => c.to_ascii_lowercase(),
    }
}

/// The shortest form of an absolute path, as `path.Clean` gives it, but with a slash at the end
/// where there was one (`cleanPath` in gorilla/mux).
pub(crate) fn clean_path_and_slash(path: &[u8]) -> Vec<u8> {
    let mut clean = clean_bytes(path);
    if path.ends_with(b"/") && clean.len() > 1 {
        clean.push(b'/');
    }
    clean
}

/// The shortest form of a path (`filepath.Clean`). A relative one stays as it is.
pub(crate) fn clean_path(path: &str) -> String {
    if path.starts_with('/') {
        String::from_utf8_lossy(&clean_bytes(path.as_bytes())).into_owned()
    } else {
        path.to_owned()
    }
}

/// A text of a client or daemon as it is shown: quoted, escaped and cut.
pub(crate) fn shown(text: &str) -> String {
    match text.char_indices().nth(limits::MAX_SHOWN_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}

fn clean_bytes(path: &[u8]) -> Vec<u8> {
    let mut elements: Vec<&[u8]> = Vec::new();
    for element in path.split(|&b| b == b'/') {
        match element {
            b"" | b"." => (),
            b".." => drop(elements.pop()),
            _ => elements.push(element),
        }
    }
    let mut clean = Vec::with_capacity(path.len());
    for element in &elements {
        clean.push(b'/');
        clean.extend_from_slice(element);
    }
    if clean.is_empty() {
        clean.push(b'/');
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_of_ascii_are_compared_without_case() {
        for other in ["tasks", "TASKS", "task\u{17f}", "Tas\u{212a}S"] {
            assert!(same_but_for_case("Tasks", other), "{other}");
        }
        for other in ["task", "tasks ", "t\u{e4}sks", "\u{130}"] {
            assert!(!same_but_for_case("Tasks", other), "{other}");
        }
        assert!(!same_but_for_case("\u{e4}", "\u{c4}"));
    }

    #[test]
    fn a_text_that_is_shown_is_quoted_and_cut() {
        assert_eq!(shown("a\"\n"), r#""a\"\n""#);
        let long = "\u{e9}".repeat(limits::MAX_SHOWN_CHARS);
        assert_eq!(shown(&long), format!("\"{long}\""));
        assert_eq!(shown(&format!("{long}x")), format!("\"{long}\"..."));
    }

    #[test]
    fn a_path_is_cleaned_as_go_cleans_it() {
        for (path, clean) in [
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("/a//b/./c/", "/a/b/c"),
            ("/a/../..", "/"),
            ("/a/b/..", "/a"),
            ("a//b/", "a//b/"),
            ("", ""),
        ] {
            assert_eq!(clean_path(path), clean, "{path}");
        }
        for (path, clean) in [("/", "/"), ("//", "/"), ("/a/..//", "/"), ("/a//", "/a/")] {
            assert_eq!(
                clean_path_and_slash(path.as_bytes()),
                clean.as_bytes(),
                "{path}"
            );
        }
    }
}
