//! The time of exchanges through the proxy, relative to exchanges straight with the daemon.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use support::Proxy;

use crate::conn::{Body, Conn};
use crate::daemon::TRANSFER_BYTES;

/// Short exchanges in a round, each way.
const N_SHORT: usize = 1000;

/// Transfers in a round, each way. Many small ones compare better than few large ones, because the
/// two ways take turns more often.
const N_TRANSFERS: usize = 8;

/// What the docker command sends first.
pub const PING: &str =
    "GET /_ping HTTP/1.1\r\nHost: docker\r\nUser-Agent: Docker-Client/20.10.24 (linux)\r\n\r\n";

const ATTACH: &str = "POST /v1.41/containers/c/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: docker\r\n\
     Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n";

/// What `docker run -it --rm -e A=b -v /src:/src bench make` sends, without some of the members.
const CREATE: &str = r#"{"Hostname":"","Domainname":"","User":"","AttachStdin":true,"AttachStdout":true,"AttachStderr":true,"Tty":true,"OpenStdin":true,"StdinOnce":true,"Env":["A=b"],"Cmd":["make"],"Image":"bench","Volumes":{},"WorkingDir":"","Entrypoint":null,"OnBuild":null,"Labels":{"com.example.maker":"docker run"},"HostConfig":{"Binds":["/src:/src"],"ContainerIDFile":"","LogConfig":{"Type":"","Config":{}},"NetworkMode":"default","PortBindings":{},"RestartPolicy":{"Name":"no","MaximumRetryCount":0},"AutoRemove":true,"VolumeDriver":"","VolumesFrom":null,"CapAdd":null,"CapDrop":null,"CgroupnsMode":"","Dns":[],"DnsOptions":[],"DnsSearch":[],"ExtraHosts":null,"GroupAdd":null,"IpcMode":"","Cgroup":"","Links":null,"OomScoreAdj":0,"PidMode":"","Privileged":false,"PublishAllPorts":false,"ReadonlyRootfs":false,"SecurityOpt":null,"UTSMode":"","UsernsMode":"","ShmSize":0,"ConsoleSize":[0,0],"Isolation":"","CpuShares":0,"Memory":0,"NanoCpus":0,"CgroupParent":"","BlkioWeight":0,"Devices":[],"Ulimits":null,"MaskedPaths":null,"ReadonlyPaths":null},"NetworkingConfig":{"EndpointsConfig":{}}}"#;

/// An exchange on the given connection. Returns how long it took.
type Exchange<'w> = &'w mut dyn FnMut(&mut Conn) -> Duration;

/// One kind of exchange.
struct Row {
    name: String,
    /// The bytes that it moves, if its rate is to be printed.
    bytes: Option<usize>,
    /// The median of each round, straight and through the proxy.
    rounds: Vec<(Duration, Duration)>,
}

/// All kinds of exchanges, in the order in which they were first made.
#[derive(Default)]
pub struct Times {
    rows: Vec<Row>,
}

impl Times {
    /// Makes all kinds of exchanges with the daemon of [`crate::daemon`], on kept connections.
    pub fn measure(&mut self, daemon: &Path, proxy: &Proxy, rounds: usize) {
        let mut conns = connect(daemon, proxy);
        let mut tunnels = connect(daemon, proxy);
        for tunnel in [&mut tunnels.0, &mut tunnels.1] {
            tunnel.send(ATTACH.as_bytes());
            let head = tunnel.head().unwrap();
            assert!(head.line.starts_with("HTTP/1.1 101 "), "{}", head.line);
        }
        (0..rounds).for_each(|_| self.round(&mut conns, &mut tunnels));
    }

    fn round(&mut self, conns: &mut (Conn, Conn), tunnels: &mut (Conn, Conn)) {
        let mut ping = |conn: &mut Conn| timed(|| expect(conn, PING, "200"));
        self.add("`GET /_ping`", N_SHORT, conns, &mut ping);
        let create = create_request(CREATE);
        let mut create = |conn: &mut Conn| timed(|| expect(conn, &create, "201"));
        self.add(
            "create of a container, with the check of what was created",
            N_SHORT,
            conns,
            &mut create,
        );
        for (name, framing, field) in transfers() {
            let query = name.split(' ').next().unwrap();
            let request = format!("GET /v1.41/images/get?{query} HTTP/1.1\r\nHost: docker\r\n\r\n");
            let mut download = |conn: &mut Conn| {
                timed(|| {
                    conn.send(request.as_bytes());
                    let head = conn.head().unwrap();
                    assert_eq!(head.body, framing);
                    assert_eq!(conn.skip(framing), TRANSFER_BYTES as u64);
                })
            };
            self.add_transfer(&format!("download, {name}"), conns, &mut download);
            let request =
                format!("POST /v1.41/images/load HTTP/1.1\r\nHost: docker\r\n{field}\r\n\r\n");
            let mut upload = |conn: &mut Conn| {
                timed(|| {
                    conn.send(request.as_bytes());
                    conn.send_body(framing, TRANSFER_BYTES);
                    let head = conn.head().unwrap();
                    assert!(head.line.starts_with("HTTP/1.1 200 "), "{}", head.line);
                    conn.skip(head.body);
                })
            };
            self.add_transfer(&format!("upload, {name}"), conns, &mut upload);
        }
        let mut echo = |conn: &mut Conn| {
            timed(|| {
                conn.send(b"x");
                assert_eq!(conn.take(1), b"x");
            })
        };
        self.add(
            "a byte there and back in a tunnel",
            N_SHORT,
            tunnels,
            &mut echo,
        );
    }

