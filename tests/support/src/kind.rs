//! The kinds of objects that every engine has and that carry labels.

use std::fmt;

/// What a create makes. Displayed as the singular that API paths are built from: `/{kind}s/...`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container.
    Container,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
}

impl Kind {
    /// All kinds, users before what they use: removed in this order, nothing is still in use.
    pub const ALL: [Kind; 4] = [Kind::Container, Kind::Image, Kind::Network, Kind::Volume];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Container => "container",
            Kind::Image => "image",
            Kind::Network => "network",
            Kind::Volume => "volume",
        })
    }
}
