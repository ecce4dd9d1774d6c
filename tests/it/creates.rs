//! Creates and builds: the exact bytes that the daemon receives, or the refusal.

use support::{Message, Proxy, Wire};

use crate::PROXY;
use crate::daemon::{FakeDaemon, OK, expect_error, pair};

struct Bench {
    proxy: Proxy,
    daemon: FakeDaemon,
}

impl Bench {
    fn new() -> Bench {
        let (proxy, daemon) = pair();
        Bench { proxy, daemon }
    }

    fn with_labels(labels: &[&str]) -> Bench {
        let daemon = FakeDaemon::new();
        let args: Vec<&str> = labels.iter().flat_map(|label| ["--label", label]).collect();
        Bench {
            proxy: PROXY.start(daemon.path(), &args),
            daemon,
        }
    }

    fn send(&self, target: &str, fields: &str, body: &[u8]) -> Wire {
        let mut client = self.proxy.client();
        let length = body.len();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: docker\r\n{fields}Content-Length: {length}\r\n\r\n"
        ));
        client.send(body);
        client
    }

    /// Sends a create and returns it as the daemon receives it.
    fn forwarded(&self, target: &str, fields: &str, body: &[u8]) -> Message {
        let mut client = self.send(target, fields, body);
        let mut conn = self.daemon.accept();
        let request = conn.request();
        conn.send(OK);
        client.expect(OK);
        request
    }

    /// Returns the body that the daemon receives in place of `body`.
    fn labelled(&self, target: &str, body: &str) -> String {
        let request = self.forwarded(
            target,
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
        assert_eq!(request.header("content-type"), ["application/json"]);
        request.text().to_owned()
    }

    /// Returns the query that the daemon receives in place of that of `target`.
    fn labelled_query(&self, target: &str) -> String {
        let request = self.forwarded(target, "", b"tar");
        assert_eq!(request.text(), "tar");
        let line = request.line();
        line.split([' ', '?']).nth(2).unwrap().to_owned()
    }

    /// Asserts that the create is refused and not forwarded. Returns the message of the refusal.
    fn refused(&self, target: &str, body: &[u8]) -> String {
        let mut client = self.send(target, "Content-Type: application/json\r\n", body);
        let message = expect_error(&client.response(), 400);
        drop(client);
        self.daemon.expect_untouched();
        message
    }
}

const CREATES: [&str; 3] = ["/containers/create", "/networks/create", "/volumes/create"];

