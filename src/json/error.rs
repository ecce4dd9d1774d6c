//! What is wrong with JSON text. Whether and how a client is told is left to others.

use std::fmt;

use crate::limits::MAX_SHOWN_NAME_CHARS;

/// What is wrong with a text. Displays as the second half of a sentence that begins with what the
/// text is called, such as `the request body`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// It is not JSON, or more than one value; with the parser's reason and place.
    NotJson(String),
    /// It is neither an object nor `null`.
    NotAnObject,
    /// An object in it has a name with half a surrogate pair, which daemons read as U+FFFD.
    NameNotUnicode,
    /// A string in it has half a surrogate pair.
    StringNotUnicode,
    /// It is not the type that it must be, such as `a list of strings`.
    WrongType(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotJson(why) => write!(f, "is not valid JSON: {why}"),
            Error::NotAnObject => f.write_str("is not a JSON object"),
            Error::NameNotUnicode => f.write_str("has a name that is not valid Unicode"),
            Error::StringNotUnicode => f.write_str("has text that is not valid Unicode"),
            Error::WrongType(expected) => write!(f, "must be {expected}"),
        }
    }
}

/// What is wrong with a member of an object. Displays as a sentence that names the member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MemberError {
    /// Its value is not what it must be.
    Value { name: &'static str, error: Error },
    /// An entry of the list in it is not what it must be.
    Entry { name: &'static str, error: Error },
    /// It is there more than once. Daemons would merge the values, each in its own way.
    Repeated { name: &'static str },
    /// A name in the object is this member's to some daemons only.
    Ambiguous {
        name: &'static str,
        /// The beginning of the name that is there, as JSON text.
        given: String,
    },
}

impl MemberError {
    pub(super) fn value(name: &'static str, error: Error) -> MemberError {
        MemberError::Value { name, error }
    }

    pub(super) fn entry(name: &'static str, error: Error) -> MemberError {
        MemberError::Entry { name, error }
    }

    pub(super) fn ambiguous(name: &'static str, given: &str) -> MemberError {
        let given = given.chars().take(MAX_SHOWN_NAME_CHARS).collect();
        MemberError::Ambiguous { name, given }
    }

    /// The member `name` is not the type that it must be.
    #[cfg(test)]
    pub(crate) fn wrong_type(name: &'static str, expected: &'static str) -> MemberError {
        MemberError::value(name, Error::WrongType(expected))
    }
}

impl fmt::Display for MemberError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemberError::Value { name, error } => write!(f, "{name} {error}"),
            MemberError::Entry { name, error } => write!(f, "an entry of {name} {error}"),
            MemberError::Repeated { name } => write!(
                f,
                "the member {name} is given twice, in whatever case; give it once"
            ),
            MemberError::Ambiguous { name, given } => write!(
                f,
                "the name {given} is {name} to some daemons and nothing to others; write \"{name}\""
            ),
        }
    }
}
