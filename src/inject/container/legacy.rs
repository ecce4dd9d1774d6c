//! Members of `HostConfig` that stand at the top of a create's body, where daemons before API 1.46
//! read them too (`ContainerConfigWrapper.getHostConfig` in moby's runconfig).

use crate::inject::engine::{Engine, Version};
use crate::inject::request::{Create, Rejection};
use crate::json::{MemberError, Object};

/// The first API version in which members of `HostConfig` count only inside it; before, all of
/// them could stand at the top (moby 2954b05b03, Docker 27).
const FIRST_STRICT_VERSION: Version = (1, 46);

/// Moves what stands at the top but counts as a member of `HostConfig` into it, on daemons that
/// still read it so.
///
/// # Errors
/// When these members cannot be understood, and when the daemon does not tell its version.
pub(super) fn move_members(
    config: &mut Object<'_>,
    create: &mut Create<'_>,
) -> Result<(), Rejection> {
    let members = members(config)?;
    if members.is_empty() || !is_read_at_the_top(create)? {
        return Ok(());
    }
    for (field, _) in &members {
        config.remove(field);
    }
    config.edit("HostConfig", |host| {
        for (field, value) in members {
            host.set(field, value);
        }
        Ok(())
    })
}

/// What may count as a member of `HostConfig`: names, and values as JSON text.
fn members(config: &Object<'_>) -> Result<Vec<(&'static str, String)>, MemberError> {
    let fields = match config.get::<Option<Object<'_>>>("HostConfig", "an object")? {
        None => HOST_CONFIG_FIELDS,
        Some(host) if host.sole("VolumeDriver")?.is_some_and(|d| d != "\"\"") => &[],
        // Daemons still take over the numbers themselves, so those need not be moved.
        Some(_) => &["VolumeDriver"],
    };
    let mut members = Vec::new();
    for field in fields {
        if let Some(value) = config.sole(field)? {
            members.push((*field, value.to_owned()));
        }
    }
    Ok(members)
}

/// Whether the daemon reads members of `HostConfig` at the top too.
fn is_read_at_the_top(create: &mut Create<'_>) -> Result<bool, Rejection> {
    Ok(match Engine::ask(create)? {
        Engine::Docker(api) => api.is_none_or(|api| api < FIRST_STRICT_VERSION),
        Engine::Podman(_) => false,
    })
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

#[cfg(test)]
mod tests {
    use crate::inject::test::{FORCED, Script, labelled_container as labelled};

    fn daemon(version: &str) -> Script {
        let body = format!("{{\"ApiVersion\":\"{version}\"}}");
        Script::default().on("GET /v1.41/version", 200, &body)
    }

    /// An entry of `Mounts` for an anonymous volume at `/data`.
    fn data(driver: &str) -> String {
        format!(
            r#"{{"Type":"volume","Target":"/data","VolumeOptions":{{"Labels":{{"com.docker.volume.anonymous":"",{FORCED}}}{driver}}}}}"#
        )
    }

    #[test]
    fn members_at_the_top_count_where_the_daemon_reads_them() {
        let body = r#"{"Cmd":["x"],"Privileged":true,"Binds":["/data"]}"#;
        let expected = format!(
            r#"{{"Cmd":["x"],"HostConfig":{{"Privileged":true,"Binds":[],"Mounts":[{}]}},"Labels":{{{FORCED}}}}}"#,
            data("")
        );
        assert_eq!(labelled(body, &mut daemon("1.45")).unwrap(), expected);
        let expected = body.replace("]}", &format!("],\"Labels\":{{{FORCED}}}}}"));
        assert_eq!(labelled(body, &mut daemon("1.46")).unwrap(), expected);

        let body = r#"{"HostConfig":{"Binds":["/data"]},"VolumeDriver":"d"}"#;
        let labelled = labelled(body, &mut daemon("1.41")).unwrap();
        let driver = r#","DriverConfig":{"Name":"d"}"#;
        assert!(labelled.contains(&data(driver)), "{labelled}");
    }

    #[test]
    fn a_member_that_is_moved_is_kept_where_nothing_else_changes() {
        let body = r#"{"HostConfig":{"Binds":["/h:/c"]},"VolumeDriver":"d"}"#;
        let expected = format!(
            r#"{{"HostConfig":{{"Binds":["/h:/c"],"VolumeDriver":"d"}},"Labels":{{{FORCED}}}}}"#
        );
        assert_eq!(labelled(body, &mut daemon("1.41")).unwrap(), expected);
    }
}
