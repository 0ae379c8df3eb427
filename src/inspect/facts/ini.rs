//! INI files as Python's ConfigParser reads them: keys without case, `=` or `:`, values that go on in indented lines, and
//! `[DEFAULT]` behind every section. Where a key is there twice, the last one counts; values are not interpolated.

use std::collections::BTreeMap;

/// Section that stands behind every other.
const DEFAULT: &str = "DEFAULT";

/// What an INI file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ini {
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl Ini {
    /// Reads a text; what is neither section, key nor comment is passed over.
    pub fn parse(text: &str) -> Self {
        let mut ini = Self::default();
        let mut section = None;
        let mut key: Option<String> = None;
        for line in text.lines() {
            let content = line.trim();
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = content.strip_prefix('[').and_then(|rest| Some(rest.split_once(']')?.0)) {
                section = Some(ini.sections.entry(name.to_owned()).or_default());
                key = None;
                continue;
            }
            let Some(section) = section.as_mut() else { continue };
            if line.starts_with(char::is_whitespace)
                && let Some(value) = key.as_ref().and_then(|key| section.get_mut(key))
            {
                value.push('\n');
                value.push_str(content);
                continue;
            }
            let (name, value) = content.split_once(['=', ':']).unwrap_or((content, ""));
            let name = name.trim().to_lowercase();
            section.insert(name.clone(), without_comment(value).to_owned());
            key = Some(name);
        }
        ini
    }

    /// A value, or the one that stands for it in `[DEFAULT]`.
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        let of = |section| self.sections.get(section)?.get(&key.to_lowercase());
        of(section).or_else(|| of(DEFAULT)).map(String::as_str)
    }

    /// A value that is a list, its items separated by commas or line ends.
    pub fn list(&self, section: &str, key: &str) -> Option<Vec<&str>> {
        let items = self.value(section, key)?.split([',', '\n']).map(str::trim);
        Some(items.filter(|item| !item.is_empty()).collect())
    }
}

/// A value without the comment behind it, which only `;` after a blank begins.
fn without_comment(value: &str) -> &str {
    let end = value.find(" ;").or_else(|| value.find("\t;")).unwrap_or(value.len());
    value[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::Ini;

    #[test]
    fn values_are_read_as_config_parser_does() {
        let text = "stray = 1\n# no\n[DEFAULT]\nbase: 7\n[NETWORK_CONFIG]\nEnable_BMS_Network = True ; yes\nlist = a,\n  b\n\n\
                    \t c\nbare\nurl=http://x;y\n;off = 1\n[OTHER]\nenable_bms_network=False\nenable_bms_network = 0\n";
        let ini = Ini::parse(text);
        assert_eq!(ini.value("NETWORK_CONFIG", "enable_bms_network"), Some("True"));
        assert_eq!(ini.list("NETWORK_CONFIG", "LIST"), Some(vec!["a", "b", "c"]));
        assert_eq!(ini.value("NETWORK_CONFIG", "base"), Some("7"));
        assert_eq!(ini.value("NETWORK_CONFIG", "bare"), Some(""));
        assert_eq!(ini.value("NETWORK_CONFIG", "url"), Some("http://x;y"));
        assert_eq!(ini.value("NETWORK_CONFIG", "off"), None);
        assert_eq!(ini.value("OTHER", "enable_bms_network"), Some("0"));
        assert_eq!(ini.value("DEFAULT", "stray"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(\\PC|[\\[\\]=:;# \t\n])*") {
            Ini::parse(&text).list("a", "b");
        }
    }
}
