//! Editing the members of an object, and lists of objects in them. What is not edited keeps its text
//! and its place.

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

use super::decode::decode_as;
use super::error::{Error, MemberError};
use super::names::{Field, Name, Readers};
use super::object::{Member, Object};
use super::write::{self, string};

impl<'a> Object<'a> {
    /// Respells the names by which only Go finds the field `name`, for all daemons to find it.
    pub(crate) fn respell(&mut self, name: &str) {
        let field = Field::new(name);
        for member in &mut self.members {
            if field.readers(&member.name) == Readers::Go {
                member.name = Name::new(Cow::Owned(string(name)));
                self.is_changed = true;
            }
        }
    }

    /// Removes all members that any daemon would decode into the field `name`.
    pub(crate) fn remove(&mut self, name: &str) {
        let field = Field::new(name);
        let before = self.members.len();
        self.members
            .retain(|member| field.readers(&member.name) == Readers::None);
        self.is_changed |= self.members.len() < before;
    }

    /// Makes `name` the last member, with this JSON text as its value, in place of all that
    /// [`remove`](Self::remove) takes away.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        self.remove(name);
        self.members.push(Member {
            name: Name::new(Cow::Owned(string(name))),
            value: Cow::Owned(value),
        });
        self.is_changed = true;
    }

    /// Makes `name` the last member, with an object of these names and strings as its value.
    pub(crate) fn set_map(&mut self, name: &str, pairs: &[(String, String)]) {
        let pairs = pairs.iter().map(|(name, value)| (&**name, &**value));
        self.set(name, write::map(pairs));
    }

    /// Edits the object in the member `name`, and writes it as the last member if that changed it.
    /// A missing one, or `null`, is an empty object.
    ///
    /// # Errors
    /// As [`get`](Self::get), and those of `edit`.
    pub(crate) fn edit<E: From<MemberError>>(
        &mut self,
        name: &'static str,
        edit: impl FnOnce(&mut Object<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut member: Object<'_> = self.get(name, OBJECT)?;
        edit(&mut member)?;
        if member.is_changed {
            let text = member.to_string();
            self.set(name, text);
        }
        Ok(())
    }

    /// The list of objects in the member `name`, for [`set_list`](Self::set_list). A missing one,
    /// or `null`, is empty.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub(crate) fn list(&self, name: &'static str) -> Result<List<'a>, MemberError> {
        Ok(match self.text(name)? {
            None => List::new(name),
            Some(Cow::Borrowed(text)) => List::parse(name, text)?,
            Some(Cow::Owned(text)) => List::parse(name, text)?.into_owned(),
        })
    }

    /// Writes the list as the last member if it was changed.
    pub(crate) fn set_list(&mut self, list: &List<'_>) {
        if list.is_changed {
            self.set(list.name, list.to_string());
        }
    }
}

/// A list of objects or `null`, as the JSON text of its entries, each of which is parsed when it is
/// looked at: a body has room for hundreds of thousands.
#[derive(Debug)]
pub(crate) struct List<'a> {
    name: &'static str,
    entries: Vec<Cow<'a, str>>,
    is_changed: bool,
}

impl<'a> List<'a> {
    fn new(name: &'static str) -> List<'a> {
        List {
            name,
            entries: Vec::new(),
            is_changed: false,
        }
    }

    /// Reads the list that is called `name`. `null` is an empty one.
    ///
    /// # Errors
    /// When the text is neither.
    pub(crate) fn parse(name: &'static str, text: &'a str) -> Result<List<'a>, MemberError> {
        let entries = decode_as::<Option<Vec<&RawValue>>>(text, "a list of objects")
            .map_err(|error| MemberError::value(name, error))?;
        let entries = entries.unwrap_or_default().into_iter();
        Ok(List {
            entries: entries.map(|entry| Cow::Borrowed(entry.get())).collect(),
            ..List::new(name)
        })
    }

    fn into_owned<'b>(self) -> List<'b> {
        let entries = self.entries.into_iter();
        List {
            name: self.name,
            entries: entries.map(|text| Cow::Owned(text.into_owned())).collect(),
            is_changed: self.is_changed,
        }
    }

    /// The error that an entry is not an object.
    pub(crate) fn wrong_entry(&self) -> MemberError {
        MemberError::entry(self.name, Error::WrongType(OBJECT))
    }

