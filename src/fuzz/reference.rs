//! Readers for the fuzz targets to compare with: the same formats read a second time, in the
//! plainest way, as Go reads them. They share no code with the readers of the proxy.

/// A JSON value; an object's members in their order, names decoded as Go decodes them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Json {
    Null,
    /// A number, `true` or `false`.
    Other,
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole text, or `None` where Go would not.
    pub(super) fn parse(text: &[u8]) -> Option<Json> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        (reader.at == text.len()).then_some(value)
    }

    /// The values that Go would decode into the struct field `name`, one after the other.
    pub(super) fn fields<'j>(&'j self, name: &str) -> impl Iterator<Item = &'j Json> {
        let members = match self {
            Json::Object(members) => &members[..],
            _ => &[],
        };
        let name = fold(name);
        members
            .iter()
            .filter(move |(key, _)| fold(key) == name)
            .map(|(_, value)| value)
    }

    /// The only value for `name`; `None` where it is missing or `null`.
    ///
    /// # Panics
    /// When there are several, which daemons merge in ways of their own.
    pub(super) fn field(&self, name: &str) -> Option<&Json> {
        let mut fields = self.fields(name);
        let field = fields.next();
        assert!(fields.next().is_none(), "{name} is there twice: {self:?}");
        field.filter(|value| **value != Json::Null)
    }

    /// The same with the members of objects in the order of their names.
    pub(super) fn sorted(self) -> Json {
        match self {
            Json::Array(items) => Json::Array(items.into_iter().map(Json::sorted).collect()),
            Json::Object(members) => {
                let members = members
                    .into_iter()
                    .map(|(key, value)| (key, value.sorted()));
                let mut members: Vec<_> = members.collect();
                members.sort_by(|one, two| one.0.cmp(&two.0));
                Json::Object(members)
            }
            other => other,
        }
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Json::String(text) => text,
            _ => "",
        }
    }

    pub(super) fn items(&self) -> &[Json] {
        match self {
            Json::Array(items) => items,
            _ => &[],
        }
    }

    /// The members of an object.
    pub(super) fn members(&self) -> &[(String, Json)] {
        match self {
            Json::Object(members) => members,
            _ => &[],
        }
    }

    /// Whether the map that Go makes of the field `name` has this string under `key`.
    pub(super) fn map_has(&self, name: &str, key: &str, value: &str) -> bool {
        let mut found = None;
        for map in self.fields(name) {
            if *map == Json::Null {
                found = None;
            }
            for (k, v) in map.members().iter().filter(|(k, _)| k == key) {
                assert_eq!(k, key);
                found = Some(v.text());
            }
        }
        found == Some(value)
    }
}

/// A name as Go's `encoding/json` compares it: U+017F and U+212A are letters of ASCII too.
pub(super) fn fold(name: &str) -> String {
    let upper = name.replace('\u{17f}', "S").replace('\u{212a}', "K");
    upper.to_ascii_uppercase()
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, text: &str) -> Option<()> {
        let is_next = self.text[self.at..].starts_with(text.as_bytes());
        self.at += text.len();
        is_next.then_some(())
    }

    fn value(&mut self) -> Option<Json> {
        self.space();
        let value = match self.peek()? {
            b'{' => Json::Object(self.list(b'}', |reader| {
                reader.space();
                let key = reader.string()?;
                reader.space();
                reader.eat(":")?;
                Some((key, reader.value()?))
            })?),
            b'[' => Json::Array(self.list(b']', Reader::value)?),
            b'"' => Json::String(self.string()?),
            b'n' => self.eat("null").map(|()| Json::Null)?,
            b't' => self.eat("true").map(|()| Json::Other)?,
            b'f' => self.eat("false").map(|()| Json::Other)?,
            _ => self.number().map(|()| Json::Other)?,
        };
        self.space();
        Some(value)
    }

    fn list<T>(&mut self, end: u8, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.peek()? == end {
            self.at += 1;
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            self.at += 1;
            match self.text[self.at - 1..].first()? {
                b',' => (),
                byte if *byte == end => return Some(items),
                _ => return None,
            }
        }
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn number(&mut self) -> Option<()> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        self.eat("\"")?;
        let mut bytes = Vec::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(String::from_utf8_lossy(&bytes).into_owned()),
                b'\\' => {
                    let c = self.escape()?;
                    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                ..0x20 => return None,
                _ => bytes.push(byte),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 1;
        Some(match self.text.get(self.at - 1)? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            byte @ (b'"' | b'\\' | b'/') => char::from(*byte),
            b'u' => {
                let unit = self.unit()?;
                let before = self.at;
                if (0xd800..0xdc00).contains(&unit) && self.eat("\\u").is_some() {
                    let low = self.unit()?;
                    if (0xdc00..0xe000).contains(&low) {
                        let c = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        return char::from_u32(c);
                    }
                }
                if (0xd800..0xdc00).contains(&unit) {
                    self.at = before;
                }
                char::from_u32(unit).unwrap_or('\u{fffd}')
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }
}

/// A pair of a query: its text, and its name and value as Go decodes them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pair {
    pub(super) text: String,
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// The pairs of a query that Go's `url.ParseQuery` keeps.
pub(super) fn pairs(query: &str) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for text in query.split('&') {
        if text.is_empty() || text.contains(';') {
            continue;
        }
        let mut parts = text.splitn(2, '=');
        let mut next = || {
            unescape(
                parts
                    .next()
                    .unwrap_or_default()
                    .replace('+', " ")
                    .as_bytes(),
            )
        };
        if let (Some(name), Some(value)) = (next(), next()) {
            let text = text.to_owned();
            pairs.push(Pair { text, name, value });
        }
    }
    pairs
}

/// Undoes percent-encoding.
pub(super) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut parts = text.split(|&b| b == b'%');
    let mut bytes = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let digits = part
            .get(..2)
            .filter(|d| d.iter().all(u8::is_ascii_hexdigit))?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        bytes.extend_from_slice(&part[2..]);
    }
    Some(bytes)
}

