//! The text of LVM's metadata: `key = value`, sections in braces, lists in brackets, comments behind `#`.

use std::collections::BTreeMap;

use super::LvmError;

/// Deepest nesting of sections; LVM's own have four.
const MAX_DEPTH: usize = 8;
/// Most values and sections of a text.
const MAX_NODES: usize = 100_000;

const MALFORMED: LvmError = LvmError::Malformed { what: "metadata" };

/// A section: what its names stand for, and their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section {
    names: Vec<String>,
    values: BTreeMap<String, Value>,
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    List(Vec<Self>),
    Section(Section),
}

impl Section {
    pub(super) fn number(&self, name: &str) -> Result<u64, LvmError> {
        match self.values.get(name) {
            Some(Value::Number(number)) => Ok(*number),
            Some(Value::Text(_) | Value::List(_) | Value::Section(_)) | None => Err(MALFORMED),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<&str, LvmError> {
        match self.values.get(name) {
            Some(Value::Text(text)) => Ok(text),
            Some(Value::Number(_) | Value::List(_) | Value::Section(_)) | None => Err(MALFORMED),
        }
    }

    pub(super) fn list(&self, name: &str) -> Result<&[Value], LvmError> {
        match self.values.get(name) {
            Some(Value::List(list)) => Ok(list),
            Some(Value::Number(_) | Value::Text(_) | Value::Section(_)) | None => Err(MALFORMED),
        }
    }

    /// A section; none if there is nothing of that name.
    pub(super) fn section(&self, name: &str) -> Result<Option<&Self>, LvmError> {
        match self.values.get(name) {
            Some(Value::Section(section)) => Ok(Some(section)),
            Some(Value::Number(_) | Value::Text(_) | Value::List(_)) => Err(MALFORMED),
            None => Ok(None),
        }
    }

    /// The sections in it, in their order.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.names.iter().filter_map(|name| match self.values.get(name) {
            Some(Value::Section(section)) => Some((name.as_str(), section)),
            Some(Value::Number(_) | Value::Text(_) | Value::List(_)) | None => None,
        })
    }
}

/// Reads a text.
pub(super) fn parse(text: &[u8]) -> Result<Section, LvmError> {
    // LVM ends its texts with a zero.
    let text = text.strip_suffix(b"\0").unwrap_or(text);
    let mut parser = Parser { rest: text, nodes: 0 };
    let section = parser.section(0)?;
    if parser.rest.is_empty() { Ok(section) } else { Err(MALFORMED) }
}

struct Parser<'a> {
    rest: &'a [u8],
    nodes: usize,
}

impl<'a> Parser<'a> {
    /// Passes over spaces and comments; gives the byte that comes then.
    fn peek(&mut self) -> Option<u8> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            match self.rest.first() {
                Some(b'#') => {
                    let end = self.rest.iter().position(|byte| *byte == b'\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                byte => return byte.copied(),
            }
        }
    }

    /// Passes over `expected`, if it comes now.
    fn take(&mut self, expected: u8) -> bool {
        let is_there = self.peek() == Some(expected);
        if is_there {
            self.rest = &self.rest[1..];
        }
        is_there
    }

    fn must(&mut self, expected: u8) -> Result<(), LvmError> {
        if self.take(expected) { Ok(()) } else { Err(MALFORMED) }
    }

