//! Checks as data: what a check is, where it applies, and the small vocabulary of rules. Nothing here evaluates anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inspect::facts::os::Family;
use crate::inspect::facts::services::Init;
use crate::inspect::profile::{BootSource, NetworkMode, Sdi};
use crate::inspect::report::{PlugIn, Severity};

/// A check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Stable id, as `CI-03`.
    pub id: String,
    /// What is checked, in a few words.
    pub title: String,
    /// What it belongs to.
    pub plug_in: PlugIn,
    /// How much it counts.
    pub severity: Severity,
    /// Where it is required, whatever `severity` says.
    #[serde(default)]
    pub required_when: Vec<Condition>,
    /// Where it applies: everywhere if nothing is said, otherwise where one of these holds.
    #[serde(default)]
    pub applies: Vec<Condition>,
    /// Where it does not apply all the same: where one of these holds.
    #[serde(default)]
    pub except: Vec<Condition>,
    /// What must be.
    pub rule: Rule,
    /// What to do if it is not.
    pub remedy: String,
    /// Why it must be.
    pub doc: String,
}

/// What an image and a profile are like. All that is said must hold; of a list, one entry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Condition {
    /// Family of the installed system.
    pub family: Option<Family>,
    /// Patterns of distribution and version, as `ubuntu-18.*`.
    pub os: Vec<String>,
    /// What starts its services.
    pub init: Vec<Init>,
    /// Architecture of the image; that of the profile if the image does not tell.
    pub architecture: Vec<String>,
    /// How the servers get their network.
    pub network_mode: Vec<NetworkMode>,
    /// Where their system disk is.
    pub boot_source: Vec<BootSource>,
    /// Their SDI card.
    pub sdi: Vec<Sdi>,
    /// Their firmware.
    pub firmware: Vec<String>,
}

/// What must be. In paths, a `*` stands for any text of one name, and `{root}` for each of the profile's plug-in roots.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Rule {
    /// All of these.
    All(Vec<Self>),
    /// One of these.
    Any(Vec<Self>),
    /// The rule of the case that holds; the cases are all that there are.
    Cases(Vec<Case>),
    /// A rule where a condition holds, and nothing elsewhere.
    When(Box<Case>),
    /// A file is there.
    File(File),
    /// Links lead to a file.
    Link(Link),
    /// Nothing is left.
    Absent(Absent),
    /// A package is installed.
    Package(Package),
    /// A package is not installed.
    NoPackage(Package),
    /// Services are started at boot.
    Enabled(Enabled),
    /// Services are not started at boot.
    NotEnabled(NotEnabled),
    /// A unit does not wait for others.
    UnitOrder(UnitOrder),
    /// A value of an INI file.
    Ini(Ini),
    /// A driver of Windows is new enough.
    InfVersion(InfVersion),
    /// Values of cloud-init's effective configuration.
    CloudConfig(CloudConfig),
    /// cloud-init asks OpenStack alone.
    CloudInitDatasource(Nothing),
    /// cloud-init does not need a virtual machine's DMI to find OpenStack.
    CloudInitDetection(Nothing),
    /// cloud-init is not switched off.
    CloudInitNotDisabled(Nothing),
    /// cloud-init's distribution is the installed one.
    CloudInitDistro(Nothing),
    /// A script's interpreter is there, with the modules that it needs.
    Interpreter(Interpreter),
    /// Others than the owner cannot write.
    Permissions(Permissions),
    /// Every kernel has a module that was built for it.
    Module(Module),
    /// The module of every kernel is new enough.
    ModuleVersion(ModuleVersion),
    /// Every kernel finds a module before it has its root.
    Initramfs(Initramfs),
    /// Nothing keeps a module from being loaded.
    ModuleNotBlocked(ModuleNotBlocked),
    /// Every kernel finds the profile's boot drivers before it has its root.
    BootDrivers(Nothing),
    /// Every kernel finds one of the profile's boot drivers before it has its root.
    AnyBootDriver(AnyBootDriver),
    /// Every kernel that is offered is there.
    KernelImages(Nothing),
    /// The image is for the processors of the servers.
    Architecture(Nothing),
    /// Each command line has an argument.
    KernelArgument(KernelArgument),
    /// Disks are not named by the order in which they are found.
    DeviceNames(DeviceNames),
    /// The firmware finds something to start.
    Firmware(Nothing),
    /// There is room for another partition, and the root can grow.
    Partitions(Nothing),
}

