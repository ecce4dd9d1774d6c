//! The wire format of protocol buffers. Every field that is not edited keeps its bytes and its
//! place. Knows fields and map entries, and leaves what they mean to others.
//!
//! Daemons use different libraries (Go's own and, up to 26, gogo's), which differ on what is
//! malformed. So anything that no library writes is refused here: groups, a tag of more than 32
//! bits, a known field of another wire type, a map entry that reaches beyond its end.

use std::borrow::Cow;
use std::fmt;

use crate::http2::grpc::Status;
use crate::limits::MAX_FIELDS;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    CutOff,
    TooManyFields,
    FieldNumberZero,
    FieldNumberTooHigh,
    UnknownType,
    /// A known field has another type than it should have.
    WrongType,
    NumberTooLong,
}

/// As what follows "the message".
impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::CutOff => "is cut off",
            Malformed::TooManyFields => "has too many fields",
            Malformed::FieldNumberZero => "has a field with number 0",
            Malformed::FieldNumberTooHigh => "has a field number too high",
            Malformed::UnknownType => "has a field of an unknown type",
            Malformed::WrongType => "has a field of the wrong type",
            Malformed::NumberTooLong => "has a number of more than 64 bits",
        })
    }
}

impl From<Malformed> for Status {
    fn from(malformed: Malformed) -> Status {
        Status::invalid(format!("the message {malformed}"))
    }
}

/// A message as a list of its fields.
#[derive(Debug, Default)]
pub(super) struct Message<'a> {
    fields: Vec<Field<'a>>,
}

#[derive(Debug)]
struct Field<'a> {
    number: u32,
    wire_type: u32,
    /// Tag and length as they arrived. Empty for a field of ours.
    head: &'a [u8],
    value: Cow<'a, [u8]>,
}

/// An entry of a map. A missing key or value is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'m> {
    pub(super) key: &'m [u8],
    pub(super) value: &'m [u8],
}

impl<'a> Message<'a> {
    /// Reads the fields of a message, but not what is inside them.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Message<'a>, Malformed> {
        let mut fields = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if fields.len() == MAX_FIELDS {
                return Err(Malformed::TooManyFields);
            }
            fields.push(Field::parse(&mut rest)?);
        }
        Ok(Message { fields })
    }

    /// Whether a field is present, even if it is empty.
    pub(super) fn has(&self, number: u32) -> bool {
        self.fields.iter().any(|field| field.number == number)
    }

    /// The payloads of all fields with this number, which are strings, bytes or messages.
    pub(super) fn all(&self, number: u32) -> impl Iterator<Item = Result<&[u8], Malformed>> {
        self.fields
            .iter()
            .filter(move |field| field.number == number)
            .map(Field::payload)
    }

    /// The value of a string or bytes field. The last one counts, and a missing one is empty.
    pub(super) fn last(&self, number: u32) -> Result<&[u8], Malformed> {
        self.all(number).try_fold(&b""[..], |_, payload| payload)
    }

    /// The bytes of a message field. If it occurs several times, these are parts of one message.
    pub(super) fn merged(&self, number: u32) -> Result<Option<Vec<u8>>, Malformed> {
        if !self.has(number) {
            return Ok(None);
        }
        let parts = self.all(number).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(parts.concat()))
    }

    /// The value of a number or bool field. The last one counts, and a missing one is 0.
    pub(super) fn number(&self, number: u32) -> Result<u64, Malformed> {
        let mut fields = self.fields.iter().filter(|field| field.number == number);
        match fields.next_back() {
            None => Ok(0),
            Some(field) if field.wire_type == VARINT => varint(&mut &*field.value),
            Some(_) => Err(Malformed::WrongType),
        }
    }

    /// Removes all fields with this number.
    pub(super) fn remove(&mut self, number: u32) {
        self.fields.retain(|field| field.number != number);
    }

    /// Appends a string, bytes or message.
    pub(super) fn push(&mut self, number: u32, payload: Vec<u8>) {
        self.fields.push(Field {
            number,
            wire_type: BYTES,
            head: &[],
            value: Cow::Owned(payload),
        });
    }

    /// Edits each message with this field number.
    pub(super) fn edit_each<E: From<Malformed>>(
        &mut self,
        number: u32,
        mut edit: impl FnMut(&mut Message<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for field in &mut self.fields {
            if field.number == number {
                let mut message = Message::parse(field.payload()?)?;
                edit(&mut message)?;
                let payload = message.to_bytes();
                field.head = &[];
                field.value = Cow::Owned(payload);
            }
        }
        Ok(())
    }

    /// Keeps only the entries of a map for which `keep` returns true.
    pub(super) fn retain_entries(
        &mut self,
        number: u32,
        mut keep: impl FnMut(Entry<'_>) -> bool,
    ) -> Result<(), Malformed> {
        let mut result = Ok(());
        self.fields.retain(|field| {
            field.number != number
                || field.with_entry(&mut keep).unwrap_or_else(|err| {
                    result = Err(err);
                    true
                })
        });
        result
    }

    /// Appends an entry to a map. It overrides earlier ones with the same key.
    pub(super) fn push_entry(&mut self, number: u32, key: &[u8], value: &[u8]) {
        let mut entry = Message::default();
        entry.push(1, key.to_vec());
        entry.push(2, value.to_vec());
        self.push(number, entry.to_bytes());
    }

    /// The message in the wire format.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in &self.fields {
            if field.head.is_empty() {
                write_varint(&mut bytes, u64::from(field.number << 3 | field.wire_type));
                write_varint(&mut bytes, field.value.len() as u64);
            }
            bytes.extend_from_slice(field.head);
            bytes.extend_from_slice(&field.value);
        }
        bytes
    }
}

