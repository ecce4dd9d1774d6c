//! JSON objects as the daemon reads them, edited so that everything else keeps its exact text:
//! order, digits and escapes of the members that are not ours. Knows how Go's `encoding/json`
//! and Podman's json-iterator find a struct field; leaves what the members mean to others.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::same_but_for_case;

const NOT_UNICODE: &str = "a name that is not valid Unicode";

/// A JSON object: its members in document order, keys and values as their JSON text.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    members: Vec<Member<'a>>,
}

#[derive(Debug)]
struct Member<'a> {
    key: Cow<'a, str>,
    value: Cow<'a, str>,
    /// What json-iterator knows the key by; see [`key_hash`]. Of hundreds of thousands of keys
    /// each may be looked at for dozens of names.
    hash: u64,
    /// Whether the key is plain ASCII: then all find a field by it, or json-iterator alone.
    is_plain: bool,
}

impl<'a> Member<'a> {
    fn new(key: Cow<'a, str>, value: Cow<'a, str>) -> Member<'a> {
        Member {
            hash: key_hash(&key),
            is_plain: key.is_ascii() && !key.contains('\\'),
            key,
            value,
        }
    }
}

impl<'a> Object<'a> {
    /// Parses an object, or `null` or nothing but white space as `None`.
    ///
    /// # Errors
    /// When the text is no JSON, has more than one value, or is neither an object nor `null`, or
    /// when a name has half a surrogate pair, which daemons read as U+FFFD.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Option<Object<'a>>, String> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(text).map_err(|err| match err.classify() {
            serde_json::error::Category::Data if err.to_string().starts_with(NOT_UNICODE) => {
                format!("a JSON object with {NOT_UNICODE}")
            }
            serde_json::error::Category::Data => "not a JSON object".to_owned(),
            _ => format!("not valid JSON: {err}"),
        })
    }

    /// The values of all members that a daemon would decode into the struct field `name`, in
    /// document order.
    ///
    /// # Errors
    /// When one is that field to some daemons only; the error says which, and what to write.
    pub(crate) fn values(&self, name: &str) -> Result<Vec<&str>, String> {
        let field = Field::new(name);
        let mut values = Vec::new();
        for member in &self.members {
            match field.readers(member) {
                Readers::None => (),
                Readers::All => values.push(&*member.value),
                Readers::Go | Readers::JsonIterator => {
                    return Err(format!(
                        "the name {} is {name} to some daemons and nothing to others; write \"{name}\"",
                        member.key
                    ));
                }
            }
        }
        Ok(values)
    }

    /// Writes the names by which Go finds the struct field `name` such that all daemons do.
    pub(crate) fn respell(&mut self, name: &str) {
        let field = Field::new(name);
        for member in &mut self.members {
            if field.readers(member) == Readers::Go {
                *member = Member::new(Cow::Owned(string(name)), member.value.clone());
            }
        }
    }

    /// Removes all members that any daemon would decode into the struct field `name`.
    pub(crate) fn remove(&mut self, name: &str) {
        let field = Field::new(name);
        self.members
            .retain(|member| field.readers(member) == Readers::None);
    }

    /// Makes `name` the last member, with this JSON text as its value, in place of all that
    /// [`remove`](Self::remove) takes away.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        let key = Cow::Owned(string(name));
        self.members.push(Member::new(key, Cow::Owned(value)));
    }

    /// The members: the JSON text of the key, and of the value.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|member| (&*member.key, &*member.value))
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (key, value)) in self.members().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{key}:{value}")?;
        }
        f.write_str("}")
    }
}

/// `null` is `None` to [`Option`], so this sees objects only.
impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'a> Visitor<'a> for Members {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    if decode::<Cow<'_, str>>(key.get()).is_none() {
                        return Err(serde::de::Error::custom(NOT_UNICODE));
                    }
                    let (key, value) = (Cow::Borrowed(key.get()), Cow::Borrowed(value.get()));
                    members.push(Member::new(key, value));
                }
                Ok(Object { members })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// The JSON text of a string.
