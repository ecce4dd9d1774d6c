//! A JSON object: its members in document order, and what a daemon finds in them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::decode::{NAME_NOT_UNICODE, decode, decode_as};
use super::error::{Error, MemberError};
use super::names::{Field, Name, Readers};

/// A JSON object: its members in document order, names and values as their JSON text.
#[derive(Debug, Default)]
pub(crate) struct Object<'a> {
    pub(super) members: Vec<Member<'a>>,
    /// Whether a member has been written or removed since it was read.
    pub(super) is_changed: bool,
}

#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) name: Name<'a>,
    pub(super) value: Cow<'a, str>,
}

impl<'a> Object<'a> {
    /// Parses an object. `null` and nothing but white space are `None`.
    ///
    /// # Errors
    /// [`Error::NotJson`], [`Error::NotAnObject`] or [`Error::NameNotUnicode`].
    pub(crate) fn parse(text: &'a [u8]) -> Result<Option<Object<'a>>, Error> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(text).map_err(|err| match err.classify() {
            Category::Data if err.to_string().starts_with(NAME_NOT_UNICODE) => {
                Error::NameNotUnicode
            }
            Category::Data => Error::NotAnObject,
            _ => Error::NotJson(err.to_string()),
        })
    }

    /// The values of all members that a daemon would decode into the field `name`, in document
    /// order.
    ///
    /// # Errors
    /// [`MemberError::Ambiguous`]
    pub(super) fn values(&self, name: &'static str) -> Result<Vec<&Cow<'a, str>>, MemberError> {
        let field = Field::new(name);
        let mut values = Vec::new();
        for member in &self.members {
            match field.readers(&member.name) {
                Readers::None => (),
                Readers::All => values.push(&member.value),
                Readers::Go | Readers::JsonIterator => {
                    return Err(MemberError::ambiguous(name, &member.name.text));
                }
            }
        }
        Ok(values)
    }

    /// The text of the only value for `name`, or `None` where it is missing or `null`.
    pub(super) fn text(&self, name: &'static str) -> Result<Option<&Cow<'a, str>>, MemberError> {
        match self.values(name)?[..] {
            [] => Ok(None),
            [value] => Ok(Some(value).filter(|value| **value != "null")),
            _ => Err(MemberError::Repeated { name }),
        }
    }

    /// The JSON text of the only value for `name`, or `None` where it is missing or `null`.
    ///
    /// # Errors
    /// [`MemberError::Repeated`] or [`MemberError::Ambiguous`].
    pub(crate) fn sole(&self, name: &'static str) -> Result<Option<&str>, MemberError> {
        Ok(self.text(name)?.map(|value| &**value))
    }

    /// The only value for `name`, decoded; a missing one is the default. `expected` says what it
    /// must be, such as `a list of strings`.
    ///
    /// # Errors
    /// As [`sole`](Self::sole), and [`MemberError::Value`] when it is something else.
    pub(crate) fn get<'o, T: Deserialize<'o> + Default>(
        &'o self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<T, MemberError> {
        match self.sole(name)? {
            None => Ok(T::default()),
            Some(value) => {
                decode_as(value, expected).map_err(|error| MemberError::value(name, error))
            }
        }
    }

    /// The values for `name`, merged as in [`string_map`].
    ///
    /// # Errors
    /// [`MemberError::Ambiguous`], and [`MemberError::Value`] when one is not an object of
    /// strings.
    pub(crate) fn string_map(
        &self,
        name: &'static str,
    ) -> Result<Vec<(String, String)>, MemberError> {
        let values = self.values(name)?.into_iter().map(|value| &**value);
        string_map(values).map_err(|error| MemberError::value(name, error))
    }

    /// The last value for `name`, if it can be decoded.
    pub(crate) fn last<'o, T: Deserialize<'o>>(&'o self, name: &'static str) -> Option<T> {
        decode(self.values(name).ok()?.last()?)
    }

    /// The names of the members, decoded.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.members.iter().map(|member| &member.name.text);
        // An object with a name that cannot be decoded is not parsed.
        names.map(|name| decode(name).unwrap_or_default()).collect()
    }

    /// The members: the JSON text of the name, and of the value.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        self.members
            .iter()
            .map(|member| (&*member.name.text, &*member.value))
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.members().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{name}:{value}")?;
        }
        f.write_str("}")
    }
}

