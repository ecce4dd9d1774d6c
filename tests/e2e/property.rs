//! A property of random creates: every object that the engine has afterwards, and did not have
//! before, carries all labels. So does what a service is changed to, and an image that is named.
//! The creates are odd in their heads, framing, paths, queries and
//! JSON. Many are refused, and it does not matter which.
//!
//! `DOCKER_LABEL_PROXY_TEST_SEED` chooses the creates, `DOCKER_LABEL_PROXY_TEST_SECONDS` the
//! duration. The engine must be used by nothing else meanwhile, so this runs alone and before the
//! other cases.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::{Kind, Text};

use crate::case::{Case, LabelMap};
use crate::engine::{engine, is_private};
use crate::random_service::RandomService;
use crate::raw_creates::tar;
use crate::{Test, test};

/// The duration unless the environment has another, in seconds.
const SECONDS: u64 = 15;

/// The longest time to wait for an object of each kind.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn tests() -> Vec<Test> {
    vec![test(
        "coverage/objects of random creates are labelled",
        random_creates,
    )]
}

fn random_creates() {
    if !is_private() {
        eprintln!("left out: others may use this engine");
        return;
    }
    let number = |name| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("DOCKER_LABEL_PROXY_TEST_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_millis() as u64 * 1000
    });
    let time = number("DOCKER_LABEL_PROXY_TEST_SECONDS").unwrap_or(SECONDS);
    let time = Duration::from_secs(time);

    // Of what cannot be labelled nothing may be there, either.
    let odd = ODD_VALUES[(seed % ODD_VALUES.len() as u64) as usize];
    let odd_label = format!("{ODD}={odd}");
    let case = Case::with(&engine().socket, &["--strict", "--label", &odd_label]);
    let labels = case.labels_over(&LabelMap::from([(ODD.to_owned(), odd.to_owned())]));
    let container = case.container("true");
    let step = step(&case);
    for parameters in ["layers=1", "layers=1&target=one"] {
        build_past_the_proxy(&case, parameters, DOCKERFILE);
    }
    let mut service = RandomService::new(&case);
    if let Some(service) = &mut service {
        service.reset(0);
    }
    let before: BTreeSet<String> = things().into_iter().map(|thing| thing.target).collect();
    let start = Instant::now();
    let mut created: BTreeMap<String, u32> = BTreeMap::new();
    let mut count = 0;
    // Goes on longer if the engine is too slow to have created some of each kind.
    let n_kinds = Kind::ALL.len() + usize::from(service.is_some());
    let is_varied = |created: &BTreeMap<_, _>| created.len() == n_kinds;
    while start.elapsed() < time || !is_varied(&created) && start.elapsed() < PATIENCE {
        let seed = seed + count;
        count += 1;
        let mut generator = Generator {
            step: &step,
            service: service.as_ref(),
            ..Generator::new(seed, &case.job, &container)
        };
        let (requests, choice) = (generator.requests(), generator.below(16));
        let answers = if seed % 4 == 0 && !engine().is_podman() {
            send_while_volumes_go(&case, &requests)
        } else {
            send(&case, &requests)
        };
        if let Some(service) = &mut service {
            match service.check() {
                Ok(false) => (),
                Ok(true) => {
                    *created.entry("update".to_owned()).or_default() += 1;
                    service.reset(choice);
                }
                Err(found) => panic!(
                    "DOCKER_LABEL_PROXY_TEST_SEED={seed}: the service became {found}\n{:?}\nanswers:\n{:?}",
                    Text(&requests),
                    Text(&answers)
                ),
            }
        }
        let mut known = before.clone();
        let new = new_things(&mut known);
        for thing in &new {
            let is_labelled = labels
                .iter()
                .all(|(key, value)| thing.labels.get(key) == Some(value));
            assert!(
                is_labelled,
                "DOCKER_LABEL_PROXY_TEST_SEED={seed}: {} has only the labels {:?}\n{:?}\nanswers:\n{:?}",
                thing.target,
                thing.labels,
                Text(&requests),
                Text(&answers)
            );
            *created.entry(thing.kind.to_string()).or_default() += 1;
        }
        remove(&new);
        // Where an image has gone, steps of its build show in containerd's store. They were there
        // before, and the classic builder labels the last one only.
        let mut gone = new;
        while gone.iter().any(|thing| thing.kind == Kind::Image) {
            gone = new_things(&mut known);
            remove(&gone);
        }
    }
    eprintln!("seed {seed}: {count} connections created {created:?}");
    assert!(is_varied(&created), "some of all kinds");
}