#[test]
fn everything_but_the_labels_keeps_its_exact_text() {
    let bench = Bench::new();
    let members = r#""z":1.0e+2,"a":12345678901234567890123,"a":0.10,"N\u0061me":"\ud800é\/","x":{ "b" : [ ] , "Labels":{"in":"ner"} }"#;
    for target in CREATES {
        assert_eq!(
            bench.labelled(target, &format!("{{{members}}}")),
            format!(r#"{{{members},"Labels":{{"job":"42"}}}}"#)
        );
    }
}

#[test]
fn the_labels_are_written_once_and_last() {
    let bench = Bench::new();
    for (client, expected) in [
        ("{}", r#"{"Labels":{"job":"42"}}"#),
        (
            r#"{"Labels":{},"User":"i"}"#,
            r#"{"User":"i","Labels":{"job":"42"}}"#,
        ),
        (
            r#"{"Labels":null,"User":"i"}"#,
            r#"{"User":"i","Labels":{"job":"42"}}"#,
        ),
        (
            r#"{"Labels":{"own":"1"},"User":"i"}"#,
            r#"{"User":"i","Labels":{"own":"1","job":"42"}}"#,
        ),
        (
            r#"{"Labels":{"job":"0","own":"1"}}"#,
            r#"{"Labels":{"own":"1","job":"42"}}"#,
        ),
        (
            r#"{"Labels":{"own":null}}"#,
            r#"{"Labels":{"own":"","job":"42"}}"#,
        ),
        (
            " \r\n\t{ \"User\" : \"i\" } \n",
            r#"{"User":"i","Labels":{"job":"42"}}"#,
        ),
    ] {
        for target in CREATES {
            assert_eq!(
                bench.labelled(target, client),
                expected,
                "{target} {client}"
            );
        }
    }
}

#[test]
fn keys_are_matched_as_go_matches_them() {
    let bench = Bench::new();
    for (client, expected) in [
        // In document order: a later value wins, and null empties the map.
        (
            r#"{"labels":{"a":"1"},"LABELS":{"a":"2","b":"3"}}"#,
            r#"{"Labels":{"a":"2","b":"3","job":"42"}}"#,
        ),
        (
            r#"{"Labels":{"a":"1"},"Labels":{"job":"0"}}"#,
            r#"{"Labels":{"a":"1","job":"42"}}"#,
        ),
        (
            r#"{"Labels":{"a":"1"},"labels":null}"#,
            r#"{"Labels":{"job":"42"}}"#,
        ),
        (
            r#"{"labels":null,"Labels":{"a":"1"}}"#,
            r#"{"Labels":{"a":"1","job":"42"}}"#,
        ),
        (
            "{\"Label\u{17f}\":{\"a\":\"1\"}}",
            r#"{"Labels":{"a":"1","job":"42"}}"#,
        ),
        (
            r#"{"Label\u017f":{"a":"1"}}"#,
            r#"{"Labels":{"a":"1","job":"42"}}"#,
        ),
        (
            r#"{"\u004cabels":{"a":"1"}}"#,
            r#"{"Labels":{"a":"1","job":"42"}}"#,
        ),
        (
            r#"{"Labels":{"j\u006fb":"0"}}"#,
            r#"{"Labels":{"job":"42"}}"#,
        ),
        // Label keys are compared exactly.
        (
            r#"{"Labels":{"Job":"0"}}"#,
            r#"{"Labels":{"Job":"0","job":"42"}}"#,
        ),
        // Names that only look alike.
        (
            "{\"Labe\u{13b}s\":[],\"Label\":1,\"Labels \":2,\"Lab-els\":3}",
            "{\"Labe\u{13b}s\":[],\"Label\":1,\"Labels \":2,\"Lab-els\":3,\"Labels\":{\"job\":\"42\"}}",
        ),
        // U+212A folds to k, but no member that matters has a k.
        (
            "{\"Networ\u{212a}ingConfig\":1}",
            "{\"Networ\u{212a}ingConfig\":1,\"Labels\":{\"job\":\"42\"}}",
        ),
    ] {
        assert_eq!(
            bench.labelled("/containers/create", client),
            expected,
            "{client}"
        );
    }
}

#[test]
fn bodies_that_cannot_be_labelled_are_refused() {
    let bench = Bench::new();
    let bodies: &[&[u8]] = &[
        b"[]",
        b"\"x\"",
        b"42",
        b"true",
        b"{",
        b"{\"a\":1,}",
        b"{'a':1}",
        b"{\"a\":NaN}",
        b"{} {}",
        b"{}{\"Labels\":{\"job\":\"0\"}}",
        b"{}}",
        b"{}]",
        b"{}x",
        b"\xef\xbb\xbf{}",
        b"{\"a\":\"\xff\"}",
        b"{\"\xff\":1}",
        b"{\"a\":\"\x01\"}",
        b"{\"a\":\"\n\"}",
        b"{\"a\":\"\\x\"}",
        b"{\"Labels\":[]}",
        b"{\"Labels\":\"x\"}",
        b"{\"Labels\":0}",
        b"{\"Labels\":false}",
        b"{\"Labels\":{\"a\":1}}",
        b"{\"Labels\":{\"a\":{}}}",
        b"{\"Labels\":{\"a\":[\"b\"]}}",
        b"{\"labels\":[\"a=b\"],\"Labels\":{}}",
        b"{\"Labels\":{\"a\":\"\\ud800\"}}",
    ];
    for body in bodies {
        for target in CREATES {
            bench.refused(target, body);
        }
    }
    assert_eq!(
        bench.refused("/containers/create", b"{\"Labels\":[]}"),
        "Labels must be an object of strings"
    );
    assert_eq!(
        bench.refused("/containers/create", b"[]"),
        "the request body is not a JSON object, so it cannot be labelled"
    );
}

#[test]
fn an_empty_body_is_labelled_where_the_daemon_accepts_one() {
    let bench = Bench::new();
    for body in ["", "null", " \n"] {
        for target in [
            "/networks/create",
            "/volumes/create",
            "/v1.41/volumes/create",
        ] {
            let request = bench.forwarded(target, "", body.as_bytes());
            assert_eq!(request.text(), r#"{"Labels":{"job":"42"}}"#);
        }
        bench.refused("/containers/create", body.as_bytes());
    }
    // The daemon wants a content type if there is a body.
    let request = bench.forwarded("/volumes/create", "", b"");
    assert_eq!(request.header("content-type"), ["application/json"]);
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let bench = Bench::new();
    let deep = format!(
        r#""x":{}0{}"#,
        r#"[{"a":"#.repeat(100_000),
        "}]".repeat(100_000)
    );
    assert_eq!(
        bench.labelled("/containers/create", &format!("{{{deep}}}")),
        format!(r#"{{{deep},"Labels":{{"job":"42"}}}}"#)
    );
    let deep_labels = format!(
        r#"{{"Labels":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    bench.refused("/containers/create", deep_labels.as_bytes());
}

#[test]
fn values_keep_any_text() {
    let value = "a \"b\" 'c' \\d\\ $e ${f} `g` =h= {{.i}} %20 & + # <é\u{1f600}>";
    let label = format!("note={value}");
    let bench = Bench::with_labels(&["job=42", &label]);
    let body: serde_json::Value =
        serde_json::from_str(&bench.labelled("/containers/create", "{}")).unwrap();
    assert_eq!(
        body,
        serde_json::json!({"Labels": {"job": "42", "note": value}})
    );
    let mut client = bench.send("/build", "", b"tar");
    let mut conn = bench.daemon.accept();
    // Podman would expand the variable.
    assert_eq!(conn.request().line(), "GET /version HTTP/1.1");
    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let request = conn.request();
    conn.send(OK);
    client.expect(OK);
    let line = request.line();
    let query = line.split([' ', '?']).nth(2).unwrap();
    assert_eq!(
        labels_of(query),
        serde_json::json!({"job": "42", "note": value})
    );
}

#[test]
fn the_rest_of_a_create_is_unchanged() {
    let bench = Bench::new();
    let request = bench.forwarded(
        "/v1.41/containers/create?name=x&platform=a%2Fb",
        "User-Agent: u\r\nX-Registry-Auth: s\r\nContent-Type: application/json; charset=utf-8\r\n",
        b"{\"User\":\"i\"}",
    );
    let body = r#"{"User":"i","Labels":{"job":"42"}}"#;
    assert_eq!(
        String::from_utf8(request.head).unwrap(),
        format!(
            "POST /v1.41/containers/create?name=x&platform=a%2Fb HTTP/1.1\r\nHost: docker\r\n\
             User-Agent: u\r\nX-Registry-Auth: s\r\nContent-Type: application/json; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        )
    );
    assert_eq!(request.body, body.as_bytes());
}

#[test]
fn every_spelling_of_the_path_is_labelled() {
    let bench = Bench::new();
    for target in [
        "/containers/create",
        "/v1.41/containers/create",
        "/v1/containers/create",
        "/v.../containers/create",
        "/v01.041/containers/create?x",
        "/%63ontainers/create",
        "/containers%2Fcreate",
        "/v1%2E41/containers%2fcreate",
        "http://docker/containers/create",
        "x:/containers/create",
    ] {
        assert_eq!(
            bench.labelled(target, "{}"),
            r#"{"Labels":{"job":"42"}}"#,
            "{target}"
        );
    }
    for target in [
        "/containers/create/",
        "/containers/CREATE",
        "/containers/create;x",
        "/containers/create%3Fx",
    ] {
        assert_eq!(bench.labelled(target, "{}"), "{}", "{target}");
    }
}

/// Decodes the `labels` parameter of a query, of which there must be exactly one.
fn labels_of(query: &str) -> serde_json::Value {
    let mut values = query
        .split('&')
        .filter_map(|pair| pair.strip_prefix("labels="));
    let value = values
        .next()
        .unwrap_or_else(|| panic!("no labels: {query}"));
    assert_eq!(values.next(), None, "{query}");
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                bytes.push(u8::from_str_radix(str::from_utf8(&digits).unwrap(), 16).unwrap());
            }
            b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn a_build_is_labelled_in_its_query() {
    let bench = Bench::new();
    for (query, others, labels) in [
        ("", "", serde_json::json!({"job": "42"})),
        (
            "?t=a%3Ab+c&buildargs=%7b%22x%22:%22%E9%22%7d&q",
            "t=a%3Ab+c&buildargs=%7b%22x%22:%22%E9%22%7d&q&",
            serde_json::json!({"job": "42"}),
        ),
        (
            "?labels=%7B%22own%22%3A%22+%C3%A9%22%7D&t=x",
            "t=x&",
            serde_json::json!({"own": " é", "job": "42"}),
        ),
        (
            "?labels={\"job\":\"0\"}",
            "",
            serde_json::json!({"job": "42"}),
        ),
        ("?labels=", "", serde_json::json!({"job": "42"})),
        ("?labels=null", "", serde_json::json!({"job": "42"})),
        // The daemon ignores a pair with a malformed escape or a semicolon.
        (
            "?labels=%zz&labels={\"a\":\"1\"}&t=x;y&t=z",
            "t=z&",
            serde_json::json!({"a": "1", "job": "42"}),
        ),
        (
            "?version=2&labels={}",
            "version=2&",
            serde_json::json!({"job": "42"}),
        ),
    ] {
        for path in ["/build", "/v1.41/build", "/%62uild"] {
            let got = bench.labelled_query(&format!("{path}{query}"));
            assert_eq!(labels_of(&got), labels, "{query}");
            assert_eq!(got.split("labels=").next(), Some(others), "{query}");
        }
    }
    for query in [
        "labels=x",
        "labels=[]",
        "labels={\"a\":1}",
        "labels=%ff",
        "labels={}{}",
        // Docker reads the first, Podman the last.
        "labels={}&labels=x&labels=[]",
        "l%61bels={\"a\":\"1\"}&labels={\"b\":\"2\"}",
    ] {
        bench.refused(&format!("/build?{query}"), b"tar");
    }
}

#[test]
fn a_form_does_not_hide_the_labels_of_a_build() {
    let bench = Bench::new();
    for fields in [
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "content-type: Application/X-WWW-Form-urlencoded; charset=x\r\n",
        "Content-Type: application/x-www-form-urlencoded; broken\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: application/x-tar\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/x-tar\r\n",
    ] {
        let request = bench.forwarded("/build", fields, b"labels={}");
        assert_eq!(
            request.header("content-type"),
            ["application/x-tar"],
            "{fields}"
        );
        assert_eq!(request.text(), "labels={}");
    }
}

#[test]
fn a_truncated_create_is_not_forwarded() {
    let bench = Bench::new();
    for request in [
        "POST /networks/create HTTP/1.1\r\nHost: docker\r\nContent-Length: 14\r\n\r\n{\"Name\":\"n\"}",
        "POST /networks/create HTTP/1.1\r\nHost: docker\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{\"Name\":\"n\"}\r\n",
    ] {
        let mut client = bench.proxy.client();
        client.send(request);
        client.half_close();
        client.rest();
        bench.daemon.expect_untouched();
    }
}
