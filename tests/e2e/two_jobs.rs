//! Two jobs with a proxy each on one engine, whose containers name the same volumes, while somebody
//! deletes and prunes these all the time. Nothing is created without labels but what the log of the
//! proxy names, nobody fails for good, and no volume is lost that somebody uses or that was there
//! before.
//!
//! `DOCKER_LABEL_PROXY_TEST_ROUNDS` says how many containers each job creates.

use std::env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use support::{Kind, wait_until};

use crate::case::{Case, labels_of};
use crate::coverage::encoded;
use crate::engine::{JOB, engine, json_request};
use crate::{Test, test};

/// How many containers each job creates unless the environment has another number.
const ROUNDS: usize = 40;

/// How often a create is tried before it has failed for good.
const TRIES: usize = 50;

pub fn tests() -> Vec<Test> {
    vec![test("coverage/two jobs share volumes", two_jobs)]
}

fn two_jobs() {
    if engine().is_podman() {
        // Seen on 4.3 without the proxy too: from some point on it answers neither.
        eprintln!("left out: Podman locks itself up when volumes go while containers come");
        return;
    }
    let rounds = env::var("DOCKER_LABEL_PROXY_TEST_ROUNDS").ok();
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().unwrap());
    let jobs = [Case::new(), Case::new()];
    let volumes: Vec<String> = (0..2).map(|n| jobs[0].name(&format!("v{n}"))).collect();
    let others = jobs[0].name("others");
    let body = json!({"Name": others, "Labels": {"own": "1"}}).to_string();
    assert_eq!(engine().ask("POST", "/volumes/create", Some(&body)).0, 201);
    let (is_over, n_sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let tries: Vec<usize> = thread::scope(|scope| {
        let (volumes, others) = (&volumes, &others);
        let (is_over, n_sent) = (&is_over, &n_sent);
        let names = jobs.each_ref().map(|job| &*job.job);
        scope.spawn(move || delete_all_the_time(volumes, names, n_sent, is_over));
        let creators = jobs.each_ref().map(|job| {
            scope.spawn(move || {
                let create = |round| create_and_look(job, round, (volumes, others), n_sent);
                (0..rounds).map(create).sum()
            })
        });
        let ended = creators.map(thread::ScopedJoinHandle::join);
        is_over.store(true, Ordering::SeqCst);
        ended.map(|tries| tries.expect("a job")).into()
    });
    eprintln!("{rounds} creates each took {tries:?} tries");
    let volume = engine().inspect(Kind::Volume, &others).expect("a volume");
    assert_eq!(volume["Labels"], json!({"own": "1"}));
}

/// Deletes and prunes the volumes, past the proxies, once for each create that is sent: as fast as
/// can be it would win each time.
fn delete_all_the_time(
    volumes: &[String],
    jobs: [&str; 2],
    n_sent: &AtomicUsize,
    is_over: &AtomicBool,
) {
    // Daemons before API 1.42 know no "all", and do it by themselves.
    let is_old = engine()
        .api
        .split('.')
        .nth(1)
        .unwrap()
        .parse::<u32>()
        .unwrap()
        < 42;
    let filters = jobs.map(|job| {
        let mut filters = json!({"label": [format!("{JOB}={job}")]});
        if !is_old {
            filters["all"] = json!(["true"]);
        }
        encoded(&filters.to_string())
    });
    let mut seen = 0;
    while !is_over.load(Ordering::SeqCst) {
        let now = n_sent.load(Ordering::SeqCst);
        if now == seen {
            thread::yield_now();
            continue;
        }
        seen = now;
        for volume in volumes {
            engine().ask("DELETE", &format!("/volumes/{volume}"), None);
        }
        for filters in &filters {
            engine().ask("POST", &format!("/volumes/prune?filters={filters}"), None);
        }
    }
}

/// Creates a container, looks at its volumes, and removes it. Returns how many tries that took.
fn create_and_look(
    job: &Case,
    round: usize,
    (volumes, others): (&[String], &str),
    n_sent: &AtomicUsize,
) -> usize {
    let mut binds = vec![
        format!("{}:/a:z", volumes[round % 2]),
        format!(
            "{}:/b{}",
            volumes[(round + 1) % 2],
            ["", ":ro"][round / 2 % 2]
        ),
    ];
    if round.is_multiple_of(3) {
        binds.push(format!("{others}:/o:z"));
    }
    let name = job.name(&format!("c{round}"));
    let body = json!({
        "Image": engine().image, "Cmd": ["true"], "HostConfig": {"Binds": binds},
    });
    let target = format!("/containers/create?name={name}");
    let request = json_request("POST", &target, Some(&body.to_string()));
    for tried in 1..=TRIES {
        let mut wire = job.connect();
        n_sent.fetch_add(1, Ordering::SeqCst);
        wire.send(&request);
        let response = wire.response();
        match response.status() {
            201 => {
                look(job, &name, volumes);
                engine().ask("DELETE", &format!("/containers/{name}?force=1"), None);
                return tried;
            }
            // Taken back, or the volume went between the engine's own steps.
            404 | 500 | 502 | 503 => (),
            _ => panic!("{response:?}"),
        }
    }
    panic!("{name} failed for good")
}

/// Asserts that the container and its volumes are labelled, by whichever job, or that the log names
/// them.
fn look(job: &Case, name: &str, volumes: &[String]) {
    job.assert_labelled(Kind::Container, name);
    for volume in volumes {
        // One that is in use cannot be deleted.
        let object = engine().inspect(Kind::Volume, volume);
        let object = object.unwrap_or_else(|| panic!("{volume} is lost"));
        if !labels_of(Kind::Volume, &object).contains_key(JOB) {
            let told = format!("the volume {volume:?} was there before, without the labels");
            wait_until(&told, || job.proxy.log().contains(&told));
        }
    }
}
