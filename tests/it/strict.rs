//! Requests that create what the proxy cannot label: passed with a warning, refused by `--strict`,
//! or refused always.

use support::wait_until;

use crate::PROXY;
use crate::daemon::{FakeDaemon, LABELS, OK, PING, expect_error, pair};

#[test]
fn unlabellable_requests_pass_with_a_warning() {
    let (proxy, daemon) = pair();
    for target in [
        "/images/load",
        "/v1.41/plugins/pull?remote=x",
        "/frobnicate",
    ] {
        let mut client = proxy.client();
        let request =
            format!("POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 1\r\n\r\nx");
        client.send(&request);
        let mut conn = daemon.accept();
        conn.expect(&request);
        conn.send(OK);
        client.expect(OK);
        let path = target.split('?').next().unwrap();
        let warning = format!("passed on without labels: POST {path:?}");
        wait_until(&warning, || proxy.log().contains(&warning));
    }
}

#[test]
fn unlabellable_requests_are_refused_by_strict() {
    let daemon = FakeDaemon::new();
    let proxy = PROXY.start(daemon.path(), &[LABELS, &["--strict"]].concat());
    for target in [
        "/images/load",
        "/v1.41/plugins/pull?remote=x",
        "/frobnicate",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: docker\r\nContent-Length: 1\r\n\r\nx"
        ));
        let message = expect_error(&client.response(), 403);
        assert!(message.contains("refused by --strict"), "{message}");
    }
    daemon.expect_untouched();
    for pull in [
        "/images/create?fromImage=x&tag=y",
        "/libpod/images/pull?reference=x",
    ] {
        let mut client = proxy.client();
        client.send(format!(
            "POST {pull} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"
        ));
        let mut conn = daemon.accept();
        assert_eq!(conn.request().line(), format!("POST {pull} HTTP/1.1"));
        conn.send(OK);
        client.expect(OK);
    }
}

#[test]
fn a_step_of_a_build_is_named_with_a_warning_or_refused_by_strict() {
    let step = r#"{"Id":"sha256:0a","Parent":"sha256:0b","RepoTags":[],"Config":{"Labels":{}}}"#;
    let step = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{step}",
        step.len()
    );
    let tag = |name: &str| {
        format!(
            "POST /v1.41/images/{name}/tag?repo=x HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for strict in [&[][..], &["--strict"]] {
        let daemon = FakeDaemon::new();
        let proxy = PROXY.start(daemon.path(), &[LABELS, strict].concat());
        let mut client = proxy.client();
        client.send(tag("0a"));
        let mut conn = daemon.accept();
        conn.expect("GET /v1.41/images/0a/json HTTP/1.1\r\nHost: docker\r\n\r\n");
        conn.send(&step);
        if strict.is_empty() {
            conn.expect(tag("sha256:0a"));
            conn.send(OK);
            client.expect(OK);
            let warning = "passed on without labels: POST \"/v1.41/images/0a/tag\"";
            wait_until(warning, || proxy.log().contains(warning));
        } else {
            let message = expect_error(&client.response(), 403);
            assert!(message.contains("refused by --strict"), "{message}");
            client.send(PING);
            conn.expect(PING);
        }
    }
}

#[test]
fn a_start_that_could_create_volumes_is_refused() {
    let (proxy, daemon) = pair();
    let start = |version: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {version}/containers/x/start HTTP/1.1\r\nHost: docker\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for body in ["{\"Binds\":[\"v:/d\"]}", "{}"] {
        let mut client = proxy.client();
        client.send(start("/v1.23", body));
        let message = expect_error(&client.response(), 400);
        assert!(message.contains("1.24 or later"), "{message}");
    }
    daemon.expect_untouched();
    for request in [start("/v1.23", ""), start("/v1.41", "{}"), start("", "")] {
        let mut client = proxy.client();
        client.send(&request);
        let mut conn = daemon.accept();
        conn.expect(&request);
        conn.send(OK);
        client.expect(OK);
    }
}
