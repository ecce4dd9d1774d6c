//! How daemons find the field of a struct that a name in a JSON object stands for. In that, Go's
//! `encoding/json` differs from json-iterator, with which Podman reads some bodies.

use std::borrow::Cow;

use super::decode::decode;
use crate::text::same_but_for_case;

/// A name in an object.
#[derive(Debug)]
pub(super) struct Name<'a> {
    /// Its JSON text, quotes and escapes included.
    pub(super) text: Cow<'a, str>,
    /// What json-iterator knows it by, see [`name_hash`]. Kept, since each of hundreds of thousands
    /// of names may be looked at for dozens of fields.
    hash: u64,
    /// Whether it is plain ASCII. All daemons find a field by such a name, or only json-iterator.
    is_plain: bool,
}

impl<'a> Name<'a> {
    pub(super) fn new(text: Cow<'a, str>) -> Name<'a> {
        Name {
            hash: name_hash(&text),
            is_plain: text.is_ascii() && !text.contains('\\'),
            text,
        }
    }
}

/// A field of a struct that a daemon decodes an object into. Its name is ASCII.
pub(super) struct Field<'n> {
    name: &'n str,
    /// What json-iterator knows the field by: the hashes of its name and of that in lower case
    /// (`createStructDecoder`).
    hashes: [u64; 2],
}

/// Who takes a name for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Readers {
    None,
    All,
    Go,
    JsonIterator,
}

impl Field<'_> {
    pub(super) fn new(name: &str) -> Field<'_> {
        let hash = |name: &str| json_iterator_hash(name.bytes().map(u32::from));
        let hashes = [hash(name), hash(&name.to_ascii_lowercase())];
        Field { name, hashes }
    }

    /// Tells who takes the name for this field. Go's `encoding/json` wants the same name but for
    /// case, where U+017F folds to `s` and U+212A to `k` (`foldName`). json-iterator does not fold
    /// U+017F, makes U+0130 an `i` (`strings.ToLower`), and knows the fields of small structs by a
    /// hash alone, for which anybody can find another name.
    pub(super) fn readers(&self, name: &Name<'_>) -> Readers {
        let is_hash = self.hashes.contains(&name.hash);
        if name.is_plain && !is_hash {
            return Readers::None;
        }
        let given: Cow<'_, str> = decode(&name.text).unwrap_or_default();
        if given.eq_ignore_ascii_case(self.name) {
            Readers::All
        } else if same_but_for_case(&given, self.name) {
            Readers::Go
        } else if is_hash || same_but_for_case(&given.replace('\u{130}', "i"), self.name) {
            Readers::JsonIterator
        } else {
            Readers::None
        }
    }
}

/// What json-iterator knows a name by (its JSON text, quotes and all): the hash of its letters in
/// lower case (`readFieldHash`), which takes in bytes up to the first escape, and whole characters
/// from there on.
fn name_hash(text: &str) -> u64 {
    let name = text.trim_matches('"');
    let (plain, escaped) = name.split_at(name.find('\\').unwrap_or(name.len()));
    let escaped: String = match escaped {
        "" => String::new(),
        _ => decode(&format!("\"{escaped}\"")).unwrap_or_default(),
    };
    let plain = plain.bytes().map(u32::from);
    let units = plain.chain(escaped.chars().map(u32::from));
    json_iterator_hash(units.map(|unit| match unit {
        0x41..=0x5a => unit + 0x20,
        _ => unit,
    }))
}

/// FNV-1a with the constants for 32 bits in 64.
fn json_iterator_hash(units: impl Iterator<Item = u32>) -> u64 {
    units.fold(0x811c_9dc5, |hash, unit| {
        (hash ^ u64::from(unit)).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(name: &str, field: &str) -> Readers {
        Field::new(field).readers(&Name::new(format!("\"{name}\"").into()))
    }

    #[test]
    fn a_field_is_found_by_its_name_in_any_case() {
        for name in ["Labels", "labels", "LABELS", "\\u004cabels", "\\u006Cabels"] {
            assert_eq!(readers(name, "Labels"), Readers::All, "{name}");
        }
        for name in ["Label", "Labels ", "La-bels", "Lab\u{e9}ls", ""] {
            assert_eq!(readers(name, "Labels"), Readers::None, "{name}");
        }
    }

    #[test]
    fn a_name_may_be_a_field_to_some_daemons_only() {
        for (name, field, expected) in [
            ("Label\u{17f}", "Labels", Readers::Go),
            ("LABEL\\u017f", "Labels", Readers::Go),
            ("networ\u{212a}ingconfig", "NetworkingConfig", Readers::Go),
            ("B\u{130}nds", "Binds", Readers::JsonIterator),
            ("B\\u0130nd\u{17f}", "Binds", Readers::JsonIterator),
        ] {
            assert_eq!(readers(name, field), expected, "{name}");
        }
    }

    #[test]
    fn a_name_with_the_hash_of_a_field_is_that_to_json_iterator() {
        // Found by trying; with the first character as an escape.
        for (name, field) in [
            ("\\u5a31\u{5db7}\u{daf9e}\u{8b6f3}", "labels"),
            ("\\u5a31\\u5db7\\udb2b\\udf9e\\ud9ed\\udef3", "Labels"),
            ("\\u55e0\u{64c8}\u{870d9}\u{a06a6}", "Name"),
            ("\\u8431\u{89f2}\u{4392e}\u{8826e}", "Name"),
            ("\\u5761\u{6b78}\u{ae676}\u{6ce09}", "Dest"),
        ] {
            assert_eq!(readers(name, field), Readers::JsonIterator, "{name}");
            // Without an escape it is bytes that count.
            assert_eq!(readers(&name[6..], field), Readers::None, "{name}");
            assert_eq!(readers(name, "Volumes"), Readers::None, "{name}");
        }
        assert_eq!(readers("N\\u0041ME", "name"), Readers::All);
    }
}