impl Rule {
    /// The rules within a rule.
    pub fn inner(&self) -> Vec<&Self> {
        match self {
            Self::All(rules) | Self::Any(rules) => rules.iter().collect(),
            Self::Cases(cases) => cases.iter().map(|case| &case.rule).collect(),
            Self::When(case) => vec![&case.rule],
            Self::File(_)
            | Self::Link(_)
            | Self::Absent(_)
            | Self::Package(_)
            | Self::NoPackage(_)
            | Self::Enabled(_)
            | Self::NotEnabled(_)
            | Self::UnitOrder(_)
            | Self::Ini(_)
            | Self::InfVersion(_)
            | Self::CloudConfig(_)
            | Self::CloudInitDatasource(_)
            | Self::CloudInitDetection(_)
            | Self::CloudInitNotDisabled(_)
            | Self::CloudInitDistro(_)
            | Self::Interpreter(_)
            | Self::Permissions(_)
            | Self::Module(_)
            | Self::ModuleVersion(_)
            | Self::Initramfs(_)
            | Self::ModuleNotBlocked(_)
            | Self::BootDrivers(_)
            | Self::AnyBootDriver(_)
            | Self::KernelImages(_)
            | Self::Architecture(_)
            | Self::KernelArgument(_)
            | Self::DeviceNames(_)
            | Self::Firmware(_)
            | Self::Partitions(_) => Vec::new(),
        }
    }
}

/// A rule without parameters: `{}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A rule for a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Where it holds.
    pub when: Condition,
    /// What must be then.
    pub rule: Rule,
}

/// See [`Rule::File`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Patterns of paths, of which one must be an ordinary file with content, reached through links if need be.
    pub any_of: Vec<String>,
    /// Whether a directory will do as well.
    #[serde(default)]
    pub or_directory: bool,
    /// Whether the owner must be able to execute it.
    #[serde(default)]
    pub executable: bool,
}

/// See [`Rule::Link`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Paths, of which one must lead to a target.
    pub any_of: Vec<String>,
    /// Paths of which each is a good target.
    pub to: Vec<String>,
}

/// See [`Rule::Absent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Absent {
    /// Patterns of paths. Files without content do not count.
    pub paths: Vec<String>,
    /// Paths that may be there all the same.
    #[serde(default)]
    pub except: Vec<String>,
    /// Whether what is left only deserves a warning.
    #[serde(default)]
    pub warn: bool,
}

/// See [`Rule::Package`] and [`Rule::NoPackage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Patterns of names, of which one must match.
    pub any_of: Vec<String>,
}

/// See [`Rule::Enabled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enabled {
    /// Services that must all be started, each as its names (without suffix) of which one will do.
    pub services: Vec<Vec<String>>,
}

/// See [`Rule::NotEnabled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotEnabled {
    /// Names without suffix.
    pub services: Vec<String>,
}

/// See [`Rule::UnitOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitOrder {
    /// Its whole name.
    pub unit: String,
    /// Units that neither `After=`, `Requires=` nor `Requisite=` may name.
    pub not_after: Vec<String>,
}

/// See [`Rule::Ini`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ini {
    /// Patterns of paths; the first file that is there counts.
    pub files: Vec<String>,
    /// Its section.
    pub section: String,
    /// Its key, of any case.
    pub key: String,
    /// Values of any case that it may not have. Where it is not there, it has none of them.
    #[serde(default)]
    pub not: Vec<String>,
    /// Items that the value, a list, must have: patterns.
    #[serde(default)]
    pub has: Vec<String>,
}

/// See [`Rule::InfVersion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfVersion {
    /// Patterns of paths; the newest that is there counts.
    pub files: Vec<String>,
    /// The oldest version that will do.
    pub at_least: String,
}

/// See [`Rule::CloudConfig`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CloudConfig {
    /// Keys, their parts separated by dots, and what their values must be.
    pub values: BTreeMap<String, Scalar>,
    /// Keys among them that need not be there.
    #[serde(default)]
    pub default: Vec<String>,
    /// The first version of cloud-init that this is for.
    #[serde(default)]
    pub since: Option<String>,
}

/// A value of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// Yes or no.
    Boolean(bool),
    /// A number.
    Integer(i64),
    /// A text; slashes at its end do not matter.
    Text(String),
}

/// See [`Rule::Interpreter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpreter {
    /// Patterns of paths; the first script that is there counts.
    pub scripts: Vec<String>,
    /// Python modules that it needs.
    pub modules: Vec<String>,
}

/// See [`Rule::Permissions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permissions {
    /// Patterns of paths; those that are there count.
    pub paths: Vec<String>,
}

/// See [`Rule::Module`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Names, all of which must be there.
    pub all_of: Vec<String>,
    /// A device that the first must drive: the begin of its modalias.
    #[serde(default)]
    pub alias: Option<String>,
}

/// See [`Rule::ModuleVersion`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleVersion {
    /// Its name.
    pub module: String,
    /// The oldest version that will do.
    pub at_least: String,
}

/// See [`Rule::Initramfs`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initramfs {
    /// Its name.
    pub module: String,
}

/// See [`Rule::ModuleNotBlocked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleNotBlocked {
    /// Its name.
    pub module: String,
}

/// See [`Rule::AnyBootDriver`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnyBootDriver {
    /// Patterns of drivers that do not count. If the profile has no others, nothing is asked.
    pub not: Vec<String>,
}

/// See [`Rule::KernelArgument`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KernelArgument {
    /// Patterns by architecture, of which one must match a word.
    pub any_of: BTreeMap<String, Vec<String>>,
}

/// See [`Rule::DeviceNames`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceNames {
    /// Patterns of names that change.
    pub not: Vec<String>,
}