pub(crate) fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Decodes the JSON text of a value.
pub(crate) fn decode<'t, T: Deserialize<'t>>(text: &'t str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// Decodes the JSON text of a value that should be `expected`.
///
/// # Errors
/// When it is not; the error says what is wrong, to be put behind the name of the field.
pub(crate) fn decode_as<'t, T: Deserialize<'t>>(
    text: &'t str,
    expected: &str,
) -> Result<T, String> {
    serde_json::from_str(text).map_err(|err| match err.to_string() {
        what if what.starts_with(NOT_UNICODE) => format!("has {NOT_UNICODE}"),
        // Half of a surrogate pair.
        what if what.contains("hex escape") => "has text that is not valid Unicode".to_owned(),
        _ => format!("must be {expected}"),
    })
}

/// A field of a struct that a daemon decodes an object into; its name is ASCII.
struct Field<'n> {
    name: &'n str,
    /// What json-iterator knows the field by: the hashes of its name and of that in lower case
    /// (`createStructDecoder`).
    hashes: [u64; 2],
}

/// Who takes a member for a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    None,
    All,
    Go,
    JsonIterator,
}

impl Field<'_> {
    fn new(name: &str) -> Field<'_> {
        let hash = |name: &str| json_iterator_hash(name.bytes().map(u32::from));
        let hashes = [hash(name), hash(&name.to_ascii_lowercase())];
        Field { name, hashes }
    }

    /// Who takes the member for this field. Go's `encoding/json` wants the same name but for case,
    /// where U+017F folds to `s` and U+212A to `k` (`foldName`). Podman reads some bodies with
    /// json-iterator, which does not fold U+017F, makes U+0130 an `i` (`strings.ToLower`), and knows
    /// the fields of small structs by a hash alone, for which anybody can find another name.
    fn readers(&self, member: &Member<'_>) -> Readers {
        let is_hash = self.hashes.contains(&member.hash);
        if member.is_plain && !is_hash {
            return Readers::None;
        }
        let key: Cow<'_, str> = decode(&member.key).unwrap_or_default();
        if key.eq_ignore_ascii_case(self.name) {
            Readers::All
        } else if same_but_for_case(&key, self.name) {
            Readers::Go
        } else if is_hash || same_but_for_case(&key.replace('\u{130}', "i"), self.name) {
            Readers::JsonIterator
        } else {
            Readers::None
        }
    }
}

