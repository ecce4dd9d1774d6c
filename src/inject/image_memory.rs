//! What the daemon has said of images that containers are made of, so that it need not be asked each
//! time. A tag may have moved since: who relies on this checks the container that it gets.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits::{MAX_REMEMBERED_IMAGE_BYTES, MAX_REMEMBERED_IMAGES};

/// What the daemon says of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Image {
    /// Its ID, as the daemon writes it.
    pub(crate) id: String,
    /// The paths of its volumes.
    pub(crate) volumes: Vec<String>,
    /// Whether the daemon is Podman.
    pub(crate) is_podman: bool,
}

/// What an image was asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageKey {
    /// The path of the API below which it was asked for.
    pub(crate) images: &'static str,
    /// Its name, as the client gave it.
    pub(crate) name: String,
    /// The platform as JSON, or nothing.
    pub(crate) platform: String,
}

/// The images that are remembered, the latest last.
#[derive(Debug, Default)]
pub(crate) struct ImageMemory {
    entries: Mutex<VecDeque<(ImageKey, Image)>>,
}

impl ImageMemory {
    /// What the daemon said when it was last asked.
    pub(crate) fn recall(&self, key: &ImageKey) -> Option<Image> {
        let entries = self.entries();
        let found = entries.iter().find(|(known, _)| known == key);
        found.map(|(_, image)| image.clone())
    }

    /// Remembers what the daemon says, if that is small, in place of the oldest where there are too
    /// many.
    pub(crate) fn remember(&self, key: ImageKey, image: Image) {
        self.forget(&key);
        let paths: usize = image.volumes.iter().map(String::len).sum();
        if key.name.len() + key.platform.len() + image.id.len() + paths > MAX_REMEMBERED_IMAGE_BYTES
        {
            return;
        }
        let mut entries = self.entries();
        if entries.len() == MAX_REMEMBERED_IMAGES {
            entries.pop_front();
        }
        entries.push_back((key, image));
    }

    /// Forgets what has turned out to be wrong.
    pub(crate) fn forget(&self, key: &ImageKey) {
        self.entries().retain(|(known, _)| known != key);
    }

    /// Entries are whole at any time, so a panic elsewhere leaves them as good as before.
    fn entries(&self) -> MutexGuard<'_, VecDeque<(ImageKey, Image)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ImageKey {
        ImageKey {
            images: "/images",
            name: name.to_owned(),
            platform: String::new(),
        }
    }

    fn image(path: &str) -> Image {
        Image {
            volumes: vec![path.to_owned()],
            ..Image::default()
        }
    }

    #[test]
    fn an_image_is_remembered_by_all_that_it_was_asked_for_by() {
        let memory = ImageMemory::default();
        memory.remember(key("a"), image("/old"));
        memory.remember(key("a"), image("/new"));
        assert_eq!(memory.recall(&key("a")), Some(image("/new")));
        let other = ImageKey {
            platform: "{}".to_owned(),
            ..key("a")
        };
        assert_eq!(memory.recall(&other), None);
        let other = ImageKey {
            images: "/libpod/images",
            ..key("a")
        };
        assert_eq!(memory.recall(&other), None);
        memory.forget(&key("a"));
        assert_eq!(memory.recall(&key("a")), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let memory = ImageMemory::default();
        for n in 0..=MAX_REMEMBERED_IMAGES {
            memory.remember(key(&n.to_string()), image("/v"));
        }
        assert_eq!(memory.recall(&key("0")), None, "the oldest goes");
        assert_eq!(memory.recall(&key("1")), Some(image("/v")));
        assert_eq!(memory.entries().len(), MAX_REMEMBERED_IMAGES);
        memory.remember(key("large"), image(&"x".repeat(MAX_REMEMBERED_IMAGE_BYTES)));
        assert_eq!(memory.recall(&key("large")), None);
    }
}
