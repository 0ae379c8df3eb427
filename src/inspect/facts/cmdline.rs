//! The command line of a kernel, as far as checks ask for it.

/// Words of command lines that are only for repair.
const REPAIR: [&str; 5] = ["single", "recovery", "rescue", "emergency", "systemd.unit=rescue.target"];

/// A command line, and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// A path in the image.
    pub source: String,
    /// The text, as it is written there.
    pub text: String,
}

impl CommandLine {
    /// Values of a parameter, in order; empty for one without a value.
    ///
    /// `-` and `_` are the same in names, as for the kernel. What is behind `--` is for init and does not count.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        parameters(&self.text).filter(move |parameter| is_same_name(parameter.0, name)).map(|parameter| parameter.1)
    }

    /// Consoles, as `ttyS0,115200n8`; the kernel writes to all and its shell is on the last.
    pub fn consoles(&self) -> impl Iterator<Item = &str> {
        self.values("console")
    }

    /// The root file system, as `UUID=...` or `/dev/sda1`; of several the last counts.
    pub fn root(&self) -> Option<&str> {
        self.values("root").last()
    }

    /// Modules that must not be loaded, by name (with `_` for `-`): of `modprobe.blacklist=`, and of the dracut parameters
    /// of the same kind.
    pub fn blacklisted_modules(&self) -> impl Iterator<Item = String> {
        let names = ["modprobe.blacklist", "module_blacklist", "rd.driver.blacklist", "rdblacklist"];
        names.into_iter().flat_map(|name| self.modules(name))
    }

    /// Those of them that the kernel itself refuses, also when another module needs them.
    pub fn refused_modules(&self) -> impl Iterator<Item = String> {
        self.modules("module_blacklist")
    }

    /// Names of modules in the lists that are values of a parameter.
    fn modules<'a>(&'a self, parameter: &'a str) -> impl Iterator<Item = String> {
        let names = self.values(parameter).flat_map(|list| list.split(','));
        names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_"))
    }

    /// Whether it is only for repair.
    pub fn is_for_repair(&self) -> bool {
        self.text.split_whitespace().any(|word| REPAIR.contains(&word))
    }

    /// Whether it turns Cloud-Init off.
    pub fn is_cloud_init_disabled(&self) -> bool {
        self.values("cloud-init").last() == Some("disabled")
    }
}

/// Names and values, in order. Quotes join words and are left out, as the kernel does.
fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut quoted = false;
    let words = text.split(move |letter: char| {
        quoted ^= letter == '"';
        letter.is_whitespace() && !quoted
    });
    let words = words.map(|word| word.trim_matches('"')).filter(|word| !word.is_empty());
    words.take_while(|word| *word != "--").map(|word| {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        (name, value.trim_start_matches('"'))
    })
}

fn is_same_name(a: &str, b: &str) -> bool {
    let letter = |letter| if letter == b'-' { b'_' } else { letter };
    a.bytes().map(letter).eq(b.bytes().map(letter))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::CommandLine;

    fn line(text: &str) -> CommandLine {
        CommandLine { source: String::new(), text: text.to_owned() }
    }

    #[test]
    fn parameters_are_found_by_name_in_order() {
        let line = line("root=/dev/sda1 ro console=tty0 console=ttyS0,115200n8 root=UUID=1-2 quiet -- console=none");
        assert_eq!(line.consoles().collect::<Vec<_>>(), ["tty0", "ttyS0,115200n8"]);
        assert_eq!(line.root(), Some("UUID=1-2"));
        assert_eq!(line.values("quiet").collect::<Vec<_>>(), [""]);
        assert_eq!(line.values("onsole").count(), 0);
    }

    #[test]
    fn quotes_join_words() {
        let line = line(r#"a="one console=two" "console=three four" b"#);
        assert_eq!(line.values("a").collect::<Vec<_>>(), ["one console=two"]);
        assert_eq!(line.consoles().collect::<Vec<_>>(), ["three four"]);
        assert_eq!(line.values("b").count(), 1);
    }

    #[test]
    fn blacklists_of_all_kinds_count() {
        let line = line("modprobe.blacklist=a-b,c,, rd.driver.blacklist=d module-blacklist=e modprobe_blacklist=f");
        assert_eq!(line.blacklisted_modules().collect::<Vec<_>>(), ["a_b", "c", "e", "d"]);
    }

    #[test]
    fn cloud_init_is_off_if_the_last_word_on_it_says_so() {
        assert!(line("quiet cloud-init=disabled").is_cloud_init_disabled());
        assert!(!line("cloud-init=disabled cloud-init=enabled").is_cloud_init_disabled());
        assert!(!line("cloud-init").is_cloud_init_disabled());
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(console|root|[-a\"= ,])*") {
            let line = line(&text);
            let all = line.consoles().count() + line.blacklisted_modules().count();
            assert!(all <= text.len());
            assert!(line.root().is_none_or(|root| root.len() <= text.len()));
        }
    }
}
