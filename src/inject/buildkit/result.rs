//! `LLBBridge/Return` ends a build that the client steers. Exporters write the image configuration
//! in the result's metadata into the image, whatever frontend made it. Where there is none they
//! make one up, so one is added here, where they look for it.
//!
//! Where they look depends on the engine. The classic image store takes `containerimage.config` for
//! a single result, and that of the first platform for a map of results with one member.
//! containerd's store takes that of each platform, or else the plain one. So a labelled map has one
//! for each platform, every labelled result has a plain one, and all carry the labels. A map that
//! names no platforms is refused, since daemons make one up.

use std::collections::BTreeMap;

use crate::http2::grpc::{Status, StatusCode};
use crate::inject::buildkit::image_config;
use crate::inject::buildkit::proto::{Malformed, Message};
use crate::limits::MAX_CONFIG_BYTES;
use crate::policy::Policy;

/// `ReturnRequest.result`
const RESULT: u32 = 1;
/// `ReturnRequest.error`
const ERROR: u32 = 2;
/// `Result.refsDeprecated` and `Result.refs`
const MAPS: [u32; 2] = [2, 4];
/// `Result.metadata`
const METADATA: u32 = 10;

const CONFIG: &[u8] = b"containerimage.config";
const PLATFORMS: &[u8] = b"refs.platforms";

/// Labels the result of a build. The report of a failure has no result and stays as it is.
///
/// # Errors
/// When the request or a configuration in it is malformed, or the daemon might take a configuration
/// that is not labelled.
pub(super) fn label(bytes: &[u8], policy: &Policy) -> Result<Vec<u8>, Status> {
    let mut request = Message::parse(bytes)?;
    let Some(result) = request.merged(RESULT)? else {
        if request.has(ERROR) {
            return Ok(bytes.to_vec());
        }
        // Daemons panic when they are sent this.
        let what = "the end of a build has neither a result nor an error";
        return Err(Status::invalid(what));
    };
    let mut result = Message::parse(&result)?;
    let mut configs = Configs::take(&mut result)?;
    if MAPS.iter().any(|&map| result.has(map)) {
        configs.add_platforms()?;
    }
    configs.add_plain()?;
    let mut len = 0;
    for (key, config) in configs.by_key {
        let config = image_config::label(&config, &policy.labels)?;
        len += config.len();
        if len > MAX_CONFIG_BYTES {
            return Err(Status::new(
                StatusCode::ResourceExhausted,
                "the image configurations are longer than 16 MiB",
            ));
        }
        result.push_entry(METADATA, &key, config.as_bytes());
    }
    request.remove(RESULT);
    request.push(RESULT, result.to_bytes());
    Ok(request.to_bytes())
}

/// The image configurations of a result. Empty ones do not count.
struct Configs {
    by_key: BTreeMap<Vec<u8>, Vec<u8>>,
    platforms: Vec<u8>,
}

impl Configs {
    /// Takes the configurations out of a result. The last one with a key counts.
    fn take(result: &mut Message<'_>) -> Result<Configs, Malformed> {
        let mut configs = Configs {
            by_key: BTreeMap::new(),
            platforms: Vec::new(),
        };
        result.retain_entries(METADATA, |entry| {
            if entry.key == PLATFORMS {
                configs.platforms = entry.value.to_vec();
            }
            let rest = entry.key.strip_prefix(CONFIG);
            let is_config = matches!(rest, Some([] | [b'/', ..]));
            if is_config {
                let (key, config) = (entry.key.to_vec(), entry.value.to_vec());
                configs.by_key.insert(key, config);
            }
            !is_config
        })?;
        configs.by_key.retain(|_, config| !config.is_empty());
        Ok(configs)
    }

    /// Adds the configuration that containerd's image store would take for each platform that has
    /// none.
    fn add_platforms(&mut self) -> Result<(), Status> {
        let plain = self.by_key.get(CONFIG).cloned();
        let platforms = if self.platforms.is_empty() {
            Vec::new()
        } else {
            image_config::platforms(&self.platforms)?
        };
        if platforms.is_empty() {
            // Docker 25 and later make a platform up (`ParsePlatforms` in BuildKit
            // exporter/containerimage/exptypes) and take the configuration of that one alone.
            return Err(Status::new(
                StatusCode::FailedPrecondition,
                "a map of results without refs.platforms cannot be labelled; \
                 name its platforms, or return a single result",
            ));
        }
        let mut len = 0;
        for platform in platforms {
            let key = [CONFIG, b"/", platform.id.as_bytes()].concat();
            if self.by_key.contains_key(&key) {
                continue;
            }
            let config = match &plain {
                Some(plain) => plain.clone(),
                None => image_config::default(&platform).into_bytes(),
            };
            len += config.len();
            self.by_key.insert(key, config);
            if len > MAX_CONFIG_BYTES {
                break; // The caller refuses it.
            }
        }
        Ok(())
    }

