//! The hardware model: what private images are bound to. Here is how it is spelled; other names for the same hardware are
//! the business of [`alias`](super::alias).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::inventory::Inventory;

/// A hardware model, spelled in one way: trimmed, with single spaces, in lower case. What is none is unknown; why, the
/// inventory says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct HardwareModel {
    /// The vendor: `huawei`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// The product: `2288h v5`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub product: Option<String>,
    /// As `uname -m` calls it: `x86_64`, `aarch64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
}

impl HardwareModel {
    /// The model with these names, however they are spelled.
    pub fn new(vendor: Option<&str>, product: Option<&str>, architecture: Option<&str>) -> Self {
        let [vendor, product, architecture] = [vendor, product, architecture].map(|name| name.and_then(spelled));
        Self { vendor, product, architecture }
    }

    /// The model of a server. Board, SKU and family do not count: they are shared between products.
    pub fn of(inventory: &Inventory) -> Self {
        let facts = [&inventory.system.vendor, &inventory.system.product_name, &inventory.cpu.architecture];
        let [vendor, product, architecture] = facts.map(|fact| fact.value().map(String::as_str));
        Self::new(vendor, product, architecture)
    }
}

impl fmt::Display for HardwareModel {
    /// For people: `huawei 2288h v5 (x86_64)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [vendor, product, architecture] = [
            (&self.vendor, "unknown vendor"),
            (&self.product, "unknown product"),
            (&self.architecture, "unknown architecture"),
        ]
        .map(|(name, unknown)| name.as_deref().unwrap_or(unknown));
        write!(f, "{vendor} {product} ({architecture})")
    }
}

/// A name in the one way to spell it; none if there is nothing to it.
pub(super) fn spelled(name: &str) -> Option<String> {
    let words: Vec<_> = name.split_whitespace().map(str::to_lowercase).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::HardwareModel;

    #[test]
    fn spelling_does_not_tell_models_apart() {
        let model = HardwareModel::new(Some("Huawei"), Some(" 2288H\u{a0}  V5 "), Some("x86_64"));
        assert_eq!(model, HardwareModel::new(Some("HUAWEI "), Some("2288h v5"), Some("x86_64")));
        assert_eq!(model.to_string(), "huawei 2288h v5 (x86_64)");
        assert_ne!(model, HardwareModel::new(Some("Huawei"), Some("2288 HV5"), Some("x86_64")));
    }

    #[test]
    fn what_is_not_there_is_unknown_and_not_empty() {
        let model = HardwareModel::new(Some("  "), None, Some("aarch64"));
        assert_eq!((model.vendor.as_deref(), model.product.as_deref()), (None, None));
        assert_eq!(model.to_string(), "unknown vendor unknown product (aarch64)");
        assert_eq!(serde_json::to_string(&model).expect("JSON"), r#"{"architecture":"aarch64"}"#);
        assert_eq!(
            serde_json::from_str::<HardwareModel>(r#"{"architecture":"aarch64","bits":64}"#).expect("JSON"),
            model
        );
    }
}