/// What json-iterator knows a key by (its JSON text, quotes and all): the hash of its letters in
/// lower case (`readFieldHash`), which takes in bytes up to the first escape, and whole characters
/// from there on.
fn key_hash(key: &str) -> u64 {
    let key = key.trim_matches('"');
    let (plain, escaped) = key.split_at(key.find('\\').unwrap_or(key.len()));
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

/// Reads values as Go decodes them one after the other into one `map[string]string`: members
/// merge, the later wins, `null` empties the map and a `null` member is an empty string.
///
/// # Errors
/// When a value is neither `null` nor an object of strings; the error says what it is, to be put
/// behind the name of the field.
pub(crate) fn string_map<'v>(
    values: impl Iterator<Item = &'v str>,
) -> Result<Vec<(String, String)>, String> {
    const EXPECTED: &str = "an object of strings";
    let mut map: Vec<(String, String)> = Vec::new();
    // Where each key is: a body has room for hundreds of thousands.
    let mut places: HashMap<String, usize> = HashMap::new();
    for value in values {
        let object: Option<Object<'_>> = decode_as(value, EXPECTED)?;
        let Some(object) = object else {
            map.clear();
            places.clear();
            continue;
        };
        for (key, value) in object.members() {
            let key: String = decode_as(key, EXPECTED)?;
            let value: Option<String> = decode_as(value, EXPECTED)?;
            let value = value.unwrap_or_default();
            match places.get(&key) {
                Some(&place) => map[place].1 = value,
                None => {
                    places.insert(key.clone(), map.len());
                    map.push((key, value));
                }
            }
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(key: &str, name: &str) -> Readers {
        Field::new(name).readers(&Member::new(format!("\"{key}\"").into(), "0".into()))
    }

    #[test]
    fn what_is_not_edited_keeps_its_text() {
        let text = r#"{ "z":1.0e+2 ,"Labels":{},"a" : 12345678901234567890123, "\u0061":[ {"x" : null} ],"b":"\ud800"}"#;
        let mut object = Object::parse(text.as_bytes()).unwrap().unwrap();
        object.set("Labels", "{}".to_owned());
        assert_eq!(
            object.to_string(),
            r#"{"z":1.0e+2,"a":12345678901234567890123,"\u0061":[ {"x" : null} ],"b":"\ud800","Labels":{}}"#
        );
    }

    #[test]
    fn a_field_is_found_by_its_name_in_any_case() {
        for key in ["Labels", "labels", "LABELS", "\\u004cabels", "\\u006Cabels"] {
            assert_eq!(readers(key, "Labels"), Readers::All, "{key}");
        }
        for key in ["Label", "Labels ", "La-bels", "Lab\u{e9}ls", ""] {
            assert_eq!(readers(key, "Labels"), Readers::None, "{key}");
        }
    }

    #[test]
    fn a_name_that_is_a_field_to_some_daemons_only_is_told() {
        for (key, name, expected) in [
            ("Label\u{17f}", "Labels", Readers::Go),
            ("LABEL\\u017f", "Labels", Readers::Go),
            ("networ\u{212a}ingconfig", "NetworkingConfig", Readers::Go),
            ("B\u{130}nds", "Binds", Readers::JsonIterator),
            ("B\\u0130nd\u{17f}", "Binds", Readers::JsonIterator),
        ] {
            assert_eq!(readers(key, name), expected, "{key}");
            let text = format!("{{\"{key}\":1}}");
            let mut object = Object::parse(text.as_bytes()).unwrap().unwrap();
            let err = object.values(name).unwrap_err();
            let end = format!("to others; write \"{name}\"");
            assert!(err.contains(key) && err.ends_with(&end), "{err}");
            object.respell(name);
            match expected {
                Readers::Go => assert_eq!(object.values(name), Ok(vec!["1"])),
                _ => assert_eq!(object.values(name), Err(err)),
            }
            object.remove(name);
            assert_eq!(object.to_string(), "{}");
        }
    }

    #[test]
    fn a_name_with_the_hash_of_a_field_is_that_to_json_iterator() {
        // Found by trying; with the first character as an escape.
        for (key, name) in [
            ("\\u5a31\u{5db7}\u{daf9e}\u{8b6f3}", "labels"),
            ("\\u5a31\\u5db7\\udb2b\\udf9e\\ud9ed\\udef3", "Labels"),
            ("\\u55e0\u{64c8}\u{870d9}\u{a06a6}", "Name"),
            ("\\u8431\u{89f2}\u{4392e}\u{8826e}", "Name"),
            ("\\u5761\u{6b78}\u{ae676}\u{6ce09}", "Dest"),
        ] {
            assert_eq!(readers(key, name), Readers::JsonIterator, "{key}");
            // Without an escape it is bytes that count.
            assert_eq!(readers(&key[6..], name), Readers::None, "{key}");
            assert_eq!(readers(key, "Volumes"), Readers::None, "{key}");
        }
        assert_eq!(readers("N\\u0041ME", "name"), Readers::All);
    }

    #[test]
    fn only_one_object_or_null_is_taken() {
        assert!(Object::parse(b"null").unwrap().is_none());
        assert!(Object::parse(b" \r\n").unwrap().is_none());
        for (text, expected) in [
            (&b"[]"[..], "not a JSON object"),
            (b"\"x\"", "not a JSON object"),
            (b"{} {}", "not valid JSON"),
            (b"{}}", "not valid JSON"),
            (b"\xef\xbb\xbf{}", "not valid JSON"),
            (b"{\"a\":\"\xff\"}", "not valid JSON"),
            (b"{\"a\":\"\x01\"}", "not valid JSON"),
            (b"{\"a\":1,}", "not valid JSON"),
            (b"{\"a\"", "not valid JSON"),
            (
                b"{\"\\ud800\":1}",
                "a JSON object with a name that is not valid Unicode",
            ),
        ] {
            let err = Object::parse(text).unwrap_err();
            assert!(err.starts_with(expected), "{}: {err}", text.escape_ascii());
        }
    }

    #[test]
    fn deep_nesting_is_carried_along() {
        let deep = format!("{{\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            Object::parse(deep.as_bytes()).unwrap().unwrap().to_string(),
            deep
        );
    }

    #[test]
    fn maps_merge_in_document_order() {
        let map = |values: &[&str]| string_map(values.iter().copied());
        let pairs = |list: &[(&str, &str)]| {
            Ok(list
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect::<Vec<_>>())
        };
        assert_eq!(
            map(&[r#"{"a":"1","b":null}"#, r#"{"a":"2"}"#]),
            pairs(&[("a", "2"), ("b", "")])
        );
        assert_eq!(
            map(&[r#"{"a":"1"}"#, "null", r#"{"c":"3"}"#]),
            pairs(&[("c", "3")])
        );
        assert_eq!(map(&[]), pairs(&[]));
        assert_eq!(
            map(&[r#"{"a":1}"#]),
            Err("must be an object of strings".to_owned())
        );
        assert_eq!(map(&["[]"]), Err("must be an object of strings".to_owned()));
        assert_eq!(
            map(&["\"x\""]),
            Err("must be an object of strings".to_owned())
        );
    }
}
