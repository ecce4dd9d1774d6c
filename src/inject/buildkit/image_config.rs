//! Image configurations, as frontends return them and exporters write them into images. They are
//! the JSON of the OCI image specification; `docker inspect` shows their `config` as `Config`.

use crate::http2::grpc::{Status, StatusCode};
use crate::inject::overlay::lay_labels;
use crate::json::{self, MemberError, Object};
use crate::labels::Labels;

/// The environment that exporters give an image without a configuration
/// (`DefaultPathEnvUnix` in BuildKit util/system).
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The members of a platform that an image configuration has too.
const PLATFORM: [&str; 5] = ["architecture", "os", "variant", "os.version", "os.features"];

/// A platform that a result is for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Platform {
    pub(super) id: String,
    /// The members that its image configuration has too: name, and value as JSON.
    members: Vec<(&'static str, String)>,
}

/// Lays the labels over those of an image configuration. Exporters sort its members by name, and
/// the engine then ignores their case and merges those that occur twice. So `config` becomes the
/// only one of its kind.
///
/// # Errors
/// When it is not an object, or daemons may read its `config` or its labels in different ways.
pub(super) fn label(image: &[u8], labels: &Labels) -> Result<String, Status> {
    let wrong = |what: &str| Status::invalid(format!("the image configuration {what}"));
    let mut image = Object::parse(image)
        .map_err(|error| wrong(&error.to_string()))?
        .ok_or_else(|| wrong("is null"))?;
    image.edit("config", |config| lay_labels(config, "Labels", labels))?;
    Ok(image.to_string())
}

/// The configuration that exporters give an image that has none (`defaultImageConfig` in BuildKit
/// exporter/containerimage). They add layers and history themselves.
pub(super) fn default(platform: &Platform) -> String {
    let mut image = Object::default();
    for (name, value) in &platform.members {
        image.set(name, value.clone());
    }
    let is_windows = platform
        .members
        .iter()
        .any(|(name, value)| *name == "os" && json::decode(value) == Some("windows"));
    image.set("rootfs", r#"{"type":"layers","diff_ids":null}"#.to_owned());
    let config = if is_windows {
        r#"{"WorkingDir":"/"}"#.to_owned()
    } else {
        format!(r#"{{"Env":[{}],"WorkingDir":"/"}}"#, json::string(PATH))
    };
    image.set("config", config);
    image.to_string()
}

/// Reads the platforms that a result is for (`exptypes.Platforms` in BuildKit).
///
/// # Errors
/// When the text is not such an object, or daemons may read it in different ways.
pub(super) fn platforms(text: &[u8]) -> Result<Vec<Platform>, Status> {
    let wrong = || {
        Status::invalid(
            "the result's refs.platforms is not a list of platforms with ID and Platform",
        )
    };
    let Some(object) = Object::parse(text).map_err(|_| wrong())? else {
        return Ok(Vec::new());
    };
    let list: Vec<Object<'_>> = match object.sole("Platforms")? {
        None => Vec::new(),
        Some(list) => json::decode(list).ok_or_else(wrong)?,
    };
    let read = |member: Object<'_>| {
        let id = member.sole("ID")?.and_then(json::decode::<String>);
        let platform = member
            .sole("Platform")?
            .and_then(json::decode::<Object<'_>>);
        let (Some(id), Some(platform)) = (id, platform) else {
            return Err(wrong());
        };
        let mut members = Vec::new();
        for name in PLATFORM {
            if let Some(value) = platform.sole(name)? {
                members.push((name, value.to_owned()));
            }
        }
        Ok(Platform { id, members })
    };
    list.into_iter().map(read).collect()
}

/// The platform of this machine, which is also the daemon's, since they share a socket.
///
/// # Errors
/// When the proxy does not know what BuildKit calls it.
pub(super) fn host() -> Result<Platform, Status> {
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "arm" => "arm",
        "loongarch64" => "loong64",
        "powerpc64" => "ppc64le",
        "riscv64" => "riscv64",
        "s390x" => "s390x",
        "x86" => "386",
        "x86_64" => "amd64",
        other => {
            return Err(Status::new(
                StatusCode::FailedPrecondition,
                format!(
                    "the build has no image configuration, and the proxy cannot make one for \
                     {other}, so it cannot be labelled; return one from the frontend"
                ),
            ));
        }
    };
    Ok(Platform {
        id: String::new(),
        members: vec![
            ("architecture", json::string(architecture)),
            ("os", json::string("linux")),
        ],
    })
}