/// The key of a label beside those of each case.
const ODD: &str = "e2e.odd";

/// Values that some path on which labels travel could spoil. Each run has one.
const ODD_VALUES: &[&str] = &[
    "$x ${nothing:-y} $$ \\$x",
    "${x} \\\"$x\\",
    "'${",
    "a\u{a0}b\u{200b}",
];

/// A stage in the middle, and a last one. They set what the labels of the builds name.
const DOCKERFILE: &str = "FROM scratch AS one\nCOPY Dockerfile /\nENV HOME=/evil x=evil\n\
    FROM one\nENV y=evil\nLABEL e2e.job=mine\n";

/// Returns the ID of a step of a build past the proxy, an image with neither a name nor the labels.
/// Engines do not list it until it has a name.
fn step(case: &Case) -> String {
    let dockerfile = "FROM scratch\nCOPY Dockerfile /\nENV A=1\nENV B=1\n";
    let built = build_past_the_proxy(case, "layers=1", dockerfile);
    let step = built["Parent"].as_str().unwrap();
    assert!(!step.is_empty(), "{built}");
    step.to_owned()
}

/// Builds an image that has no labels, and leaves its steps in the engine's cache. Returns what the
/// engine says of it.
fn build_past_the_proxy(case: &Case, parameters: &str, dockerfile: &str) -> Value {
    let image = case.name("past");
    let archive = tar("Dockerfile", dockerfile.as_bytes());
    let mut wire = engine().connect();
    wire.send(format!(
        "POST /build?{parameters}&t={image} HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n",
        archive.len()
    ));
    wire.send(archive);
    let response = wire.response();
    let built = engine().inspect(Kind::Image, &image);
    built.unwrap_or_else(|| panic!("{response:?}"))
}

/// An object of the engine.
struct Thing {
    kind: Kind,
    target: String,
    labels: LabelMap,
}

/// Lists all objects of the engine, containers first, since they use the others.
fn things() -> Vec<Thing> {
    let mut things = Vec::new();
    for kind in Kind::ALL {
        let (list, id) = match kind {
            Kind::Container => ("/containers/json?all=1", "Id"),
            Kind::Image => ("/images/json", "Id"),
            Kind::Network => ("/networks", "Id"),
            Kind::Volume => ("/volumes", "Name"),
        };
        let list = engine().list(list);
        let list = match kind {
            Kind::Volume => &list["Volumes"],
            _ => &list,
        };
        for object in list.as_array().into_iter().flatten() {
            // A swarm makes these for the host, in its own time.
            if matches!(object["Name"].as_str(), Some("docker_gwbridge" | "ingress")) {
                continue;
            }
            let id = object[id].as_str().unwrap();
            let labels = object["Labels"].as_object().into_iter().flatten();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            things.push(Thing {
                kind,
                target: format!("/{kind}s/{id}"),
                labels: labels
                    .map(|(key, value)| (key.clone(), text(value)))
                    .collect(),
            });
        }
    }
    things
}

/// What is not known yet, and is from now on.
fn new_things(known: &mut BTreeSet<String>) -> Vec<Thing> {
    let mut new = things();
    new.retain(|thing| known.insert(thing.target.clone()));
    new
}

fn remove(things: &[Thing]) {
    for thing in things {
        engine().ask("DELETE", &format!("{}?force=1", thing.target), None);
    }
}

