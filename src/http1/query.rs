//! A query string, edited pair by pair: a pair that is not ours keeps its exact text. Reads
//! names and values as Go's `net/url.ParseQuery` does.

use std::borrow::Cow;
use std::fmt;

use crate::http1::error::Error;
use crate::http1::percent::{Plus, decode, encode, is_unreserved};
use crate::text::same_but_for_case;

/// The pairs of a query that the daemon reads.
#[derive(Debug)]
pub(crate) struct Query<'a>(Vec<Pair<'a>>);

#[derive(Debug)]
struct Pair<'a> {
    raw: Cow<'a, str>,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Pair<'_> {
    /// Whether Podman takes the pair for the parameter `name`: it does not look at case.
    fn is(&self, name: &str) -> bool {
        std::str::from_utf8(&self.name).is_ok_and(|own| same_but_for_case(own, name))
    }
}

impl<'a> Query<'a> {
    /// Takes a query apart. What Go drops is dropped here: empty pairs, and pairs with a `;` or
    /// with invalid percent-encoding (before Go 1.17 a `;` parted pairs).
    pub(crate) fn parse(query: &'a str) -> Query<'a> {
        let pairs = query
            .split('&')
            .filter(|raw| !raw.is_empty() && !raw.contains(';'));
        Query(
            pairs
                .filter_map(|raw| {
                    let (name, value) = raw.split_once('=').unwrap_or((raw, ""));
                    let name = decode(name.as_bytes(), Plus::Space)?;
                    let value = decode(value.as_bytes(), Plus::Space)?;
                    let raw = Cow::Borrowed(raw);
                    Some(Pair { raw, name, value })
                })
                .collect(),
        )
    }

    /// The values of all pairs with exactly this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        self.0
            .iter()
            .filter(move |pair| pair.name == name.as_bytes())
            .map(|pair| &*pair.value)
    }

    /// The value of the first pair with this name, which is the one that Go's `FormValue` gives.
    pub(crate) fn first(&self, name: &str) -> Option<&[u8]> {
        self.all(name).next()
    }

    /// The value of the only pair with this name.
    ///
    /// # Errors
    /// When there are several, which Docker and Podman read differently, and as
    /// [`check_case`](Self::check_case).
    pub(crate) fn sole(&self, name: &str) -> Result<Option<&[u8]>, Error> {
        self.check_case(name)?;
        let mut values = self.all(name);
        let value = values.next();
        match values.next() {
            None => Ok(value),
            Some(_) => Err(Error::RepeatedParameter(name.to_owned())),
        }
    }

    /// Whether Podman finds a value for `name` that is not empty, in whatever case.
    pub(crate) fn has_value(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|pair| pair.is(name) && !pair.value.is_empty())
    }

    /// Checks that the name is written as it should be wherever it occurs.
    ///
    /// # Errors
    /// When it is written in other case: Docker would not know it, Podman would.
    pub(crate) fn check_case(&self, name: &str) -> Result<(), Error> {
        let other = |pair: &&Pair<'_>| pair.is(name) && pair.name != name.as_bytes();
        match self.0.iter().find(other) {
            None => Ok(()),
            Some(pair) => Err(Error::MiscasedParameter {
                written: String::from_utf8_lossy(&pair.name).into_owned(),
                name: name.to_owned(),
            }),
        }
    }

    /// Makes the pair of `name` and `value` the only one of this name, in whatever case, and the
    /// last of all.
    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.0.retain(|pair| !pair.is(name));
        self.push(name, value);
    }

    /// Removes the pairs of `name`, in whatever case, with this value.
    pub(crate) fn remove(&mut self, name: &str, value: &[u8]) {
        self.0.retain(|pair| !pair.is(name) || pair.value != value);
    }

    /// Appends a pair; `name` must need no encoding.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.0.push(Pair {
            raw: Cow::Owned(format!("{name}={}", encode(value, is_unreserved))),
            name: name.as_bytes().to_vec(),
            value: value.to_vec(),
        });
    }
}

impl fmt::Display for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pair) in self.0.iter().enumerate() {
            let and = if i == 0 { "" } else { "&" };
            write!(f, "{and}{}", pair.raw)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_counts_however_its_name_is_written() {
        let query = Query::parse("a=1&&l%61bels=%7B%7D&labels=x&b=a+b%2B&c");
        assert_eq!(query.first("labels"), Some(&b"{}"[..]));
        assert_eq!(query.first("b"), Some(&b"a b+"[..]));
        assert_eq!(query.first("c"), Some(&b""[..]));
        assert_eq!(query.first("d"), None);
        assert_eq!(query.all("labels").collect::<Vec<_>>(), [&b"{}"[..], b"x"]);
    }

    #[test]
    fn a_value_is_found_in_any_case() {
        for (text, expected) in [
            ("target=one", true),
            ("a=b&TARGET=x", true),
            ("t%61rget=%20", true),
            ("target=&Target=&x=target", false),
            ("", false),
        ] {
            assert_eq!(Query::parse(text).has_value("target"), expected, "{text}");
        }
    }

    #[test]
    fn pairs_that_go_drops_are_not_read() {
        let query = Query::parse("a=%zz&labels=1;x=2&%gg=1&labels=3");
        assert_eq!(query.first("labels"), Some(&b"3"[..]));
        assert_eq!(query.first("a"), None);
        assert_eq!(query.to_string(), "labels=3");
    }

    #[test]
    fn one_value_is_set_and_the_other_pairs_keep_their_text() {
        let mut query =
            Query::parse("t=a%3Ab+c&labels=1&Labels=2&%4cabels=3&label%C5%BF=4&b=%7b%7D&x;y");
        query.set("labels", b"{\"k\":\"v w\"}");
        assert_eq!(
            query.to_string(),
            "t=a%3Ab+c&b=%7b%7D&labels=%7B%22k%22%3A%22v%20w%22%7D"
        );
        let mut empty = Query::parse("");
        assert_eq!(empty.to_string(), "");
        empty.set("labels", b"{}");
        assert_eq!(empty.to_string(), "labels=%7B%7D");
    }

    #[test]
    fn pairs_are_appended_and_removed_by_their_value() {
        let mut query = Query::parse("x=1&x=2&X=1&y=1");
        query.push("x", b"3 ");
        query.remove("x", b"1");
        assert_eq!(query.to_string(), "x=2&y=1&x=3%20");
    }

    #[test]
    fn a_name_that_decides_is_written_once_and_as_it_should_be() {
        let sole = |text| {
            Query::parse(text)
                .sole("fromSrc")
                .map(|value| value.map(<[u8]>::to_vec))
        };
        assert_eq!(sole("a=b"), Ok(None));
        assert_eq!(sole("fromSrc=-&fromImage=x"), Ok(Some(b"-".to_vec())));
        assert_eq!(
            sole("fromSrc=-&fromS%72c=-"),
            Err(Error::RepeatedParameter("fromSrc".to_owned()))
        );
        for (text, written) in [
            ("fromsrc=-", "fromsrc"),
            ("fromSrc=-&FROMSRC=-", "FROMSRC"),
            ("from%C5%BFrc=-", "from\u{17f}rc"),
        ] {
            assert_eq!(
                sole(text),
                Err(Error::MiscasedParameter {
                    written: written.to_owned(),
                    name: "fromSrc".to_owned()
                })
            );
        }
    }
}
