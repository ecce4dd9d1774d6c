//! `Control/Solve` starts a build, `LLBBridge/Solve` a part of one. Both have a frontend with
//! options, and the Dockerfile frontend takes labels as options.
//!
//! In a build that the client steers, as buildx does, `Control/Solve` has neither a frontend nor a
//! definition, and `LLBBridge/Return` brings what is exported. Otherwise the daemon exports what
//! the frontend returns, and the proxy does not see it. Such a build is labelled if the frontend is
//! the daemon's own, and refused if not. (An exporter's attribute `containerimage.config` would
//! not help: the classic image store ignores it, and containerd's would replace everything that
//! the frontend returns.)

use std::collections::BTreeSet;

use crate::http2::grpc::{Status, StatusCode};
use crate::inject::buildkit::proto::{Entry, Malformed, Message};
use crate::labels::Labels;
use crate::limits::MAX_SHOWN_IMAGES_CHARS;
use crate::policy::Policy;

/// Fields of `moby.buildkit.v1.SolveRequest`.
mod control {
    pub(super) const DEFINITION: u32 = 2;
    pub(super) const OLD_EXPORTER: u32 = 3;
    pub(super) const OLD_EXPORTER_ATTRS: u32 = 4;
    pub(super) const FRONTEND: u32 = 6;
    pub(super) const FRONTEND_ATTRS: u32 = 7;
    pub(super) const EXPORTERS: u32 = 13;
    pub(super) const ENABLE_SESSION_EXPORTER: u32 = 14;
    /// Fields of `Exporter`.
    pub(super) const TYPE: u32 = 1;
    pub(super) const ATTRS: u32 = 2;
}

/// Fields of `moby.buildkit.v1.frontend.SolveRequest`.
mod bridge {
    pub(super) const FRONTEND: u32 = 2;
    pub(super) const FRONTEND_OPT: u32 = 3;
    pub(super) const FINAL: u32 = 10;
}

/// The Dockerfile frontend that is part of the daemon.
const DOCKERFILE: &[u8] = b"dockerfile.v0";

/// The prefix of those options of the Dockerfile frontend that are labels.
const LABEL: &str = "label:";

/// The option of the Dockerfile frontend for the cgroup of `RUN` steps.
const CGROUP_PARENT: &[u8] = b"cgroup-parent";

/// The option that tells the Dockerfile frontend that a line `# syntax=` has chosen it already, so
/// that it does not look for one (`frontend/dockerfile/builder/build.go`).
const CMDLINE: &[u8] = b"cmdline";

/// The option that asks a frontend for something other than a build, such as a list of its targets.
/// The result has no image configuration, so an exporter makes one up, without labels.
const REQUEST_ID: &[u8] = b"requestid";

/// Labels a `Control/Solve`.
///
/// # Errors
/// When the request is malformed, or makes an image that cannot be labelled.
pub(super) fn label_control(bytes: &[u8], policy: &Policy) -> Result<Vec<u8>, Status> {
    let mut request = Message::parse(bytes)?;
    drop_image_metadata(&mut request)?;
    // The client would say over the session what is exported, and with what attributes.
    request.remove(control::ENABLE_SESSION_EXPORTER);
    set_options(&mut request, control::FRONTEND_ATTRS, policy)?;
    let is_steered =
        request.last(control::FRONTEND)?.is_empty() && !request.has(control::DEFINITION);
    if !is_steered && makes_image(&request)? {
        use_own_frontend(&mut request)?;
    }
    Ok(request.to_bytes())
}

/// Makes sure that the daemon's own Dockerfile frontend builds the image, which sets the labels.
fn use_own_frontend(request: &mut Message<'_>) -> Result<(), Status> {
    if request.last(control::FRONTEND)? != DOCKERFILE {
        return Err(Status::new(
            StatusCode::FailedPrecondition,
            "an image that is not built from a Dockerfile can only be labelled if the client \
             steers the build, as buildx does",
        ));
    }
    let mut is_build = true;
    request.retain_entries(control::FRONTEND_ATTRS, |option| {
        is_build &= option.key != REQUEST_ID;
        option.key != CMDLINE
    })?;
    if !is_build {
        return Err(Status::new(
            StatusCode::FailedPrecondition,
            "the answer to a requestid cannot be labelled as an image; ask without an exporter",
        ));
    }
    request.push_entry(control::FRONTEND_ATTRS, CMDLINE, b"");
    Ok(())
}