impl<'a> Field<'a> {
    fn parse(rest: &mut &'a [u8]) -> Result<Field<'a>, Malformed> {
        let start = *rest;
        // Gogo's readers truncate a longer number to 32 bits.
        let tag = u32::try_from(varint(rest)?).map_err(|_| Malformed::FieldNumberTooHigh)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number == 0 {
            return Err(Malformed::FieldNumberZero);
        }
        let len = match wire_type {
            VARINT => {
                let mut after = *rest;
                varint(&mut after)?;
                rest.len() - after.len()
            }
            FIXED64 => 8,
            FIXED32 => 4,
            BYTES => usize::try_from(varint(rest)?).unwrap_or(usize::MAX),
            _ => return Err(Malformed::UnknownType),
        };
        let head = &start[..start.len() - rest.len()];
        let (value, after) = rest.split_at_checked(len).ok_or(Malformed::CutOff)?;
        *rest = after;
        Ok(Field {
            number,
            wire_type,
            head,
            value: Cow::Borrowed(value),
        })
    }

    fn payload(&self) -> Result<&[u8], Malformed> {
        match self.wire_type {
            BYTES => Ok(&self.value),
            _ => Err(Malformed::WrongType),
        }
    }

    fn with_entry<T>(&self, read: impl FnOnce(Entry<'_>) -> T) -> Result<T, Malformed> {
        let entry = Message::parse(self.payload()?)?;
        Ok(read(Entry {
            key: entry.last(1)?,
            value: entry.last(2)?,
        }))
    }
}

fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        // The tenth byte has room for the 64th bit only.
        if i == 9 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *rest = &rest[i + 1..];
            return Ok(value);
        }
    }
    Err(match rest.len() {
        0..10 => Malformed::CutOff,
        _ => Malformed::NumberTooLong,
    })
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of each kind: number, string, eight bytes, four bytes, with a tag and a length that
    /// take more bytes than they need.
    const FIELDS: &[u8] = b"\x08\x96\x01\x92\x00\x83\x00abc\x19\x00\x01\x02\x03\x04\x05\x06\x07\
                            \x25\x00\x01\x02\x03\xf8\xff\xff\xff\x0f\x01";

    #[test]
    fn fields_that_are_not_edited_keep_their_bytes() {
        let mut message = Message::parse(FIELDS).unwrap();
        assert_eq!(message.to_bytes(), FIELDS);
        message.push(5, b"x".repeat(200));
        let pushed = [FIELDS, b"\x2a\xc8\x01", "x".repeat(200).as_bytes()].concat();
        assert_eq!(message.to_bytes(), pushed);
        message.remove(5);
        assert_eq!(message.to_bytes(), FIELDS);
        for number in [1, 2, 3, 4, u32::MAX >> 3] {
            assert!(message.has(number));
            message.remove(number);
        }
        assert!(message.to_bytes().is_empty());
    }

    #[test]
    fn a_field_that_occurs_twice_is_read_as_daemons_do() {
        let message = Message::parse(b"\x08\x01\x12\x01a\x08\x00\x12\x02bc\x1a\x00").unwrap();
        assert_eq!(message.number(1), Ok(0));
        assert_eq!(message.last(2), Ok(&b"bc"[..]));
        assert_eq!(message.merged(2), Ok(Some(b"abc".to_vec())));
        assert_eq!(message.merged(3), Ok(Some(Vec::new())));
        assert_eq!(message.merged(4), Ok(None));
        assert_eq!((message.number(4), message.last(4)), (Ok(0), Ok(&b""[..])));
    }

    #[test]
    fn map_entries_are_read_as_daemons_do() {
        let read = |bytes: &[u8]| {
            let mut entries = Vec::new();
            let mut message = Message::parse(bytes)?;
            message.retain_entries(1, |Entry { key, value }| {
                entries.push((key.to_vec(), value.to_vec()));
                true
            })?;
            assert_eq!(message.to_bytes(), bytes);
            Ok(entries)
        };
        let pair = |key: &str, value: &str| (key.into(), value.into());
        assert_eq!(
            read(b"\x0a\x06\x0a\x01a\x12\x01b\x0a\x00\x0a\x03\x0a\x01c\x10\x07"),
            Ok(vec![pair("a", "b"), pair("", ""), pair("c", "")])
        );
        // Value before key, a field that is not known, both twice.
        assert_eq!(
            read(b"\x0a\x0e\x12\x01x\x0a\x01y\x18\x01\x0a\x01k\x12\x01v"),
            Ok(vec![pair("k", "v")])
        );
        for wrong in [&b"\x0a\x02\x08\x01"[..], b"\x08\x01"] {
            let wrong_type = Err(Malformed::WrongType);
            assert_eq!(read(wrong), wrong_type, "{}", wrong.escape_ascii());
        }
        // Gogo would read this value beyond the end of its entry.
        let beyond = b"\x0a\x05\x0a\x01a\x12\x05\x1a\x03abc";
        assert_eq!(read(beyond), Err(Malformed::CutOff));
    }

    #[test]
    fn entries_and_messages_are_edited_in_place() {
        let mut message = Message::parse(b"\x0a\x03\x0a\x01a\x10\x01\x0a\x03\x0a\x01b").unwrap();
        message
            .retain_entries(1, |entry| entry.key == b"b")
            .unwrap();
        message.push_entry(1, b"c", b"");
        assert_eq!(
            message.to_bytes(),
            b"\x10\x01\x0a\x03\x0a\x01b\x0a\x05\x0a\x01c\x12\x00"
        );
        let edited = message.edit_each::<Malformed>(1, |entry| {
            entry.remove(1);
            Ok(())
        });
        assert_eq!(edited, Ok(()));
        assert_eq!(message.to_bytes(), b"\x10\x01\x0a\x00\x0a\x02\x12\x00");
    }

    #[test]
    fn bytes_that_readers_may_differ_on_are_refused() {
        for (bytes, what) in [
            (&b"\x0b\x0c"[..], Malformed::UnknownType),
            (b"\x0c", Malformed::UnknownType),
            (b"\x0e", Malformed::UnknownType),
            (b"\x0f", Malformed::UnknownType),
            (b"\x02\x00", Malformed::FieldNumberZero),
            (b"\x8a\x80\x80\x80\x10\x00", Malformed::FieldNumberTooHigh),
            (b"\x0a", Malformed::CutOff),
            (b"\x0a\x01", Malformed::CutOff),
            (
                b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
                Malformed::CutOff,
            ),
            (b"\x08", Malformed::CutOff),
            (b"\x08\x80", Malformed::CutOff),
            (b"\x09\x00\x00\x00\x00\x00\x00\x00", Malformed::CutOff),
            (b"\x0d\x00\x00\x00", Malformed::CutOff),
            (
                b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
                Malformed::NumberTooLong,
            ),
            (
                b"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00",
                Malformed::NumberTooLong,
            ),
        ] {
            assert_eq!(
                Message::parse(bytes).unwrap_err(),
                what,
                "{}",
                bytes.escape_ascii()
            );
        }
        for len in 1..FIELDS.len() {
            if let Ok(message) = Message::parse(&FIELDS[..len]) {
                assert_eq!(message.to_bytes(), FIELDS[..len], "{len}");
            }
        }
        let message = Message::parse(FIELDS).unwrap();
        assert_eq!(message.last(1), Err(Malformed::WrongType));
        assert_eq!(message.merged(3), Err(Malformed::WrongType));
        assert_eq!(message.number(2), Err(Malformed::WrongType));
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let fields = b"\x08\x00".repeat(MAX_FIELDS);
        assert!(Message::parse(&fields).is_ok());
        let more = b"\x08\x00".repeat(MAX_FIELDS + 1);
        assert_eq!(Message::parse(&more).unwrap_err(), Malformed::TooManyFields);
    }
}
