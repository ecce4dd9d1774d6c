//! Containers: their own labels, those of the volumes they bring along, and their cgroup.

pub(crate) mod docker_volumes;
pub(crate) mod podman_volumes;

use crate::error::Refusal;
use crate::http1::query::Query;
use crate::inject::object::{self, Empty};
use crate::inject::request::{CreateRequest, Daemon, Rejection};
use crate::inject::socket_mounts;
use crate::json::{self, Object};
use crate::policy::Policy;

/// The first API version in which members of `HostConfig` count only inside it; before, all of
/// them could stand at the top (moby 2954b05b03, Docker 27).
const FIRST_STRICT_VERSION: (u32, u32) = (1, 46);

/// Labels a container and its volumes.
///
/// # Errors
/// When the body cannot be understood, when a volume cannot be labelled, and when the daemon says
/// no to a question, as it would to the create.
pub(crate) fn label(
    draft: &mut CreateRequest,
    policy: &Policy,
    daemon: &mut dyn Daemon,
) -> Result<(), Rejection> {
    let body = std::mem::take(&mut draft.body);
    let mut config = object::parse(&body, Empty::IsError)?;
    let name = Query::parse(&draft.query).first("name").map(<[u8]>::to_vec);
    draft.name = name.map(|name| String::from_utf8_lossy(&name).into_owned());

    let given = object::sole(&config, "HostConfig")?.map(str::to_owned);
    let mut host = match &given {
        None => Object::default(),
        Some(text) => json::decode_as(text, "an object")
            .map_err(|what| Refusal::bad_request(format!("HostConfig {what}")))?,
    };
    let moved = legacy_members(&config, &host, given.is_some(), draft, daemon)?;
    for (field, value) in moved {
        config.remove(field);
        host.set(field, value);
    }
    let before = host.to_string();
    if let Some(parent) = &policy.cgroup_parent {
        host.set("CgroupParent", json::string(parent));
    }
    socket_mounts::host_config(&mut host, policy)?;
    docker_volumes::label(&config, &mut host, draft, policy, daemon)?;
    let after = host.to_string();
    if before != after || given.is_none() && after != "{}" {
        config.set("HostConfig", after);
    }
    object::lay_labels(&mut config, "Labels", &policy.labels)?;
    draft.body = config.to_string().into_bytes();
    Ok(())
}

/// What stands at the top of the body but counts as a member of `HostConfig`, on daemons that
/// still read it so (`ContainerConfigWrapper.getHostConfig` in moby's runconfig).
fn legacy_members(
    config: &Object<'_>,
    host: &Object<'_>,
    has_host_config: bool,
    draft: &CreateRequest,
    daemon: &mut dyn Daemon,
) -> Result<Vec<(&'static str, String)>, Rejection> {
    let mut members = Vec::new();
    let fields = match has_host_config {
        true if object::sole(host, "VolumeDriver")?.is_some_and(|driver| driver != "\"\"") => &[],
        // Numbers that are taken over too need not be moved: daemons still take them over.
        true => &["VolumeDriver"][..],
        false => HOST_CONFIG_FIELDS,
    };
    for field in fields {
        if let Some(value) = object::sole(config, field)? {
            members.push((*field, value.to_owned()));
        }
    }
    if members.is_empty() {
        return Ok(members);
    }
    let answer = daemon.get(&format!("{}/version", draft.version))?;
    if answer.status != 200 {
        return Err(Rejection::Answer(answer));
    }
    if answer.is_podman {
        return Ok(Vec::new());
    }
    let version: String = answer.string("ApiVersion")?;
    let numbers = version
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    match numbers {
        Some(version) if version >= FIRST_STRICT_VERSION => Ok(Vec::new()),
        _ => Ok(members),
    }
}

/// All members of `HostConfig` up to API 1.45 (api/types/container/hostconfig.go).
const HOST_CONFIG_FIELDS: &[&str] = &[
    "Annotations",
    "AutoRemove",
    "Binds",
    "BlkioDeviceReadBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceWriteIOps",
    "BlkioWeight",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Capabilities",
    "Cgroup",
    "CgroupParent",
    "CgroupnsMode",
    "ConsoleSize",
    "ContainerIDFile",
    "CpuCount",
    "CpuPercent",
    "CpuPeriod",
    "CpuQuota",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpuShares",
    "CpusetCpus",
    "CpusetMems",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "GroupAdd",
    "IOMaximumBandwidth",
    "IOMaximumIOps",
    "Init",
    "IpcMode",
    "Isolation",
    "KernelMemory",
    "KernelMemoryTCP",
    "Links",
    "LogConfig",
    "MaskedPaths",
    "Memory",
    "MemoryReservation",
    "MemorySwap",
    "MemorySwappiness",
    "Mounts",
    "NanoCpus",
    "NetworkMode",
    "OomKillDisable",
    "OomScoreAdj",
    "PidMode",
    "PidsLimit",
    "PortBindings",
    "Privileged",
    "PublishAllPorts",
    "ReadonlyPaths",
    "ReadonlyRootfs",
    "RestartPolicy",
    "Runtime",
    "SecurityOpt",
    "ShmSize",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "UTSMode",
    "Ulimits",
    "UsernsMode",
    "VolumeDriver",
    "VolumesFrom",
];
