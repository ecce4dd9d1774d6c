//! Networks, and networks that take their configuration, including labels, from another.

use serde_json::json;
use support::Kind;

use super::{Covered, On, assert_refused, own, path, rule};
use crate::case::{Case, LabelMap};
use crate::command::succeed;
use crate::engine::{JOB, engine};

const NETWORK: &str = "POST /networks/create";

pub fn cases() -> Vec<Covered> {
    vec![
        path(NETWORK, "plain", On::Any, network),
        path(NETWORK, "docker network create", On::Any, docker_network),
        path(NETWORK, "config-only", On::Docker, config_only),
        path(
            NETWORK,
            "from a config-only network",
            On::Docker,
            config_from,
        ),
        rule(
            NETWORK,
            "from a config-only network without the labels",
            On::Docker,
            unlabelled_config,
        ),
    ]
}

fn network() {
    let case = Case::new();
    let name = case.name("n");
    let labels = json!({"own": "1", JOB: "mine"});
    case.posted(
        "/networks/create",
        &json!({"Name": name, "Internal": true, "Labels": labels}),
    );
    case.assert_labels(Kind::Network, &name, &own(&[("own", "1")]));
}

fn docker_network() {
    let case = Case::new();
    let name = case.name("n");
    succeed(case.docker(&["network", "create", "--internal", "--label", "own=1", &name]));
    case.assert_labels(Kind::Network, &name, &own(&[("own", "1")]));
}

fn config_only() {
    let case = Case::new();
    let name = case.name("config");
    succeed(case.docker(&[
        "network",
        "create",
        "--config-only",
        "--label",
        "own=1",
        &name,
    ]));
    case.assert_labels(Kind::Network, &name, &own(&[("own", "1")]));
}

fn config_from() {
    let case = Case::new();
    let (config, network) = (case.name("config"), case.name("network"));
    let option = "com.docker.network.bridge.enable_icc";
    let set = format!("{option}=false");
    succeed(case.docker(&["network", "create", "--config-only", "--opt", &set, &config]));
    succeed(case.docker(&["network", "create", "--config-from", &config, &network]));
    case.assert_labels(Kind::Network, &network, &LabelMap::new());
    let object = engine().inspect(Kind::Network, &network).unwrap();
    assert_eq!(object["ConfigFrom"]["Network"], config);
    assert_eq!(object["Options"][option], "false");
}

fn unlabelled_config() {
    let case = Case::new();
    let (config, network) = (case.name("config"), case.name("network"));
    let body = json!({"Name": config, "ConfigOnly": true}).to_string();
    assert_eq!(engine().ask("POST", "/networks/create", Some(&body)).0, 201);
    let body = json!({"Name": network, "ConfigFrom": {"Network": config}});
    assert_refused(&case.post("/networks/create", &body), 400, JOB);
    assert!(engine().inspect(Kind::Network, &network).is_none());
}
