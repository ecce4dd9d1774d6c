//! Taking back what a create has brought into being, and nothing else.

use std::fmt;

use crate::error::Refusal;
use crate::inject::expected::{Before, Check, Thing, volume_path};
use crate::inject::request::Create;
use crate::text::shown;

/// What could not be removed, each as it is told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Left(Vec<String>);

impl Left {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

/// Removes the container or pod with this ID, the volumes that were made for it, and those that were
/// made again without labels. `unlabelled` are volumes that go with the container if they are its
/// own.
pub(super) fn container(
    create: &mut Create<'_>,
    check: &Check,
    id: &str,
    remade: &[String],
    unlabelled: &[String],
) -> Left {
    let mut left = Left::default();
    let removed = match check.thing.filter(|_| !id.is_empty()) {
        Some(thing) => remove(create, thing, id),
        None => Err("its ID is not known".to_owned()),
    };
    if let Err(why) = removed {
        left.0.push(format!("the container {} ({why})", shown(id)));
        return left;
    }
    for name in remade {
        // It may be yet another one by now.
        match is_labelled(create, name) {
            Ok(Some(false)) => left.0.extend(remove_volume(create, name)),
            Ok(_) => (),
            Err(refusal) => left
                .0
                .push(format!("the volume {} ({refusal})", shown(name))),
        }
    }
    for name in &check.made {
        left.0.extend(remove_volume(create, name));
    }
    for name in unlabelled {
        if !matches!(is_labelled(create, name), Ok(None)) {
            left.0.push(format!("the volume {}", shown(name)));
        }
    }
    left
}

/// Removes the volumes that were made for a create that was refused, and names in the log those
/// that may have been there before.
pub(crate) fn abandon(create: &mut Create<'_>) {
    let check = std::mem::take(&mut create.check);
    for name in &check.made {
        if let Some(left) = remove_volume(create, name) {
            create.warn(&format!("left behind by a create that was refused: {left}"));
        }
    }
    let named = check.named.iter();
    let asked = named.filter(|(_, before)| **before == Before::Labelled);
    let names: Vec<String> = asked.take(10).map(|(name, _)| shown(name)).collect();
    if !names.is_empty() {
        create.warn(&format!(
            "a create was refused for which volumes were made or found: {}; they stay, labelled",
            names.join(", ")
        ));
    }
}

/// Removes a container or pod, and waits until it is seen gone.
fn remove(create: &mut Create<'_>, thing: Thing, id: &str) -> Result<(), String> {
    loop {
        // While another removal is under way the daemon refuses this one (409).
        let removed = create.ask("DELETE", &thing.removed_at(id));
        let why = match create.find(&thing.described_at(id)) {
            Ok(None) => return Ok(()),
            Ok(Some(_)) => match removed {
                Ok(answer) => format!("the daemon answered {}", answer.status),
                Err(refusal) => refusal.message,
            },
            Err(refusal) => refusal.message,
        };
        if !create.pause() {
            return Err(why);
        }
    }
}

/// Removes a volume unless it is in use. Returns what is told of it if it stays.
fn remove_volume(create: &mut Create<'_>, name: &str) -> Option<String> {
    let why = match create.ask("DELETE", &volume_path(name)) {
        Ok(answer) if matches!(answer.status, 200..300 | 404) => return None,
        Ok(answer) if answer.status == 409 => "it is in use".to_owned(),
        Ok(answer) => format!("the daemon answered {}", answer.status),
        Err(refusal) => refusal.message,
    };
    Some(format!("the volume {} ({why})", shown(name)))
}

/// Whether a volume has the operator's labels, or `None` where there is none.
fn is_labelled(create: &mut Create<'_>, name: &str) -> Result<Option<bool>, Refusal> {
    let Some(answer) = create.find(&volume_path(name))? else {
        return Ok(None);
    };
    let labels = answer.read(|volume| volume.string_map("Labels"))?;
    Ok(Some(create.labels().are_in(&labels)))
}
