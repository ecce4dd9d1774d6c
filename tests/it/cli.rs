//! The command line and label files.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;

use support::TempDir;

use crate::PROXY;
use crate::daemon::FakeDaemon;

fn run<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Output {
    PROXY.command().args(args).output().unwrap()
}

/// Runs the proxy with arguments that it should reject, and returns its error.
fn usage_error<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(output.stdout, b"");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let error = stderr
        .strip_suffix("\nTry 'docker-label-proxy --help'.\n")
        .expect("one line and a hint");
    error
        .strip_prefix("docker-label-proxy: ")
        .expect("the program's name")
        .to_owned()
}

#[test]
fn help_is_that_of_the_parsers_own_options() {
    for option in ["--help", "-h"] {
        let output = run([option]);
        assert_eq!(
            (output.status.code(), &output.stderr[..]),
            (Some(0), &b""[..])
        );
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, docker_label_proxy::args::help());
        assert!(text.contains("RUST_LOG"), "{text}");
    }
}

#[test]
fn version_is_that_of_the_package() {
    for option in ["--version", "-V"] {
        let output = run([option]);
        assert_eq!(output.status.code(), Some(0));
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            format!("docker-label-proxy {version}\n")
        );
    }
}

#[test]
fn help_to_a_closed_pipe_fails_without_a_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = PROXY
        .command()
        .arg("--help")
        .stdout(writer)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.starts_with("docker-label-proxy: cannot write to stdout"),
        "{stderr}"
    );
}

#[test]
fn usage_errors_name_the_argument() {
    for (args, expected) in [
        (
            &[][..],
            "no label given; use --label KEY=VALUE or --label-file FILE",
        ),
        (
            &["--listen", "x"],
            "no label given; use --label KEY=VALUE or --label-file FILE",
        ),
        (
            &["--label", "a=b"],
            "no socket to listen on; use --listen PATH",
        ),
        (&["--label"], "missing argument for option '--label'"),
        (&["--frobnicate"], "invalid option '--frobnicate'"),
        (&["-x"], "invalid option '-x'"),
        (&["positional"], "unexpected argument \"positional\""),
        (
            &["--label", "a", "--listen", "x", "--", "y"],
            "unexpected argument \"y\"",
        ),
        (
            &["--label", "a", "--listen", "x", "--daemon", "x"],
            "--listen and --daemon are the same socket \"x\"",
        ),
        (
            &["--socket-mode", "0999"],
            "--socket-mode \"0999\" must be an octal number from 0 to 0777",
        ),
        (
            &["--socket-mode", "+660"],
            "--socket-mode \"+660\" must be an octal number from 0 to 0777",
        ),
        (
            &["--socket-user", "no-such-user"],
            "--socket-user \"no-such-user\": there is no such user",
        ),
        (
            &["--socket-group", "no-such-group"],
            "--socket-group \"no-such-group\": there is no such group",
        ),
    ] {
        assert_eq!(usage_error(args), expected);
    }
}

#[test]
fn label_errors_name_the_label() {
    let key = "in its key; a key has no white space, quotes, backslash, '$' or control characters";
    let value = "in its value; control characters and line breaks cannot be written on every path";
    for (label, expected) in [
        (
            "",
            "label \"\" has an empty key; write KEY=VALUE".to_owned(),
        ),
        (
            "=x",
            "label \"=x\" has an empty key; write KEY=VALUE".to_owned(),
        ),
        ("a b=x", format!("label \"a b=x\" has ' ' {key}")),
        (" a=x", format!("label \" a=x\" has ' ' {key}")),
        (
            "a\u{a0}b",
            format!("label \"a\\u{{a0}}b\" has '\\u{{a0}}' {key}"),
        ),
        ("a\tb=x", format!("label \"a\\tb=x\" has '\\t' {key}")),
        ("a\"b=x", format!("label \"a\\\"b=x\" has '\"' {key}")),
        ("a'b=x", format!("label \"a'b=x\" has '\\'' {key}")),
        ("a`b=x", format!("label \"a`b=x\" has '`' {key}")),
        ("a\\b=x", format!("label \"a\\\\b=x\" has '\\\\' {key}")),
        ("$a=x", format!("label \"$a=x\" has '$' {key}")),
        ("a=x\ny", format!("label \"a=x\\ny\" has '\\n' {value}")),
        ("a=x\r", format!("label \"a=x\\r\" has '\\r' {value}")),
        ("a=\t", format!("label \"a=\\t\" has '\\t' {value}")),
        (
            "a=\u{1b}[m",
            format!("label \"a=\\u{{1b}}[m\" has '\\u{{1b}}' {value}"),
        ),
        (
            "a=\u{85}",
            format!("label \"a=\\u{{85}}\" has '\\u{{85}}' {value}"),
        ),
        (
            "a=\u{2028}",
            format!("label \"a=\\u{{2028}}\" has '\\u{{2028}}' {value}"),
        ),
    ] {
        assert_eq!(
            usage_error(["--listen", "x", "--label", "ok=1", "--label", label]),
            expected
        );
    }
}