/// Labels an `LLBBridge/Solve`.
///
/// # Errors
/// When the request is malformed, or ends the build as clients did before `LLBBridge/Return`, since
/// then what is exported cannot be labelled.
pub(super) fn label_bridge(bytes: &[u8], policy: &Policy) -> Result<Vec<u8>, Status> {
    let mut request = Message::parse(bytes)?;
    if request.number(bridge::FINAL)? != 0 {
        return Err(Status::new(
            StatusCode::FailedPrecondition,
            "a final LLBBridge/Solve cannot be labelled; end the build with LLBBridge/Return",
        ));
    }
    if !request.last(bridge::FRONTEND)?.is_empty() {
        set_options(&mut request, bridge::FRONTEND_OPT, policy)?;
    }
    Ok(request.to_bytes())
}

/// Sets the labels, and the cgroup if there is one, as options of a frontend.
fn set_options(request: &mut Message<'_>, map: u32, policy: &Policy) -> Result<(), Malformed> {
    let is_forced = |key: &[u8]| {
        is_label(key, &policy.labels) || (key == CGROUP_PARENT && policy.cgroup_parent.is_some())
    };
    request.retain_entries(map, |option| !is_forced(option.key))?;
    for label in policy.labels.iter() {
        let key = format!("{LABEL}{}", label.key());
        request.push_entry(map, key.as_bytes(), label.value().as_bytes());
    }
    if let Some(parent) = &policy.cgroup_parent {
        request.push_entry(map, CGROUP_PARENT, parent.as_bytes());
    }
    Ok(())
}

/// Whether an option is one of these labels. Frontends that are images get options as `KEY=VALUE`,
/// so they read the key `label:a=b` as `label:a`.
fn is_label(key: &[u8], labels: &Labels) -> bool {
    let key = key.strip_prefix(LABEL.as_bytes());
    let key = key.and_then(|key| key.split(|&b| b == b'=').next());
    key.is_some_and(|key| labels.iter().any(|label| label.key().as_bytes() == key))
}

/// Removes the attributes of exporters that would replace the result's metadata (`i.meta` in
/// BuildKit exporter/containerimage).
fn drop_image_metadata(request: &mut Message<'_>) -> Result<(), Malformed> {
    let is_metadata = |key: &[u8]| key.starts_with(b"containerimage.") || key == b"refs.platforms";
    request.retain_entries(control::OLD_EXPORTER_ATTRS, |attr| !is_metadata(attr.key))?;
    request.edit_each(control::EXPORTERS, |exporter| {
        exporter.retain_entries(control::ATTRS, |attr| !is_metadata(attr.key))
    })
}

/// Returns the names of the images that a `Control/Solve` has the daemon make, for the log, or
/// `None` if it makes none.
pub(super) fn images(bytes: &[u8]) -> Option<String> {
    let mut request = Message::parse(bytes).ok()?;
    if !makes_image(&request).ok()? {
        return None;
    }
    let mut names = BTreeSet::new();
    let mut note = |attr: Entry<'_>| {
        if attr.key == b"name" {
            let text = String::from_utf8_lossy(attr.value);
            let given = text.split(',').filter(|name| !name.is_empty());
            names.extend(given.map(|name| format!("{name:?}")));
        }
        true
    };
    for exporter in request.all(control::EXPORTERS) {
        let mut exporter = Message::parse(exporter.ok()?).ok()?;
        exporter.retain_entries(control::ATTRS, &mut note).ok()?;
    }
    let attrs = control::OLD_EXPORTER_ATTRS;
    request.retain_entries(attrs, &mut note).ok()?;
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    Some(names.chars().take(MAX_SHOWN_IMAGES_CHARS).collect())
}

