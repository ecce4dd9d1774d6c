//! A service for random updates. It was created and changed past the proxy, so its current
//! specification and the one before may lack the labels, and it has no tasks. The daemon must not
//! be brought to go back to a specification without the labels.

use serde_json::{Value, json};
use support::wait_until;

use crate::case::{Case, LabelMap, labels_of};
use crate::coverage::{init_swarm_past_the_proxy, leave_swarm};
use crate::engine::engine;

/// A service on an engine that is a swarm for its sake.
pub struct RandomService {
    pub name: String,
    pub id: String,
    pub version: u64,
    labels: LabelMap,
}

impl RandomService {
    /// Makes the engine a swarm, if it can be one.
    pub fn new(case: &Case) -> Option<RandomService> {
        if engine().is_podman() {
            return None;
        }
        init_swarm_past_the_proxy();
        // The daemon creates this network in its own time.
        wait_until("the swarm has its network", || {
            engine().get("/networks/ingress").is_some()
        });
        Some(RandomService {
            name: case.name("random"),
            id: String::new(),
            version: 0,
            labels: case.labels_over(&LabelMap::new()),
        })
    }

    /// Creates the service anew. `choice` says which of its specifications carry the labels, and
    /// which go back when they fail.
    pub fn reset(&mut self, choice: usize) {
        let delete = format!("/services/{}", self.name);
        engine().ask("DELETE", &delete, None);
        let spec = |choice: usize| {
            let labels = if choice & 1 == 0 {
                json!({})
            } else {
                json!(self.labels)
            };
            let action = ["pause", "rollback"][choice >> 1 & 1];
            json!({
                "Name": self.name, "Labels": labels, "Mode": {"Replicated": {"Replicas": 0}},
                "TaskTemplate": {"ContainerSpec": {"Image": engine().image, "Labels": labels}},
                "UpdateConfig": {"FailureAction": action},
            })
        };
        let post = |target: &str, spec: &Value| {
            let (status, answer) = engine().ask("POST", target, Some(&spec.to_string()));
            assert!(matches!(status, 200 | 201), "{target}: {answer}");
        };
        post("/services/create", &spec(choice));
        let version = self.inspect()["Version"]["Index"].take();
        let target = format!("/services/{}/update?version={version}", self.name);
        post(&target, &spec(choice >> 2));
        let service = self.inspect();
        self.id = service["ID"].as_str().unwrap().to_owned();
        self.version = service["Version"]["Index"].as_u64().unwrap();
    }

    fn inspect(&self) -> Value {
        engine().get(&format!("/services/{}", self.name)).unwrap()
    }

    /// Returns whether the service has been changed, or how it has become one that lacks the labels
    /// or may do so.
    pub fn check(&self) -> Result<bool, String> {
        let service = self.inspect();
        if service["Version"]["Index"] == self.version {
            return Ok(false);
        }
        let rolls_back = |spec: &Value| spec["UpdateConfig"]["FailureAction"] == "rollback";
        let (spec, previous) = (&service["Spec"], &service["PreviousSpec"]);
        let is_safe = self.is_labelled(spec) && (!rolls_back(spec) || self.is_labelled(previous));
        is_safe.then_some(true).ok_or_else(|| service.to_string())
    }

    fn is_labelled(&self, spec: &Value) -> bool {
        [spec, &spec["TaskTemplate"]["ContainerSpec"]]
            .into_iter()
            .all(|holder| {
                let labels = labels_of(support::Kind::Volume, holder);
                self.labels
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
            })
    }
}

impl Drop for RandomService {
    fn drop(&mut self) {
        leave_swarm();
    }
}