    /// What comes now as long as it is part of a word.
    fn word(&mut self) -> Result<&'a str, LvmError> {
        self.peek();
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-@%".contains(byte);
        let end = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        std::str::from_utf8(word).ok().filter(|word| !word.is_empty()).ok_or(MALFORMED)
    }

    fn count(&mut self) -> Result<(), LvmError> {
        self.nodes += 1;
        if self.nodes <= MAX_NODES { Ok(()) } else { Err(MALFORMED) }
    }

    /// Names and what they stand for, up to the end of the section.
    fn section(&mut self, depth: usize) -> Result<Section, LvmError> {
        let mut section = Section::default();
        while !matches!(self.peek(), None | Some(b'}')) {
            self.count()?;
            let name = self.word()?.to_owned();
            let value = if self.take(b'=') {
                self.value()?
            } else {
                self.must(b'{')?;
                if depth == MAX_DEPTH {
                    return Err(MALFORMED);
                }
                let inner = self.section(depth + 1)?;
                self.must(b'}')?;
                Value::Section(inner)
            };
            section.names.push(name.clone());
            if section.values.insert(name, value).is_some() {
                return Err(MALFORMED);
            }
        }
        Ok(section)
    }

    fn value(&mut self) -> Result<Value, LvmError> {
        if !self.take(b'[') {
            return self.scalar();
        }
        let mut list = Vec::new();
        while !self.take(b']') {
            list.push(self.scalar()?);
            if !self.take(b',') {
                self.must(b']')?;
                break;
            }
        }
        Ok(Value::List(list))
    }

    fn scalar(&mut self) -> Result<Value, LvmError> {
        self.count()?;
        if self.take(b'"') {
            return self.quoted();
        }
        let word = self.word()?;
        Ok(word.parse().map_or_else(|_| Value::Text(word.to_owned()), Value::Number))
    }

    /// The rest of a text in quotation marks; a backslash stands before a mark or a backslash in it.
    fn quoted(&mut self) -> Result<Value, LvmError> {
        let mut text = Vec::new();
        loop {
            let (byte, rest) = self.rest.split_first().ok_or(MALFORMED)?;
            self.rest = rest;
            match byte {
                b'"' => break,
                b'\\' => {
                    let (escaped, rest) = rest.split_first().ok_or(MALFORMED)?;
                    text.push(*escaped);
                    self.rest = rest;
                }
                byte => text.push(*byte),
            }
        }
        Ok(Value::Text(String::from_utf8(text).ok().ok_or(MALFORMED)?))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Section, parse};

    #[test]
    fn reads_what_lvm_writes() {
        let text = br#"vg { # a comment with } in it
            id = "abc"
            seqno = 7
            flags = []
            status = ["RESIZEABLE", "READ"]
            lv-1 { nested { n = 18446744073709551615 } }
            creation_host = "a \"name\" \\ "
        }
        contents = "Text"
        "#;
        let top = parse(text).expect("well formed");
        let group = top.section("vg").expect("a section").expect("there");
        assert_eq!((group.text("id"), group.number("seqno")), (Ok("abc"), Ok(7)));
        assert_eq!(group.list("flags").expect("a list").len(), 0);
        assert_eq!(group.list("status").expect("a list").len(), 2);
        assert_eq!(group.text("creation_host"), Ok("a \"name\" \\ "));
        assert_eq!(group.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["lv-1"]);
        assert_eq!(top.section("none"), Ok(None));
        group.number("id").expect_err("a text");
        group.section("id").expect_err("a text");
        group.text("none").expect_err("nothing");
    }

    #[test]
    fn refuses_what_is_not_well_formed_or_too_deep() {
        for text in ["a", "a =", "a = [1", "a {", "a }", "a = \"x", "a = 1 a = 2", "= 1", "a = \"\\", "a = [1 2]"] {
            parse(text.as_bytes()).expect_err(text);
        }
        parse(&b"a {".repeat(100_000)).expect_err("too deep");
        parse("a { ".repeat(8).as_bytes()).expect_err("no ends");
        parse(("a { ".repeat(8) + &"}".repeat(8)).as_bytes()).expect("just not too deep");
        assert_eq!(parse(b""), Ok(Section::default()));
    }

    proptest! {
        #[test]
        fn never_panics(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            parse(&text).ok();
        }

        #[test]
        fn never_panics_on_what_is_almost_right(text in "[a-c ={}\\[\\]\",#\\\\0-9\n]{0,60}") {
            parse(text.as_bytes()).ok();
        }
    }
}