/// Whether a build exports an image, rather than files or nothing. Daemons before 24 know only the
/// one exporter; later ones read it only if there is no list.
fn makes_image(request: &Message<'_>) -> Result<bool, Malformed> {
    let is_image = |kind: &[u8]| !matches!(kind, b"local" | b"tar");
    let old = request.last(control::OLD_EXPORTER)?;
    let mut makes_image = !old.is_empty() && is_image(old);
    for exporter in request.all(control::EXPORTERS) {
        makes_image |= is_image(Message::parse(exporter?)?.last(control::TYPE)?);
    }
    Ok(makes_image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inject::test::policy;

    /// As buildx starts a build, and has its Dockerfile built.
    const CONTROL: &[u8] = include_bytes!("../../../tests/buildkit/control-solve.bin");
    const BRIDGE: &[u8] = include_bytes!("../../../tests/buildkit/bridge-solve.bin");

    /// The entries of a map as `key=value`, in their order.
    fn entries(message: &mut Message<'_>, number: u32) -> Vec<String> {
        let mut entries = Vec::new();
        message
            .retain_entries(number, |entry| {
                let text = [entry.key, b"=", entry.value].concat();
                entries.push(String::from_utf8(text).unwrap());
                false
            })
            .unwrap();
        entries
    }

    fn exporter(kind: &str, attrs: &[&str]) -> Vec<u8> {
        let mut exporter = Message::default();
        exporter.push(control::TYPE, kind.into());
        for attr in attrs {
            exporter.push_entry(control::ATTRS, attr.as_bytes(), b"x");
        }
        exporter.to_bytes()
    }

    /// A request that exports an image by this exporter.
    fn exporting(number: u32, exporter: &[u8], frontend: &str) -> Message<'static> {
        let mut request = Message::default();
        request.push(number, exporter.to_vec());
        if !frontend.is_empty() {
            request.push(control::FRONTEND, frontend.into());
        }
        request
    }

    #[test]
    fn an_answer_that_is_no_build_is_not_exported() {
        let exporter = exporter("moby", &[]);
        for key in ["requestid", "target"] {
            let mut request = exporting(control::EXPORTERS, &exporter, "dockerfile.v0");
            request.push_entry(control::FRONTEND_ATTRS, key.as_bytes(), b"frontend.outline");
            let status = label_control(&request.to_bytes(), &policy()).err();
            let refused = (key == "requestid").then_some(StatusCode::FailedPrecondition);
            assert_eq!(status.map(|status| status.code), refused, "{key}");
        }
        let mut request = Message::default();
        request.push(control::FRONTEND, b"dockerfile.v0".to_vec());
        request.push_entry(control::FRONTEND_ATTRS, b"requestid", b"frontend.outline");
        assert!(label_control(&request.to_bytes(), &policy()).is_ok());
    }

    const OPTIONS: [&str; 5] = [
        "filename=Dockerfile",
        "image-resolve-mode=local",
        "label:ci.job=42",
        "label:mine=a",
        "label:note=a \"b\" $c",
    ];

    #[test]
    fn captured_requests_get_the_labels_as_options_and_nothing_else() {
        for (captured, number, edit) in [
            (
                CONTROL,
                control::FRONTEND_ATTRS,
                label_control as fn(&[u8], &Policy) -> _,
            ),
            (BRIDGE, bridge::FRONTEND_OPT, label_bridge),
        ] {
            let bytes: Vec<u8> = edit(captured, &policy()).unwrap();
            let mut before = Message::parse(captured).unwrap();
            let mut after = Message::parse(&bytes).unwrap();
            let client = entries(&mut before, number);
            assert!(client.contains(&"label:ci.job=client".to_owned()));
            let mut options = entries(&mut after, number);
            assert!(options.ends_with(&[OPTIONS[2].to_owned(), OPTIONS[4].to_owned()]));
            options.sort_unstable();
            assert_eq!(options, OPTIONS);
            assert_eq!(after.to_bytes(), before.to_bytes());
        }
    }

    #[test]
    fn an_option_that_would_become_a_label_is_removed() {
        let mut request = Message::default();
        for key in [
            "label:ci.job=x",
            "label:ci.jobs",
            "label:",
            "ci.job",
            "cgroup-parent",
        ] {
            request.push_entry(control::FRONTEND_ATTRS, key.as_bytes(), b"v");
        }
        let bytes = label_control(&request.to_bytes(), &policy()).unwrap();
        let mut after = Message::parse(&bytes).unwrap();
        assert_eq!(
            entries(&mut after, control::FRONTEND_ATTRS),
            [
                "label:ci.jobs=v",
                "label:=v",
                "ci.job=v",
                "cgroup-parent=v",
                OPTIONS[2],
                OPTIONS[4]
            ]
        );
    }

    #[test]
    fn the_cgroup_is_the_operators() {
        let policy = Policy {
            cgroup_parent: Some("/ci".to_owned()),
            ..policy()
        };
        let mut request = Message::default();
        request.push(bridge::FRONTEND, DOCKERFILE.to_vec());
        request.push_entry(bridge::FRONTEND_OPT, CGROUP_PARENT, b"/mine");
        let bytes = label_bridge(&request.to_bytes(), &policy).unwrap();
        let mut after = Message::parse(&bytes).unwrap();
        let options = entries(&mut after, bridge::FRONTEND_OPT);
        assert_eq!(options, [OPTIONS[2], OPTIONS[4], "cgroup-parent=/ci"]);
    }

    #[test]
    fn an_exporter_cannot_replace_the_configuration() {
        let attrs = [
            "name",
            "containerimage.config",
            "containerimage.config/linux/amd64",
            "refs.platforms",
            "annotation.containerimage.config",
        ];
        let kept = ["name=x", "annotation.containerimage.config=x"];
        let mut request = Message::default();
        request.push(control::EXPORTERS, exporter("moby", &attrs));
        request.push(control::EXPORTERS, exporter("image", &attrs));
        request.push(control::ENABLE_SESSION_EXPORTER, Vec::new());
        for attr in attrs {
            request.push_entry(control::OLD_EXPORTER_ATTRS, attr.as_bytes(), b"x");
        }
        let bytes = label_control(&request.to_bytes(), &policy()).unwrap();
        let mut after = Message::parse(&bytes).unwrap();
        assert_eq!(entries(&mut after, control::OLD_EXPORTER_ATTRS), kept);
        assert!(!after.has(control::ENABLE_SESSION_EXPORTER));
        let mut kinds = Vec::new();
        for exporter in after.all(control::EXPORTERS) {
            let mut exporter = Message::parse(exporter.unwrap()).unwrap();
            kinds.push(exporter.last(control::TYPE).unwrap().to_vec());
            assert_eq!(entries(&mut exporter, control::ATTRS), kept);
        }
        assert_eq!(kinds, [b"moby".to_vec(), b"image".to_vec()]);
    }

    #[test]
    fn an_image_that_comes_past_the_proxy_is_built_by_the_daemons_own_frontend() {
        let image = exporter("moby", &[]);
        for (number, exporter) in [
            (control::EXPORTERS, &image[..]),
            (control::OLD_EXPORTER, b"moby"),
        ] {
            let request = exporting(number, exporter, "dockerfile.v0");
            let bytes = label_control(&request.to_bytes(), &policy()).unwrap();
            let mut after = Message::parse(&bytes).unwrap();
            let options = entries(&mut after, control::FRONTEND_ATTRS);
            assert_eq!(options, [OPTIONS[2], OPTIONS[4], "cmdline="]);
            assert_eq!(label_control(&bytes, &policy()), Ok(bytes));

            for frontend in ["gateway.v0", "other"] {
                let request = exporting(number, exporter, frontend);
                let status = label_control(&request.to_bytes(), &policy()).unwrap_err();
                assert_eq!(status.code, StatusCode::FailedPrecondition, "{frontend}");
            }
            for definition in [&b""[..], b"\x0a\x00"] {
                let mut request = exporting(number, exporter, "");
                request.push(control::DEFINITION, definition.to_vec());
                let status = label_control(&request.to_bytes(), &policy()).unwrap_err();
                assert_eq!(status.code, StatusCode::FailedPrecondition);
            }
            // A build that the client steers.
            assert!(label_control(&exporting(number, exporter, "").to_bytes(), &policy()).is_ok());
        }
        let files = exporter("local", &[]);
        for (first, second) in [(&files, &image), (&image, &files)] {
            let mut both = exporting(control::EXPORTERS, first, "gateway.v0");
            both.push(control::EXPORTERS, second.clone());
            let status = label_control(&both.to_bytes(), &policy()).unwrap_err();
            assert_eq!(status.code, StatusCode::FailedPrecondition);
        }
    }

    #[test]
    fn the_image_of_a_build_is_known_by_its_names() {
        let named = |kind: &str, names: &str| {
            let mut exporter = Message::default();
            exporter.push(control::TYPE, kind.into());
            exporter.push_entry(control::ATTRS, b"name", names.as_bytes());
            exporter.to_bytes()
        };
        assert_eq!(images(CONTROL), Some(r#""t1""#.to_owned()));
        for (exporters, expected) in [
            (vec![], None),
            (vec![named("tar", "a")], None),
            (vec![exporter("moby", &[])], Some("")),
            (
                vec![named("moby", "b:1,a"), named("image", "b:1")],
                Some(r#""a", "b:1""#),
            ),
        ] {
            let mut request = Message::default();
            for exporter in exporters {
                request.push(control::EXPORTERS, exporter);
            }
            assert_eq!(images(&request.to_bytes()).as_deref(), expected);
        }
        let mut request = Message::default();
        request.push(control::OLD_EXPORTER, b"moby".to_vec());
        request.push_entry(control::OLD_EXPORTER_ATTRS, b"name", b"a");
        assert_eq!(images(&request.to_bytes()), Some(r#""a""#.to_owned()));
        assert_eq!(images(b"\x6a\x01\x0b"), None);

        let long = named("moby", &"x".repeat(1 << 20));
        let mut request = Message::default();
        request.push(control::EXPORTERS, long);
        let shown = images(&request.to_bytes()).unwrap();
        assert_eq!(shown.len(), MAX_SHOWN_IMAGES_CHARS);
    }

    #[test]
    fn builds_that_export_no_image_get_options_alone() {
        for kind in ["local", "tar"] {
            for (number, exporter) in [
                (control::EXPORTERS, exporter(kind, &[])),
                (control::OLD_EXPORTER, kind.into()),
                (control::OLD_EXPORTER, Vec::new()),
            ] {
                for frontend in ["gateway.v0", "dockerfile.v0"] {
                    let request = exporting(number, &exporter, frontend);
                    let bytes = label_control(&request.to_bytes(), &policy()).unwrap();
                    let mut after = Message::parse(&bytes).unwrap();
                    let options = entries(&mut after, control::FRONTEND_ATTRS);
                    assert_eq!(options, [OPTIONS[2], OPTIONS[4]]);
                }
            }
        }
    }

    #[test]
    fn a_part_without_frontend_has_no_options() {
        let request = b"\x0a\x02\x0a\x00\x5a\x02{}";
        assert_eq!(label_bridge(request, &policy()).unwrap(), request);
    }

    #[test]
    fn a_final_part_is_refused() {
        let status = label_bridge(b"\x50\x01", &policy()).unwrap_err();
        assert_eq!(status.code, StatusCode::FailedPrecondition);
        assert!(label_bridge(b"\x50\x01\x50\x00", &policy()).is_ok());
    }

    #[test]
    fn malformed_requests_are_refused() {
        for bytes in [
            &b"\x3a\x01"[..],
            b"\x30\x01",
            b"\x38\x01",
            b"\x6a\x01\x0b",
            b"\x07",
        ] {
            let status = label_control(bytes, &policy()).unwrap_err();
            assert_eq!(
                status.code,
                StatusCode::InvalidArgument,
                "{}",
                bytes.escape_ascii()
            );
        }
        for bytes in [&b"\x10\x01"[..], b"\x12\x01x\x18\x01", b"\x52\x00"] {
            let status = label_bridge(bytes, &policy()).unwrap_err();
            assert_eq!(
                status.code,
                StatusCode::InvalidArgument,
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