/// What the text that is read so far turns out to be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read<T> {
    /// Whole, and where it ends.
    Whole(T, usize),
    /// Fine so far.
    Partial,
    Malformed,
}

/// Reads a chunked body by its lines, strictly; sizes of lines do not matter.
pub(super) fn chunks(bytes: &[u8]) -> Read<Vec<u8>> {
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let Some(len) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Read::Partial;
        };
        let line = &bytes[at..at + len];
        at += len + 2;
        let size = line.split(|&b| b == b';').next().unwrap_or_default();
        let is_size = (1..=16).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        let size = String::from_utf8_lossy(size);
        let (true, Ok(size), true) = (is_size, usize::from_str_radix(&size, 16), is_text(line))
        else {
            return Read::Malformed;
        };
        if size == 0 {
            break;
        }
        let Some(chunk) = at.checked_add(size).and_then(|end| bytes.get(at..end)) else {
            return Read::Partial;
        };
        content.extend_from_slice(chunk);
        at += size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Read::Malformed,
            None => return Read::Partial,
        }
    }
    loop {
        let Some(len) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Read::Partial;
        };
        let line = &bytes[at..at + len];
        at += len + 2;
        if line.is_empty() {
            return Read::Whole(content, at);
        }
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        if name == line || !is_token(name) || !is_text(line) {
            return Read::Malformed;
        }
    }
}

/// Whether a line has no control bytes but tabs.
fn is_text(line: &[u8]) -> bool {
    line.iter().all(|&b| b == b'\t' || b >= b' ' && b != 0x7f)
}

/// A request as a strict reader takes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) minor_version: u8,
    pub(super) fields: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// Reads a head and nothing else.
    pub(super) fn parse(head: &[u8]) -> Option<Request> {
        let head = head.strip_suffix(b"\r\n\r\n")?;
        let mut lines = Vec::new();
        let mut rest = head;
        while let Some(len) = rest.windows(2).position(|two| two == b"\r\n") {
            lines.push(&rest[..len]);
            rest = &rest[len + 2..];
        }
        lines.push(rest);
        let line = std::str::from_utf8(lines[0]).ok()?;
        let words: Vec<&str> = line.split(' ').collect();
        let [method, target, version] = words[..] else {
            return None;
        };
        let minor_version = match version {
            "HTTP/1.0" => 0,
            "HTTP/1.1" => 1,
            _ => return None,
        };
        let is_target = !target.is_empty() && is_text(target.as_bytes()) && !target.contains('\t');
        if !is_token(method.as_bytes()) || !is_target {
            return None;
        }
        let mut fields = Vec::new();
        for line in &lines[1..] {
            let colon = line.iter().position(|&b| b == b':')?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if !is_token(name) || !is_text(value) {
                return None;
            }
            let is_space = |b: &&u8| matches!(b, b' ' | b'\t');
            let start = value.iter().take_while(is_space).count();
            let end = value[start..].iter().rev().take_while(is_space).count();
            let value = value[start..value.len() - end].to_vec();
            fields.push((String::from_utf8_lossy(name).into_owned(), value));
        }
        Some(Request {
            method: method.to_owned(),
            target: target.to_owned(),
            minor_version,
            fields,
        })
    }

    pub(super) fn all(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.fields.iter();
        let named = fields.filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, value)| &**value).collect()
    }
}

fn is_token(name: &[u8]) -> bool {
    let is_char = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !name.is_empty() && name.iter().all(is_char)
}

/// The instructions of a Dockerfile without heredocs, as the daemon's parser joins them.
pub(super) fn instructions(text: &str) -> Vec<String> {
    let mut instructions = Vec::new();
    let mut current = String::new();
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let trimmed = line.trim_start();
        if trimmed.starts_with('#') || !current.is_empty() && trimmed.is_empty() {
            continue;
        }
        match line.trim_end_matches([' ', '\t']).strip_suffix('\\') {
            Some(begun) => current += begun,
            None => instructions.push(std::mem::take(&mut current) + line),
        }
    }
    instructions.push(current);
    instructions
}