    /// Whether an entry has been edited or added.
    pub(crate) fn is_changed(&self) -> bool {
        self.is_changed
    }

    /// The entries in their order; `None` is `null`.
    ///
    /// # Errors
    /// Where an entry is neither an object nor `null`.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Result<Option<Object<'_>>, MemberError>> {
        self.entries.iter().map(|entry| parse(self.name, entry))
    }

    /// Edits each entry but `null`.
    ///
    /// # Errors
    /// When an entry is neither an object nor `null`, and those of `edit`.
    pub(crate) fn edit_each<E: From<MemberError>>(
        &mut self,
        mut edit: impl FnMut(&mut Object<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        (0..self.entries.len()).try_for_each(|index| self.edit_entry(index, &mut edit))
    }

    /// Edits the entry at this index, if it is not `null`.
    ///
    /// # Errors
    /// As [`edit_each`](Self::edit_each).
    ///
    /// # Panics
    /// When there is no such entry.
    pub(crate) fn edit_entry<E: From<MemberError>>(
        &mut self,
        index: usize,
        edit: impl FnOnce(&mut Object<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(mut entry) = parse(self.name, &self.entries[index])? else {
            return Ok(());
        };
        edit(&mut entry)?;
        let text = entry.is_changed.then(|| entry.to_string());
        if let Some(text) = text.filter(|text| *text != self.entries[index]) {
            self.entries[index] = Cow::Owned(text);
            self.is_changed = true;
        }
        Ok(())
    }

    /// Sets a member of the entry at this index, if it is not `null`.
    ///
    /// # Errors
    /// When the entry is neither an object nor `null`.
    ///
    /// # Panics
    /// When there is no such entry.
    pub(crate) fn set_member(
        &mut self,
        index: usize,
        name: &str,
        value: String,
    ) -> Result<(), MemberError> {
        self.edit_entry(index, |entry| {
            entry.set(name, value);
            Ok(())
        })
    }

    /// Removes each entry for which `is_removed` says so.
    ///
    /// # Errors
    /// When an entry is neither an object nor `null`, and those of `is_removed`.
    pub(crate) fn remove_each(
        &mut self,
        mut is_removed: impl FnMut(&Object<'_>) -> Result<bool, MemberError>,
    ) -> Result<(), MemberError> {
        let mut kept = Vec::with_capacity(self.entries.len());
        for text in std::mem::take(&mut self.entries) {
            let is_kept = match parse(self.name, &text)? {
                Some(entry) => !is_removed(&entry)?,
                None => true,
            };
            self.is_changed |= !is_kept;
            if is_kept {
                kept.push(text);
            }
        }
        self.entries = kept;
        Ok(())
    }

    /// Adds an entry behind the others.
    pub(crate) fn push(&mut self, entry: &Object<'_>) {
        self.entries.push(Cow::Owned(entry.to_string()));
        self.is_changed = true;
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&write::list(&self.entries))
    }
}

const OBJECT: &str = "an object";

/// An entry of the list `name`.
fn parse<'t>(name: &'static str, entry: &'t str) -> Result<Option<Object<'t>>, MemberError> {
    decode_as(entry, OBJECT).map_err(|error| MemberError::entry(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> Object<'_> {
        Object::parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn members_that_are_not_edited_keep_their_text() {
        let mut object = object(
            r#"{ "z":1.0e+2 ,"Labels":{},"a" : 12345678901234567890123, "\u0061":[ {"x" : null} ],"b":"\ud800"}"#,
        );
        object.set("Labels", "{}".to_owned());
        assert_eq!(
            object.to_string(),
            r#"{"z":1.0e+2,"a":12345678901234567890123,"\u0061":[ {"x" : null} ],"b":"\ud800","Labels":{}}"#
        );
    }

    #[test]
    fn a_name_that_is_a_field_to_some_daemons_only_is_told() {
        for (given, name, expected) in [
            ("Label\u{17f}", "Labels", Readers::Go),
            ("LABEL\\u017f", "Labels", Readers::Go),
            ("networ\u{212a}ingconfig", "NetworkingConfig", Readers::Go),
            ("B\u{130}nds", "Binds", Readers::JsonIterator),
            ("B\\u0130nd\u{17f}", "Binds", Readers::JsonIterator),
        ] {
            let text = format!("{{\"{given}\":1}}");
            let mut object = object(&text);
            let ambiguous = MemberError::ambiguous(name, &format!("\"{given}\""));
            assert_eq!(object.sole(name), Err(ambiguous.clone()));
            object.respell(name);
            match expected {
                Readers::Go => assert_eq!(object.sole(name), Ok(Some("1"))),
                _ => assert_eq!(object.sole(name), Err(ambiguous)),
            }
            object.remove(name);
            assert_eq!(object.to_string(), "{}");
        }
    }

    #[test]
    fn a_member_is_written_only_if_it_was_changed() {
        let text = r#"{"a":{ "x":1 },"b":null,"c":1}"#;
        let mut object = object(text);
        for name in ["a", "b", "d"] {
            let read = |member: &mut Object<'_>| member.sole("y").map(drop);
            object.edit(name, read).unwrap();
            let remove = |member: &mut Object<'_>| -> Result<(), MemberError> {
                member.remove("y");
                Ok(())
            };
            object.edit(name, remove).unwrap();
        }
        assert!(!object.is_changed);
        assert_eq!(object.to_string(), text);
        for name in ["b", "d", "A"] {
            let set = |member: &mut Object<'_>| -> Result<(), MemberError> {
                member.set("y", "2".to_owned());
                Ok(())
            };
            object.edit(name, set).unwrap();
        }
        assert_eq!(
            object.to_string(),
            r#"{"c":1,"b":{"y":2},"d":{"y":2},"A":{"x":1,"y":2}}"#
        );
        let wrong = object.edit::<MemberError>("c", |_| Ok(()));
        assert_eq!(wrong, Err(MemberError::wrong_type("c", "an object")));
    }

    #[test]
    fn entries_that_are_not_edited_keep_their_text() {
        let mut object = object(r#"{"l":[{ "a":1 }, null ,{"a": 2}],"x":0}"#);
        let mut list = object.list("l").unwrap();
        let entries: Result<Vec<_>, MemberError> = list.iter().collect();
        assert_eq!(entries.unwrap().iter().flatten().count(), 2);
        list.edit_each::<MemberError>(|_| Ok(())).unwrap();
        assert!(!list.is_changed());
        object.set_list(&list);
        assert_eq!(object.members().next().unwrap().0, "\"l\"");

        let edit = |entry: &mut Object<'_>| {
            if entry.sole("a")? == Some("2") {
                entry.set("b", "3".to_owned());
            }
            Ok::<_, MemberError>(())
        };
        list.edit_each(edit).unwrap();
        list.edit_each(edit).unwrap();
        list.push(&Object::default());
        object.set_list(&list);
        let expected = r#"{"x":0,"l":[{ "a":1 },null,{"a":2,"b":3},{}]}"#;
        assert_eq!(object.to_string(), expected);

        // Read from what was written.
        let mut list = object.list("l").unwrap();
        assert_eq!(list.to_string(), r#"[{ "a":1 },null,{"a":2,"b":3},{}]"#);
        list.remove_each(|_| Ok(false)).unwrap();
        assert!(!list.is_changed());
        list.remove_each(|entry| Ok(entry.sole("a")?.is_none()))
            .unwrap();
        assert!(list.is_changed());
        assert_eq!(list.to_string(), r#"[{ "a":1 },null,{"a":2,"b":3}]"#);
    }

    #[test]
    fn a_list_holds_objects_only() {
        let object = object(r#"{"a":{},"b":[1],"c":[{"\ud800":1}],"d":null}"#);
        let wrong = MemberError::wrong_type("a", "a list of objects");
        assert_eq!(object.list("a").unwrap_err(), wrong);
        let entry = |name| {
            object
                .list(name)
                .unwrap()
                .iter()
                .next()
                .map(|e| e.map(drop))
        };
        let wrong = object.list("b").unwrap().wrong_entry();
        assert_eq!(wrong.to_string(), "an entry of b must be an object");
        assert_eq!(entry("b"), Some(Err(wrong)));
        let error = Error::NameNotUnicode;
        assert_eq!(entry("c"), Some(Err(MemberError::entry("c", error))));
        assert_eq!(entry("d"), None);
        assert_eq!(entry("e"), None);
    }
}
