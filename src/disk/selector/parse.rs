//! A selector as text: `serial=S64GNE0R900001,min-size=40G`, read and written.

use std::fmt;
use std::str::FromStr;

use super::{Selector, SelectorError};
use crate::byte_size;
use crate::disk::identity::Transport;
use crate::text::printable;

/// All keys, in the order they are written.
const KEYS: [&str; 12] = [
    "serial",
    "wwn",
    "by-path",
    "name",
    "model",
    "transport",
    "rotational",
    "size",
    "min-size",
    "block-size",
    "diskseq",
    "backing-file",
];

/// The keys, for people.
pub(super) fn key_names() -> String {
    KEYS.join(", ")
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let mut selector = Self::default();
        let mut seen = Vec::new();
        for part in split(text) {
            let (key, value) = key_value(&part)?;
            if seen.contains(&key) {
                return Err(SelectorError::RepeatedKey { key });
            }
            seen.push(key);
            selector.set(key, value)?;
        }
        selector.check()?;
        Ok(selector)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (key, value) in self.values().into_iter() {
            let Some(value) = value else { continue };
            let escaped = value.replace('\\', "\\\\").replace(',', "\\,");
            write!(f, "{separator}{key}={escaped}")?;
            separator = ",";
        }
        Ok(())
    }
}

impl Selector {
    /// All fields as text, in the order of [`KEYS`].
    fn values(&self) -> impl IntoIterator<Item = (&'static str, Option<String>)> + use<> {
        let number = |value: Option<u64>| value.map(|value| value.to_string());
        let values = [
            self.serial.clone(),
            self.wwn.clone(),
            self.by_path.clone(),
            self.name.clone(),
            self.model.clone(),
            self.transport.map(|transport| transport.name().to_owned()),
            self.rotational
                .map(|rotational| if rotational { "yes" } else { "no" }.to_owned()),
            number(self.size_bytes),
            number(self.min_size_bytes),
            self.logical_block_size.map(|bytes| bytes.to_string()),
            number(self.diskseq),
            self.backing_file.clone(),
        ];
        KEYS.into_iter().zip(values)
    }

    fn set(&mut self, key: &'static str, value: String) -> Result<(), SelectorError> {
        match key {
            "serial" => self.serial = Some(value),
            "wwn" => self.wwn = Some(value),
            "by-path" => self.by_path = Some(value),
            "name" => self.name = Some(value),
            "model" => self.model = Some(value),
            "transport" => self.transport = Some(transport(&value)?),
            "rotational" => self.rotational = Some(yes_or_no(&value)?),
            "size" => self.size_bytes = Some(size("size", &value)?),
            "min-size" => self.min_size_bytes = Some(size("min-size", &value)?),
            "block-size" => self.logical_block_size = Some(block_size(&value)?),
            "diskseq" => self.diskseq = Some(number("diskseq", &value)?),
            "backing-file" => self.backing_file = Some(value),
            _ => return Err(SelectorError::UnknownKey { key: key.to_owned() }),
        }
        Ok(())
    }
}

/// Splits at the commas that have no backslash before them. What a backslash protects stays protected.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == ',' {
            parts.push(String::new());
            continue;
        }
        // A backslash before anything but a comma or itself stands for itself: file names may have one.
        let protected = if character == '\\' {
            characters.clone().next().filter(|next| ",\\".contains(*next))
        } else {
            None
        };
        if protected.is_some() {
            characters.next();
        }
        if let Some(part) = parts.last_mut() {
            part.push(protected.unwrap_or(character));
        }
    }
    parts
}

fn key_value(part: &str) -> Result<(&'static str, String), SelectorError> {
    let shown = || printable(&part.chars().take(64).collect::<String>());
    let Some((key, value)) = part.split_once('=') else {
        let path = part.contains('/');
        return Err(if path {
            SelectorError::DevicePath { value: shown() }
        } else {
            SelectorError::NotKeyValue { part: shown() }
        });
    };
    let known = KEYS.into_iter().find(|known| *known == key.trim());
    let key = known.ok_or_else(|| SelectorError::UnknownKey {
        key: printable(key.trim()),
    })?;
    Ok((key, value.trim().to_owned()))
}

fn impossible(key: &'static str, value: &str, expected: &dyn ToString) -> SelectorError {
    SelectorError::Value {
        key,
        value: printable(value),
        expected: expected.to_string(),
    }
}

fn transport(value: &str) -> Result<Transport, SelectorError> {
    let names = || Transport::KNOWN.map(Transport::name).join(", ");
    Transport::from_name(value)
        .ok_or_else(|| impossible("transport", value, &format!("a transport is one of {}", names())))
}

fn yes_or_no(value: &str) -> Result<bool, SelectorError> {
    match value {
        "yes" | "true" | "1" => Ok(true),
        "no" | "false" | "0" => Ok(false),
        _ => Err(impossible("rotational", value, &"it is yes or no")),
    }
}

fn size(key: &'static str, value: &str) -> Result<u64, SelectorError> {
    byte_size::parse(value).map_err(|error| impossible(key, value, &error))
}

fn block_size(value: &str) -> Result<u32, SelectorError> {
    let bytes = size("block-size", value)?;
    u32::try_from(bytes).map_err(|error| impossible("block-size", value, &error))
}

fn number(key: &'static str, value: &str) -> Result<u64, SelectorError> {
    value.parse().map_err(|error| impossible(key, value, &error))
}