/// Sends the requests, the last of which ends the connection, and returns all responses.
fn send(case: &Case, requests: &[u8]) -> Vec<u8> {
    let mut client = case.proxy.connect();
    let mut answers = Vec::new();
    // The proxy may refuse a request and close before it has read everything.
    if client.write_all(requests).is_ok() {
        let end = client.read_to_end(&mut answers);
        // The proxy does not read what follows a request that ends the connection.
        let is_end = end.map_or_else(|err| err.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(is_end, "no end of the answers to {:?}", Text(requests));
    }
    answers
}

/// As [`send`], while somebody else deletes the volumes of these requests as fast as can be.
fn send_while_volumes_go(case: &Case, requests: &[u8]) -> Vec<u8> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::SeqCst) {
                for n in 1..=4 {
                    let target = format!("/volumes/{}-r{n}", case.job);
                    engine().ask("DELETE", &target, None);
                }
            }
        });
        let answers = send(case, requests);
        is_over.store(true, Ordering::SeqCst);
        answers
    })
}

/// A generator of random requests. The same seed gives the same requests.
struct Generator<'a> {
    state: u64,
    job: &'a str,
    /// A container to commit.
    container: &'a str,
    /// An image to name.
    step: &'a str,
    /// A service to change.
    service: Option<&'a RandomService>,
    names: u32,
}

