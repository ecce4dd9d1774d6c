//! The log: a line for each create and each refusal, and no secrets.

use support::{Proxy, TempDir, wait_until};

use crate::PROXY;
use crate::daemon::{CREATE, FakeDaemon, LABELS, OK, expect_error};

#[test]
fn the_log_has_no_secrets() {
    let dir = TempDir::new();
    let daemon = FakeDaemon::new();
    daemon.serve_ok();
    let mut command = PROXY.command();
    command
        .args(LABELS)
        .arg("--daemon")
        .arg(daemon.path())
        .env("RUST_LOG", "trace");
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command);
    let mut requests = Vec::new();
    for (target, body) in [
        (
            "/containers/create?name=c&x=SECRET",
            r#"{"Env":["A=SECRET"],"Labels":{"x":"SECRET"}}"#,
        ),
        (
            "/containers/create",
            r#"{"Env":["A=SECRET"],"Labels":["SECRET"]}"#,
        ),
        ("/containers/create", r#"{"Env":["A=SECRET"] SECRET"#),
        ("/networks/create", r#""SECRET""#),
        (r#"/build?t=x&buildargs={"TOKEN":"SECRET"}"#, "SECRET"),
        ("/build?labels=SECRET", "SECRET"),
        ("/images/create?fromImage=x&token=SECRET", ""),
        ("//images/create?token=SECRET", ""),
        ("images/create?token=SECRET", ""),
        ("/%zz?SECRET", ""),
        ("/auth", r#"{"username":"u","password":"SECRET"}"#),
    ] {
        let length = body.len();
        requests.push((target, format!("Content-Length: {length}\r\n"), body));
    }
    requests.push(("/auth", "X-Registry-Auth : SECRET\r\n".to_owned(), ""));
    requests.push((
        "/networks/create",
        "Transfer-Encoding: chunked\r\n".to_owned(),
        "SECRET",
    ));
    for (target, field, body) in &requests {
        let request = format!(
            "POST {target} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
             X-Registry-Auth: SECRET\r\nX-Registry-Config: SECRET\r\n\
             Authorization: Basic SECRET\r\nX-Meta-SECRET: 1\r\n{field}\r\n{body}"
        );
        let mut client = proxy.client();
        client.send(&request);
        client.rest();
    }
    wait_until("the log is written", || {
        // The extra one is the connection that tried whether the proxy listens.
        proxy.log().matches(" closed").count() == requests.len() + 1
    });
    for line in proxy.log().lines() {
        assert!(!line.contains("SECRET"), "{line}");
    }
}

#[test]
fn the_log_has_a_line_for_each_create_and_each_refusal() {
    let dir = TempDir::new();
    let daemon = FakeDaemon::new();
    let mut command = PROXY.command();
    command.args(LABELS).arg("--daemon").arg(daemon.path());
    let proxy = Proxy::start_at(&dir.join("proxy.sock"), command);
    let mut client = proxy.client();
    client.send("POST /containers/create?name=evil%0a%1b%5Bmname HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\n\r\n{}");
    let mut conn = daemon.accept();
    conn.request();
    conn.send(OK);
    client.expect(OK);
    client.send(CREATE);
    conn.request();
    conn.send("HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n");
    client.expect("HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n");
    client.send("GET /_ping HTTP/1.1\r\nHost: docker\r\n\r\n");
    conn.request();
    conn.send(OK);
    client.expect(OK);
    client.send("POST /volumes/create HTTP/1.1\r\nHost: docker\r\nContent-Length: 2\r\n\r\n[]");
    expect_error(&client.response(), 400);
    wait_until("the log is written", || proxy.log().contains("refused"));
    let log = proxy.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains('#')).collect();
    let ends = [
        r#"labelled container "evil\n\u{1b}[mname""#,
        r#"did not create network "n": the daemon answered 409"#,
        "refused: 400 the request body is not a JSON object, so it cannot be labelled",
    ];
    assert_eq!(lines.len(), ends.len(), "{log}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.ends_with(end), "{line}");
    }
}