/// Takes objects only; `null` is `None` to [`Option`].
impl<'a> Deserialize<'a> for Object<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'a> Visitor<'a> for Members {
            type Value = Object<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Object<'a>, A::Error> {
                let mut object = Object::default();
                while let Some((name, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    if decode::<Cow<'_, str>>(name.get()).is_none() {
                        return Err(serde::de::Error::custom(NAME_NOT_UNICODE));
                    }
                    object.members.push(Member {
                        name: Name::new(Cow::Borrowed(name.get())),
                        value: Cow::Borrowed(value.get()),
                    });
                }
                Ok(object)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Reads values as Go decodes them one after the other into one `map[string]string`: members
/// merge, the later wins, `null` empties the map and a `null` member is an empty string.
///
/// # Errors
/// When a value is neither `null` nor an object of strings.
pub(crate) fn string_map<'v>(
    values: impl Iterator<Item = &'v str>,
) -> Result<Vec<(String, String)>, Error> {
    const EXPECTED: &str = "an object of strings";
    let mut map: Vec<(String, String)> = Vec::new();
    // Where each name is: a body has room for hundreds of thousands.
    let mut places: HashMap<String, usize> = HashMap::new();
    for value in values {
        let object: Option<Object<'_>> = decode_as(value, EXPECTED)?;
        let Some(object) = object else {
            map.clear();
            places.clear();
            continue;
        };
        for (name, value) in object.members() {
            let name: String = decode_as(name, EXPECTED)?;
            let value: Option<String> = decode_as(value, EXPECTED)?;
            let value = value.unwrap_or_default();
            match places.get(&name) {
                Some(&place) => map[place].1 = value,
                None => {
                    places.insert(name.clone(), map.len());
                    map.push((name, value));
                }
            }
        }
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_object_or_null_is_taken() {
        assert!(Object::parse(b"null").unwrap().is_none());
        assert!(Object::parse(b" \r\n").unwrap().is_none());
        for text in [&b"[]"[..], b"\"x\"", b"1"] {
            assert_eq!(Object::parse(text).unwrap_err(), Error::NotAnObject);
        }
        assert_eq!(
            Object::parse(b"{\"\\ud800\":1}").unwrap_err(),
            Error::NameNotUnicode
        );
        for text in [
            &b"{} {}"[..],
            b"{}}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":\"\x01\"}",
            b"{\"a\":1,}",
            b"{\"a\"",
        ] {
            let err = Object::parse(text).unwrap_err();
            assert!(
                matches!(err, Error::NotJson(_)),
                "{}: {err}",
                text.escape_ascii()
            );
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
    fn a_member_that_decides_is_given_once() {
        let text = r#"{"a":1,"A":2,"b":null,"c":"x","d":"\ud800","e":{"\ud800":1}}"#;
        let object = Object::parse(text.as_bytes()).unwrap().unwrap();
        let repeated = Err(MemberError::Repeated { name: "a" });
        assert_eq!(object.sole("a"), repeated);
        assert_eq!(object.sole("b"), Ok(None));
        assert_eq!(object.get("c", "a string"), Ok("x"));
        let given = object.get::<Vec<String>>("c", "a list");
        assert_eq!(given, Err(MemberError::wrong_type("c", "a list")));
        for (name, error) in [
            ("d", Error::StringNotUnicode),
            ("e", Error::WrongType("a string")),
        ] {
            let given = object.get::<String>(name, "a string").unwrap_err();
            assert_eq!(given, MemberError::Value { name, error });
        }
        let given = object.get::<Object<'_>>("e", "an object").unwrap_err();
        let error = Error::NameNotUnicode;
        assert_eq!(given, MemberError::Value { name: "e", error });
    }

    #[test]
    fn errors_say_what_is_wrong_with_which_member() {
        let text = format!(r#"{{"a":1,"A":2,"B{}\u0130":"x"}}"#, "\\u017f".repeat(100));
        let object = Object::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(
            object.sole("a").unwrap_err().to_string(),
            "the member a is given twice, in whatever case; give it once"
        );
        assert_eq!(
            MemberError::wrong_type("a", "a list").to_string(),
            "a must be a list"
        );
        let long: &'static str = Box::leak(format!("b{}i", "s".repeat(100)).into_boxed_str());
        let err = object.sole(long).unwrap_err().to_string();
        let end = format!("\\u is {long} to some daemons and nothing to others; write \"{long}\"");
        assert!(err.starts_with("the name \"B\\u017f\\u017f"), "{err}");
        assert!(err.len() < 400, "{err}");
        assert!(err.ends_with(&end[3..]), "{err}");
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
        for wrong in [r#"{"a":1}"#, "[]", "\"x\""] {
            assert_eq!(map(&[wrong]), Err(Error::WrongType("an object of strings")));
        }
    }
}