impl<'a> Generator<'a> {
    fn new(seed: u64, job: &'a str, container: &'a str) -> Generator<'a> {
        Generator {
            state: seed,
            job,
            container,
            step: "",
            service: None,
            names: 0,
        }
    }

    /// Returns the next number below `n` (SplitMix64).
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n as u64) as usize
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}-r{}", self.job, self.names)
    }

    /// Generates one to three requests, and one that ends the connection.
    fn requests(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        for _ in 0..=self.below(3) {
            all.extend(self.request());
        }
        all.extend(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n");
        all
    }

    fn request(&mut self) -> Vec<u8> {
        let (path, query, content_type, body) = match self.below(100) {
            0..3 => self.tag(),
            3..16 if self.service.is_some() => self.update(),
            3..45 => (
                "/containers/create".to_owned(),
                self.container_query(),
                "application/json",
                self.container().into_bytes(),
            ),
            45..70 => (
                "/volumes/create".to_owned(),
                String::new(),
                "application/json",
                self.volume().into_bytes(),
            ),
            70..80 => (
                "/networks/create".to_owned(),
                String::new(),
                "application/json",
                self.network().into_bytes(),
            ),
            80..86 => self.import(),
            86..90 => self.commit(),
            90..97 => self.build(),
            _ => return self.disguised(),
        };
        let version = match self.below(4) {
            // Nothing is a path of this API without its version.
            _ if path.starts_with("/libpod/") => "/v4.0.0".to_owned(),
            0 => format!("/v{}", engine().api),
            1 => format!("/v{}", engine().api.replace('.', "%2E")),
            _ => String::new(),
        };
        let target = self.spelled(&format!("{version}{path}"));
        let query = if query.is_empty() {
            String::new()
        } else {
            format!("?{query}")
        };
        let protocol = self.pick(&["1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.1", "1.0"]);
        let mut head = format!("POST {target}{query} HTTP/{protocol}\r\nHost: d\r\n");
        if !content_type.is_empty() {
            let _ = write!(head, "Content-Type: {content_type}\r\n");
        }
        while self.chance(20) {
            head += self.pick(&[
                "Connection: content-length\r\n",
                "Connection: keep-alive\r\n",
                "Connection: content-type, transfer-encoding\r\n",
                "Connection: Upgrade\r\nUpgrade: tcp\r\n",
                "Connection: Upgrade\r\nUpgrade: h2c\r\n",
                "Expect: 100-continue\r\n",
                "X-Odd:  a\t\r\n",
                "Trailer: Content-Length\r\n",
                "X-HTTP-Method-Override: GET\r\n",
                "X-Folded: a\r\n b\r\n",
                "X-Bare: a\n",
                "X: \u{1}\r\n",
                "Host: e\r\n",
                "Content-Length: 0\r\n",
                "Transfer-Encoding: identity\r\n",
            ]);
        }
        let mut all = head.into_bytes();
        if self.chance(60) || protocol == "1.0" {
            let digits = self.pick(&["", "", "", "", "000", "+"]);
            all.extend(format!("Content-Length: {digits}{}\r\n\r\n", body.len()).bytes());
            all.extend(body);
        } else {
            all.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            all.extend(self.chunked(&body));
        }
        all
    }

    fn chunked(&mut self, mut body: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !body.is_empty() {
            let n = if body.len() > 1000 {
                body.len()
            } else {
                1 + self.below(body.len())
            };
            let zeros = self.pick(&["", "", "00"]);
            let extension = self.pick(&["", "", "", ";a", ";a=\"b\""]);
            all.extend(format!("{zeros}{n:x}{extension}\r\n").bytes());
            all.extend(&body[..n]);
            all.extend(b"\r\n");
            body = &body[n..];
        }
        let trailer = self.pick(&["", "", "", "X: y\r\n", "Content-Length: 5\r\n"]);
        all.extend(format!("0\r\n{trailer}\r\n").bytes());
        all
    }

    /// A request whose body is another create, which a reader that ends the body early would serve.
    fn disguised(&mut self) -> Vec<u8> {
        let hidden = "POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n";
        let chunk = format!("{:x}\r\n{hidden}\r\n0\r\n\r\n", hidden.len());
        let (n, m) = (hidden.len(), chunk.len());
        let (fields, body) = match self.below(8) {
            0 => (format!("Content-Length: {n}\r\n"), hidden),
            1 => ("Transfer-Encoding: chunked\r\n".to_owned(), &*chunk),
            2 => (
                format!("Content-Length: {m}\r\nTransfer-Encoding: chunked\r\n"),
                &*chunk,
            ),
            3 => (
                format!("Content-Length: 0\r\nContent-Length: {n}\r\n"),
                hidden,
            ),
            4 => (
                format!("Content-Length: {n}\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n"),
                hidden,
            ),
            5 => (
                format!("Content-Length: {n}\r\nConnection: Content-Length\r\n"),
                hidden,
            ),
            6 => (format!("Content-Length : {n}\r\n"), hidden),
            _ => (
                format!("Content-Length: {n}\r\nExpect: 100-continue\r\n"),
                hidden,
            ),
        };
        let target = self.pick(&[
            "GET /_ping",
            "POST /auth",
            "POST /containers/none/attach",
            "POST /exec/none/start",
            "POST /grpc",
            "POST /containers/create",
            "POST /images/none/tag",
        ]);
        format!("{target} HTTP/1.1\r\nHost: d\r\n{fields}\r\n{body}").into_bytes()
    }

    fn spelled(&mut self, path: &str) -> String {
        let last = 1 + path.rfind('/').unwrap();
        let at = last + self.below(path.len() - last);
        match self.below(12) {
            0 => format!(
                "{}%{:02x}{}",
                &path[..at],
                path.as_bytes()[at],
                &path[at + 1..]
            ),
            1 => format!("{}%2F{}", &path[..1], &path[1..]),
            2 => path.replacen("s/", "s%2f", 1),
            3 => format!("http://d{path}"),
            4 => format!("x:{path}"),
            5 => format!("/{path}"),
            6 => format!("/x/..{path}"),
            _ => path.to_owned(),
        }
    }

    /// A JSON object of these members, each at least once, in any spelling and order.
    fn object(&mut self, mut members: Vec<(&str, String)>) -> String {
        if self.chance(10) && !members.is_empty() {
            let (name, value) = members[self.below(members.len())].clone();
            members.push((
                name,
                if self.chance(50) {
                    "null".to_owned()
                } else {
                    value
                },
            ));
        }
        for i in (1..members.len()).rev() {
            members.swap(i, self.below(i + 1));
        }
        let mut text = String::new();
        for (name, value) in members {
            let key = self.key(name);
            let comma = if text.is_empty() { "" } else { "," };
            let _ = write!(text, "{comma}\"{key}\":{value}");
        }
        format!("{{{text}}}")
    }

    fn key(&mut self, name: &str) -> String {
        match self.below(16) {
            0 => name.to_lowercase(),
            1 => name.to_uppercase(),
            2 => name.replace('s', "\u{17f}"),
            3 => name.replace('s', "\\u017F").replace('k', "\\u212a"),
            4 => format!("\\u{:04x}{}", name.as_bytes()[0], &name[1..]),
            5 => name.replace('i', "\u{130}"),
            6 if self.chance(40) => format!("{name}\\ud800"),
            _ => name.to_owned(),
        }
    }

    /// Any number of members for labels.
    fn labels(&mut self) -> Vec<(&'static str, String)> {
        let values = [
            "null",
            "{}",
            r#"{"a":"1"}"#,
            r#"{"e2e.job":"mine","e2e.note":""}"#,
            r#"{"e2e\u002ejob":null}"#,
            r#"{"e2e.job=x":"mine"}"#,
            r#"{"E2E.JOB":"mine","x\u0000":"é"}"#,
            r#"{"a":null,"b":"\u0022"}"#,
        ];
        if self.chance(4) {
            let wrong = self.pick(&[r#"["a"]"#, r#"{"a":"\ud800"}"#, r#"{"\udfffa":"1"}"#]);
            return vec![("Labels", wrong.to_owned())];
        }
        let n = self.pick(&[0, 1, 1, 1, 2, 2, 3]);
        (0..n)
            .map(|_| ("Labels", self.pick(&values).to_owned()))
            .collect()
    }

    fn path(&mut self) -> &'static str {
        if self.chance(10) {
            return self.pick(&[
                "a",
                "/",
                "",
                r"/f\ud800",
                "/g:h",
                r"/i\\j",
                r"\\k",
                r"\\/l",
                "m:",
            ]);
        }
        self.pick(&[
            "/a", "/a/", "//b", "/b", "/b//", "/c/../a", "/d/.", r"\/e", r"/\u0061", "/é", "/a b",
        ])
    }

    fn container_query(&mut self) -> String {
        let name = self.name();
        let platform = self.pick(&[
            "",
            "",
            "",
            "&platform=",
            "&platform=linux",
            "&platform=linux%2Famd64",
            "&platform=linux/x86_64",
            "&platform=linux%2Farm64%2Fv8",
            "&platform=a%2F",
        ]);
        format!("name={name}{platform}")
    }

    fn container(&mut self) -> String {
        let mut members = self.labels();
        members.push(("Image", format!("\"{}\"", engine().image)));
        members.push(("Cmd", r#"["true"]"#.to_owned()));
        if self.chance(30) {
            let (a, b) = (self.path(), self.path());
            members.push(("Volumes", format!(r#"{{"{a}":{{}},"{b}":{{}}}}"#)));
        }
        let mut host = Vec::new();
        if self.chance(40) {
            let name = self.name();
            let (a, b) = (self.path(), self.path());
            let binds = self.pick(&[
                r#"["NAME:/n"]"#,
                r#"["NAME:A"]"#,
                r#"["B"]"#,
                r#"["NAME:/n:ro","B",null]"#,
                r#"["/tmp:A","N\u0041ME:B"]"#,
                r#"["NAME:/n:z","NAME:A:Z,ro"]"#,
                r#"["NAME:A:z","B"]"#,
                r#"["NAME:/n:nocopy",":B"]"#,
                r#"["NAME:B:RO"]"#,
            ]);
            let binds = binds
                .replace("NAME", &name)
                .replace("N\\u0041ME", &format!("\\u0064{}", &name[1..]));
            host.push(("Binds", binds.replace('A', a).replace('B', b)));
        }
        if self.chance(40) {
            let mut mounts = Vec::new();
            for _ in 0..=self.below(2) {
                mounts.push(self.mount());
            }
            host.push(("Mounts", format!("[{}]", mounts.join(","))));
        }
        if self.chance(10) {
            let path = self.path();
            host.push(("Tmpfs", format!(r#"{{"{path}":""}}"#)));
        }
        // Old daemons also read these members at the top level.
        if self.chance(30) {
            members.extend(host);
        } else {
            host.push(("NetworkMode", "\"none\"".to_owned()));
            let host = self.object(host);
            members.push(("HostConfig", host));
        }
        let text = self.object(members);
        text + self.pick(&["", "", "", "", "", "", "", "", "", "\r\n", "}", "{}", " x"])
    }

    fn mount(&mut self) -> String {
        let kind = self.pick(&[
            "volume",
            "volume",
            "volume",
            r"v\u006flume",
            "Volume",
            "tmpfs",
        ]);
        let mut mount = vec![("Type", format!("\"{kind}\""))];
        let path = self.path();
        mount.push(("Target", format!("\"{path}\"")));
        if self.chance(50) {
            mount.push(("Source", format!("\"{}\"", self.name())));
        }
        if self.chance(50) {
            let labels = self.labels();
            mount.push(("VolumeOptions", self.object(labels)));
        }
        self.object(mount)
    }

    fn volume(&mut self) -> String {
        let mut members = self.labels();
        if self.chance(70) {
            members.push(("Name", format!("\"{}\"", self.name())));
        }
        match self.below(20) {
            0 => "null".to_owned(),
            1 => String::new(),
            2 => "{}{}".to_owned(),
            3 => "[]".to_owned(),
            _ => self.object(members),
        }
    }

    fn network(&mut self) -> String {
        let mut members = self.labels();
        members.push(("Name", format!("\"{}\"", self.name())));
        // A network that takes no addresses and is created quickly.
        members.push(("ConfigOnly", "true".to_owned()));
        self.object(members)
    }

    fn tag(&mut self) -> (String, String, &'static str, Vec<u8>) {
        let bare = self.step.trim_start_matches("sha256:");
        let image = match self.below(4) {
            0 => self.step.to_owned(),
            1 => bare.to_owned(),
            2 => bare[..12 + self.below(20)].to_owned(),
            _ => self.step.replace(':', "%3A"),
        };
        let api = if engine().is_podman() && self.chance(50) {
            "/libpod"
        } else {
            ""
        };
        let query = format!("repo={}&tag=latest", self.name());
        let kind = self.pick(&["", "application/x-www-form-urlencoded"]);
        (format!("{api}/images/{image}/tag"), query, kind, Vec::new())
    }

    fn update(&mut self) -> (String, String, &'static str, Vec<u8>) {
        let service = self.service.expect("a service");
        let name = self.pick(&[&*service.name, &*service.id, &service.id[..20]]);
        let at = service.version;
        let versions = [at, at, at, at, at, at, at - 1, at + 1].map(|version| version.to_string());
        let version = self.pick(&versions.each_ref().map(|version| &**version));
        let zeros = self.pick(&["", "", "", "", "", "00", "%2B"]);
        let mut query = format!("version={zeros}{version}");
        for _ in 0..self.pick(&[0, 1, 1, 1, 2]) {
            query += self.pick(&[
                "&rollback=previous",
                "&rollback=previous",
                "&r%6Fllback=previo%75s",
                "&Rollback=previous",
                "&x;rollback=previous",
                "&rollback=",
                "&rollback=none",
                "&rollback=Previous",
                "&registryAuthFrom=previous-spec",
                "&insertDefaults=1",
            ]);
        }
        let labels = self.labels();
        let container = self.object(labels);
        let mut members = self.labels();
        if self.chance(50) {
            let action = self.pick(&["rollback", r"roll\u0062ack", "pause", "Rollback", ""]);
            let config = format!(r#"{{"FailureAction":"{action}"}}"#);
            members.push(("UpdateConfig", config));
        }
        let spec = self.object(members);
        // What makes it a specification is not odd, or hardly any would be one.
        let image = format!("\"Image\":\"{}\"", engine().image);
        let task = format!("{{\"ContainerSpec\":{}}}", with_member(&image, &container));
        let fixed = format!(
            r#""Name":"{}","Mode":{{"Replicated":{{"Replicas":0}}}},"TaskTemplate":{task}"#,
            service.name
        );
        (
            format!("/services/{name}/update"),
            query,
            "application/json",
            with_member(&fixed, &spec).into_bytes(),
        )
    }

    fn changes(&mut self) -> String {
        let mut text = String::new();
        while self.chance(40) {
            text += self.pick(&[
                "&changes=ENV+a%3Db",
                "&changes=CMD+x+%5C",
                "&changes=LABEL+e2e.job%3Dmine",
                "&changes=ONBUILD+RUN+%3C%3CEOF",
                "&ch%61nges=LABEL+e2e.note%3Dmine%0A",
                "&Changes=LABEL+e2e.job%3Dmine",
                "&changes=%23+escape%3D%60",
                "&changes=%zz",
                "&changes=a;b",
                "&changes=",
            ]);
        }
        text
    }

    fn commit(&mut self) -> (String, String, &'static str, Vec<u8>) {
        let (container, name, changes) = (self.container, self.name(), self.changes());
        let query = format!("container={container}&repo={name}{changes}");
        let kind = self.pick(&["application/json", ""]);
        ("/commit".to_owned(), query, kind, Vec::new())
    }

    fn import(&mut self) -> (String, String, &'static str, Vec<u8>) {
        let from = self.pick(&[
            "fromSrc=-",
            "fromSrc=-&fromImage=",
            "from%53rc=-",
            "fromSrc=-&FROMIMAGE=x",
        ]);
        let query = format!("{from}&repo={}{}", self.name(), self.changes());
        let kind = self.pick(&["application/x-tar", "application/octet-stream", ""]);
        ("/images/create".to_owned(), query, kind, tar("x", b"x"))
    }

    fn build(&mut self) -> (String, String, &'static str, Vec<u8>) {
        let labels = self.pick(&[
            "",
            "&labels=",
            "&labels=null",
            "&labels=%7B%22e2e.job%22%3A%22mine%22%7D",
            "&l%61bels=%7B%22a%22%3A%22%24x%22%7D",
            "&l%61bels=%7B%7D&labels=%7B%22a%22%3A%221%22%7D",
            "&labels=%zz&Labels=%7B%7D",
            "&labels=%7B%7D;labels=x",
            // ${nothing:-e2e.job}, e2e.note${nothing}
            "&labels=%7B%22%24%7Bnothing%3A-e2e.job%7D%22%3A%22mine%22%7D",
            "&labels=%7B%22e2e.note%24%7Bnothing%7D%22%3A%22mine%22%2C%22%24x%22%3A%22%24%24%22%7D",
            "&labels=%5B%22e2e.odd%24%7Bnothing%7D%3Dmine%22%5D",
        ]);
        let mut query = format!("t={}{labels}", self.name());
        while self.chance(40) {
            query += self.pick(&[
                "&target=one",
                "&Target=one",
                "&target=",
                "&nocache=0",
                "&layers=1",
                "&rm=0",
                "&unsetlabel=e2e.odd",
                "&layerLabel=e2e.job%3Dmine",
                "&manifest=list",
            ]);
        }
        let path = match self.below(3) {
            0 if engine().is_podman() => "/libpod/build",
            _ => "/build",
        };
        let kind = self.pick(&[
            "application/x-tar",
            "",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
        ]);
        let archive = tar("Dockerfile", DOCKERFILE.as_bytes());
        (path.to_owned(), query, kind, archive)
    }
}

/// Returns the object with members before its own.
fn with_member(members: &str, object: &str) -> String {
    let comma = if object == "{}" { "" } else { "," };
    format!("{{{members}{comma}{}", &object[1..])
}