/// A configuration that daemons may read in different ways, or that has labels of the wrong type.
impl From<MemberError> for Status {
    fn from(error: MemberError) -> Status {
        Status::invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, policy};

    #[test]
    fn labels_are_laid_over_those_of_the_image() {
        for (client, expected) in [
            (
                r#"{"architecture":"amd64","config":{"Env":["A=1"],"Labels":{"own":"1","ci.job":"x"}},"os":"linux"}"#,
                r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"Labels":{"own":"1",FORCED}}}"#,
            ),
            (
                r#"{"Config":{"label\u017f":{"a":"b"},"LABELS":{"c":null}},"x":1.0}"#,
                r#"{"x":1.0,"config":{"Labels":{"a":"b","c":"",FORCED}}}"#,
            ),
            (r#"{"config":null}"#, r#"{"config":{"Labels":{FORCED}}}"#),
            (
                r#"{"config":{"Labels":null}}"#,
                r#"{"config":{"Labels":{FORCED}}}"#,
            ),
            ("{}", r#"{"config":{"Labels":{FORCED}}}"#),
        ] {
            let labelled = label(client.as_bytes(), &policy().labels).unwrap();
            assert_eq!(labelled, expected.replace("FORCED", FORCED), "{client}");
        }
    }

    #[test]
    fn malformed_configurations_are_refused() {
        for image in [
            &b"null"[..],
            b"[]",
            br#"{"config":[]}"#,
            br#"{"config":{},"Config":{}}"#,
            br#"{"config":{"Labels":["a=b"]}}"#,
            b"{\"a\":\"\xff\"}",
        ] {
            let result = label(image, &policy().labels).map_err(|status| status.code);
            let invalid = Err(StatusCode::InvalidArgument);
            assert_eq!(result, invalid, "{}", image.escape_ascii());
        }
    }

    #[test]
    fn a_made_up_configuration_is_that_of_the_exporter() {
        let text = br#"{"platforms":[
            {"id":"windows/amd64","Platform":{"os":"windows","architecture":"amd64","os.version":"10","x":1}},
            {"Platform":{"OS":"linux","architecture":"arm","Variant":"v7"},"ID":"linux/arm/v7"}]}"#;
        let platforms = platforms(text).unwrap();
        let ids: Vec<_> = platforms.iter().map(|platform| &*platform.id).collect();
        assert_eq!(ids, ["windows/amd64", "linux/arm/v7"]);
        assert_eq!(
            default(&platforms[0]),
            r#"{"architecture":"amd64","os":"windows","os.version":"10","rootfs":{"type":"layers","diff_ids":null},"config":{"WorkingDir":"/"}}"#
        );
        assert_eq!(
            default(&platforms[1]),
            r#"{"architecture":"arm","os":"linux","variant":"v7","rootfs":{"type":"layers","diff_ids":null},"config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],"WorkingDir":"/"}}"#
        );
    }

    #[test]
    fn absent_platforms_are_an_empty_list() {
        for none in [&b""[..], b"null", b"{}", b"{\"Platforms\":null}"] {
            assert_eq!(platforms(none), Ok(Vec::new()));
        }
    }

    #[test]
    fn platforms_that_readers_may_differ_on_are_refused() {
        for wrong in [
            "[]",
            "{\"Platforms\":{}}",
            "{\"Platforms\":[],\"platforms\":[]}",
            "{\"Platforms\":[null]}",
            "{\"Platforms\":[{\"Platform\":{}}]}",
            "{\"Platforms\":[{\"ID\":1,\"Platform\":{}}]}",
            "{\"Platforms\":[{\"ID\":\"x\"}]}",
            "{\"Platforms\":[{\"ID\":\"x\",\"id\":\"y\",\"Platform\":{}}]}",
            "{\"Platforms\":[{\"ID\":\"x\",\"Platform\":{\"os\":\"a\",\"OS\":\"b\"}}]}",
        ] {
            let result = platforms(wrong.as_bytes()).map_err(|status| status.code);
            assert_eq!(result, Err(StatusCode::InvalidArgument), "{wrong}");
        }
    }
}