#[test]
fn a_key_has_one_value() {
    assert_eq!(
        usage_error([
            "--listen", "x", "--label", "a=1", "--label", "b", "--label", "a=2"
        ]),
        "label \"a\" is given two values, \"1\" and \"2\"; give it once"
    );
    assert_eq!(
        usage_error(["--listen", "x", "--label", "a", "--label", "a=2"]),
        "label \"a\" is given two values, \"\" and \"2\"; give it once"
    );
}

#[test]
fn invalid_utf_8_is_reported() {
    let arg = OsStr::from_bytes(b"a=\xff");
    assert_eq!(
        usage_error([OsStr::new("--label"), arg]),
        "--label \"a=\\xFF\" is not valid UTF-8"
    );
    let dir = TempDir::new();
    let file = dir.join("labels");
    fs::write(&file, b"a=1\n\nb=\xff\n").unwrap();
    assert_eq!(
        usage_error([OsStr::new("--label-file"), file.as_os_str()]),
        format!("label file {file:?}, line 3: invalid UTF-8")
    );
}

#[test]
fn label_file_errors_name_the_line() {
    let dir = TempDir::new();
    let file = dir.join("labels");
    for (text, expected) in [
        (
            "a=1\n# fine\n=x\n",
            "line 3: label \"=x\" has an empty key; write KEY=VALUE",
        ),
        (
            "a b\r\n",
            "line 1: label \"a b\" has ' ' in its key; a key has no white space, quotes, backslash, '$' or control characters",
        ),
        (
            "\n\na=x\ry\n",
            "line 3: label \"a=x\\ry\" has '\\r' in its value; control characters and line breaks cannot be written on every path",
        ),
    ] {
        fs::write(&file, text).unwrap();
        assert_eq!(
            usage_error([OsStr::new("--label-file"), file.as_os_str()]),
            format!("label file {file:?}, {expected}")
        );
    }
    fs::write(&file, "# nothing\n\n").unwrap();
    let error = usage_error([
        OsStr::new("--listen"),
        OsStr::new("x"),
        OsStr::new("--label-file"),
        file.as_os_str(),
    ]);
    assert_eq!(
        error,
        "no label given; use --label KEY=VALUE or --label-file FILE"
    );

    let missing = dir.join("missing");
    let output = run([OsStr::new("--label-file"), missing.as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        format!(
            "docker-label-proxy: cannot read label file {missing:?}: No such file or directory (os error 2)\n"
        )
    );
}

/// Returns the labels that a proxy with these arguments adds.
fn labels(args: &[&str]) -> serde_json::Value {
    let daemon = FakeDaemon::new();
    let proxy = PROXY.start(daemon.path(), args);
    let mut client = proxy.client();
    client.send("POST /volumes/create HTTP/1.1\r\nHost: docker\r\n\r\n");
    let request = daemon.accept().request();
    let mut body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    body["Labels"].take()
}

#[test]
fn a_label_file_is_read_as_docker_reads_it() {
    let dir = TempDir::new();
    let file = dir.join("labels");
    fs::write(
        &file,
        "\u{feff}# comment\r\n\n  \t\n  a=1 \r\n\t# comment\nb\nc==#x\nd=\"q\" 'r' \\ $HOME é",
    )
    .unwrap();
    let expected = serde_json::json!({"a": "1 ", "b": "", "c": "=#x", "d": "\"q\" 'r' \\ $HOME é"});
    assert_eq!(labels(&["--label-file", file.to_str().unwrap()]), expected);
}

#[test]
fn labels_of_options_and_files_are_merged() {
    let dir = TempDir::new();
    let (one, two) = (dir.join("one"), dir.join("two"));
    fs::write(&one, "a=1\nb=2\n").unwrap();
    fs::write(&two, "c=3\na=1\n").unwrap();
    assert_eq!(
        labels(&[
            "--label=d=4=5",
            "--label-file",
            one.to_str().unwrap(),
            "--label",
            "flag",
            "--label-file",
            two.to_str().unwrap()
        ]),
        serde_json::json!({"a": "1", "b": "2", "c": "3", "d": "4=5", "flag": ""})
    );
}