    /// Makes `n` exchanges each way, in turn, as one round of the row `name`.
    pub fn add(&mut self, name: &str, n: usize, conns: &mut (Conn, Conn), exchange: Exchange<'_>) {
        let n_rounds = self.row(name, None).rounds.len();
        let (mut direct, mut proxied) = (Vec::new(), Vec::new());
        for i in 0..n {
            // The two ways take turns in going first.
            if (i + n_rounds).is_multiple_of(2) {
                direct.push(exchange(&mut conns.0));
                proxied.push(exchange(&mut conns.1));
            } else {
                proxied.push(exchange(&mut conns.1));
                direct.push(exchange(&mut conns.0));
            }
        }
        let round = (median(&mut direct), median(&mut proxied));
        self.row(name, None).rounds.push(round);
    }

    fn add_transfer(&mut self, name: &str, conns: &mut (Conn, Conn), exchange: Exchange<'_>) {
        self.row(name, Some(TRANSFER_BYTES));
        self.add(name, N_TRANSFERS, conns, exchange);
    }

    fn row(&mut self, name: &str, bytes: Option<usize>) -> &mut Row {
        let known = self.rows.iter().position(|row| row.name == name);
        let at = known.unwrap_or_else(|| {
            self.rows.push(Row {
                name: name.to_owned(),
                bytes,
                rounds: Vec::new(),
            });
            self.rows.len() - 1
        });
        &mut self.rows[at]
    }

    /// Prints the table.
    pub fn print(&self) {
        println!("| exchange | straight | through the proxy | takes times as long |");
        println!("|---|---|---|---|");
        for row in &self.rows {
            let mut direct: Vec<Duration> = row.rounds.iter().map(|round| round.0).collect();
            let mut proxied: Vec<Duration> = row.rounds.iter().map(|round| round.1).collect();
            let ratio =
                |round: &(Duration, Duration)| round.1.as_secs_f64() / round.0.as_secs_f64();
            let mut ratios: Vec<f64> = row.rounds.iter().map(ratio).collect();
            ratios.sort_by(f64::total_cmp);
            let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
            println!(
                "| {} | {} | {} | {:.2} ({least:.2} to {most:.2}) |",
                row.name,
                row.shown(median(&mut direct)),
                row.shown(median(&mut proxied)),
                ratios[ratios.len() / 2]
            );
        }
    }
}

impl Row {
    fn shown(&self, time: Duration) -> String {
        match self.bytes {
            Some(n) => format!("{:.0} MiB/s", n as f64 / 1048576.0 / time.as_secs_f64()),
            None if time >= Duration::from_millis(10) => format!("{} ms", time.as_millis()),
            None => format!("{} µs", time.as_micros()),
        }
    }
}

/// The framings of large bodies: name, framing and header line.
fn transfers() -> [(&'static str, Body, String); 2] {
    let n = TRANSFER_BYTES;
    let length = format!("Content-Length: {n}");
    [
        ("with its length", Body::Length(n as u64), length),
        (
            "chunked",
            Body::Chunked,
            "Transfer-Encoding: chunked".to_owned(),
        ),
    ]
}

/// Connects to the daemon, straight and through the proxy.
pub fn connect(daemon: &Path, proxy: &Proxy) -> (Conn, Conn) {
    let conn = |path| Conn::new(UnixStream::connect(path).unwrap());
    (conn(daemon), conn(proxy.socket()))
}

/// A create of a container with this body.
pub fn create_request(body: &str) -> String {
    format!(
        "POST /v1.41/containers/create HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends `request` and asserts that the response has this status. Returns its body.
pub fn expect(conn: &mut Conn, request: &str, status: &str) -> Vec<u8> {
    let (line, body) = conn.ask(request);
    assert_eq!(
        line.split(' ').nth(1),
        Some(status),
        "{}",
        body.escape_ascii()
    );
    body
}

/// Returns how long `run` takes.
pub fn timed<T>(run: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort();
    times[times.len() / 2]
}