    /// Adds the plain configuration if there is none.
    fn add_plain(&mut self) -> Result<(), Status> {
        if !self.by_key.contains_key(CONFIG) {
            let config = image_config::default(&image_config::host()?);
            self.by_key.insert(CONFIG.to_vec(), config.into_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::{FORCED, policy};

    /// As buildx ends a build of a Dockerfile.
    const CAPTURED: [&[u8]; 2] = [
        include_bytes!("../../../tests/buildkit/20.10-bridge-return.bin"),
        include_bytes!("../../../tests/buildkit/26.1-bridge-return.bin"),
    ];

    fn request(result: &Message<'_>) -> Vec<u8> {
        let mut request = Message::default();
        request.push(RESULT, result.to_bytes());
        request.to_bytes()
    }

    /// The metadata of the edited result, by key; a key that is there twice is an error.
    fn metadata(bytes: &[u8]) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let request = Message::parse(bytes).unwrap();
        let result = request.merged(RESULT).unwrap().unwrap();
        let mut metadata = BTreeMap::new();
        let mut result = Message::parse(&result).unwrap();
        result
            .retain_entries(METADATA, |entry| {
                let known = metadata.insert(text(entry.key), text(entry.value));
                assert_eq!(known, None, "{}", entry.key.escape_ascii());
                true
            })
            .unwrap();
        metadata
    }

    /// The labelled metadata of a result, in a request with this field for its refs.
    fn edited(refs: u32, entries: &[(&str, &str)]) -> Result<BTreeMap<String, String>, Status> {
        let mut result = Message::default();
        result.push(refs, b"\x0a\x01x".to_vec());
        for (key, value) in entries {
            result.push_entry(METADATA, key.as_bytes(), value.as_bytes());
        }
        label(&request(&result), &policy()).map(|bytes| metadata(&bytes))
    }

    #[test]
    fn a_captured_result_is_labelled_and_nothing_else() {
        for captured in CAPTURED {
            let bytes = label(captured, &policy()).unwrap();
            let (mut before, mut after) = (metadata(captured), metadata(&bytes));
            let take = |metadata: &mut BTreeMap<String, String>| {
                let config = metadata.remove("containerimage.config").unwrap();
                serde_json::from_str::<serde_json::Value>(&config).unwrap()
            };
            let (mut expected, labelled) = (take(&mut before), take(&mut after));
            assert_eq!(expected["config"]["Labels"]["ci.job"], "client");
            expected["config"]["Labels"]["ci.job"] = "42".into();
            expected["config"]["Labels"]["note"] = "a \"b\" $c".into();
            assert_eq!(labelled, expected);
            assert_eq!(after, before);

            let reference = |bytes| {
                let result = Message::parse(bytes).unwrap().merged(RESULT).unwrap();
                let result = result.unwrap();
                Message::parse(&result).unwrap().last(3).unwrap().to_vec()
            };
            assert!(!reference(captured).is_empty());
            assert_eq!(reference(&bytes), reference(captured));
            assert_eq!(label(&bytes, &policy()), Ok(bytes.clone()));
        }
    }

    #[test]
    fn every_configuration_is_labelled_and_no_other_metadata() {
        let image = r#"{"os":"linux","config":{"Labels":{"ci.job":"x"}}}"#;
        let after = edited(
            3,
            &[
                ("containerimage.config", "{}"),
                ("containerimage.config", image),
                ("containerimage.config/linux/arm64", image),
                ("containerimage.config/", image),
                ("containerimage.base.config", image),
                ("containerimage.config.digest", image),
                ("Containerimage.config", image),
            ],
        )
        .unwrap();
        let labelled = format!(r#"{{"os":"linux","config":{{"Labels":{{{FORCED}}}}}}}"#);
        assert_eq!(after.len(), 6);
        for (key, value) in after {
            let is_config = key == "containerimage.config" || key.contains('/');
            assert_eq!(value, if is_config { &*labelled } else { image }, "{key}");
        }
    }

    #[test]
    fn a_result_without_configuration_gets_one() {
        let none = include_bytes!("../../../tests/buildkit/bridge-return-of-nothing.bin");
        for after in [
            metadata(&label(none, &policy()).unwrap()),
            edited(3, &[]).unwrap(),
            edited(1, &[("containerimage.config", "")]).unwrap(),
        ] {
            let config = &after["containerimage.config"];
            assert!(config.starts_with(r#"{"architecture":"#), "{config}");
            assert!(config.contains(r#","os":"linux","#), "{config}");
            assert!(
                config.contains(r#""WorkingDir":"/","Labels":{"#),
                "{config}"
            );
            assert!(config.contains(FORCED), "{config}");
            assert_eq!(after.len(), 1);
        }
    }

    #[test]
    fn each_platform_of_a_map_has_a_configuration() {
        let platforms = r#"{"Platforms":[
            {"ID":"linux/amd64","Platform":{"architecture":"amd64","os":"linux"}},
            {"ID":"other","Platform":{"architecture":"s390x","os":"linux"}}]}"#;
        let given = ("containerimage.config/linux/amd64", r#"{"a":1}"#);
        let plain = ("containerimage.config", r#"{"b":2}"#);
        let other = "containerimage.config/other";
        for map in [2, 4] {
            let after = edited(map, &[("refs.platforms", platforms), given]).unwrap();
            assert!(after[given.0].starts_with(r#"{"a":1,"config":"#));
            assert!(after[other].starts_with(r#"{"architecture":"s390x","os":"linux","rootfs":"#));
            assert!(after["containerimage.config"].contains(FORCED));
            assert_eq!(after.len(), 4);
            assert!(
                after
                    .values()
                    .filter(|value| value.contains(FORCED))
                    .count()
                    == 3
            );

            let after = edited(map, &[plain, given, ("refs.platforms", platforms)]).unwrap();
            assert!(after[given.0].starts_with(r#"{"a":1,"config":"#));
            assert!(after[other].starts_with(r#"{"b":2,"config":"#));
            assert!(after[plain.0].starts_with(r#"{"b":2,"config":"#));
            assert_eq!(after.len(), 4);
        }
        let after = edited(3, &[plain, ("refs.platforms", platforms)]).unwrap();
        assert_eq!(after.len(), 2);
    }

    #[test]
    fn a_map_without_platforms_is_refused() {
        let plain = ("containerimage.config", "{}");
        for map in [2, 4] {
            for entries in [
                &[][..],
                &[plain],
                &[plain, ("refs.platforms", "")],
                &[plain, ("refs.platforms", "{}")],
                &[plain, ("refs.platforms", r#"{"Platforms":[]}"#)],
                &[plain, ("refs.platforms", r#"{"Platforms":null}"#)],
            ] {
                let status = edited(map, entries).unwrap_err();
                assert_eq!(status.code, StatusCode::FailedPrecondition, "{entries:?}");
            }
        }
    }

    #[test]
    fn a_return_of_neither_result_nor_error_is_refused() {
        for nothing in [&b""[..], b"\x1a\x01x"] {
            let status = label(nothing, &policy()).unwrap_err();
            assert_eq!(status.code, StatusCode::InvalidArgument);
        }
    }

    #[test]
    fn a_result_in_parts_is_one() {
        let mut parts = Message::default();
        for value in [r#"{"a":1}"#, r#"{"b":2}"#] {
            let mut result = Message::default();
            result.push_entry(METADATA, CONFIG, value.as_bytes());
            parts.push(RESULT, result.to_bytes());
        }
        let after = label(&parts.to_bytes(), &policy()).unwrap();
        assert_eq!(Message::parse(&after).unwrap().all(RESULT).count(), 1);
        let after = metadata(&after);
        assert_eq!(after.len(), 1);
        assert!(after["containerimage.config"].starts_with(r#"{"b":2,"config":{"#));
    }

    #[test]
    fn the_report_of_a_failure_stays_as_it_is() {
        let mut failure = Message::default();
        failure.push(2, b"\x08\x01".to_vec());
        let failure = failure.to_bytes();
        assert_eq!(label(&failure, &policy()), Ok(failure));
    }

    #[test]
    fn results_that_cannot_be_labelled_are_refused() {
        for (key, value) in [
            ("containerimage.config", "null"),
            ("containerimage.config/x", "[]"),
        ] {
            let status = edited(3, &[(key, value)]).unwrap_err();
            assert_eq!(status.code, StatusCode::InvalidArgument, "{key}");
        }
        let status = edited(4, &[("refs.platforms", "[]")]).unwrap_err();
        assert_eq!(status.code, StatusCode::InvalidArgument);
        for malformed in [
            &b"\x08\x01"[..],
            b"\x0a\x02\x50\x01",
            b"\x0a\x01\x0a",
            b"\x0b",
        ] {
            let status = label(malformed, &policy()).unwrap_err();
            assert_eq!(status.code, StatusCode::InvalidArgument);
        }
    }

    #[test]
    fn configurations_do_not_multiply_without_bound() {
        let member = |i| format!(r#"{{"ID":"{i}","Platform":{{}}}}"#);
        let list: Vec<_> = (0..1000).map(member).collect();
        let platforms = format!(r#"{{"Platforms":[{}]}}"#, list.join(","));
        let plain = format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000));
        let entries = [
            ("containerimage.config", &*plain),
            ("refs.platforms", &*platforms),
        ];
        let status = edited(4, &entries).unwrap_err();
        assert_eq!(status.code, StatusCode::ResourceExhausted);
        assert_eq!(edited(3, &entries).unwrap().len(), 2);
    }
}
