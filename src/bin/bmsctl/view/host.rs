//! `host show`

use bms_agent::hardware::inventory::Inventory;
use bms_agent::rpc::inventory;
use bms_agent::rpc::proto::v1;
use serde::Serialize;

use super::{enum_name, non_empty};

/// A server.
#[derive(Debug, Serialize)]
pub(crate) struct HostView {
    pub(crate) agent_version: String,
    pub(crate) hostname: String,
    pub(crate) architecture: String,
    pub(crate) kernel_release: String,
    pub(crate) boot_id: String,
    /// `uefi` or `bios`.
    pub(crate) boot_mode: Option<String>,
    pub(crate) hardware_model: HardwareModelView,
    pub(crate) cpu_count: u32,
    pub(crate) memory_bytes: u64,
    /// As private images are bound to it. Null if the agent is older.
    pub(crate) model: Option<String>,
    /// All of the hardware, as an inventory is everywhere. Null if it was not asked for.
    pub(crate) inventory: Option<Inventory>,
}

/// What DMI says.
#[derive(Debug, Default, Serialize)]
pub(crate) struct HardwareModelView {
    pub(crate) sys_vendor: Option<String>,
    pub(crate) product_name: Option<String>,
    pub(crate) product_version: Option<String>,
    pub(crate) board_vendor: Option<String>,
    pub(crate) board_name: Option<String>,
    pub(crate) bios_version: Option<String>,
}

impl From<v1::Host> for HostView {
    fn from(host: v1::Host) -> Self {
        Self {
            boot_mode: enum_name(host.boot_mode().as_str_name(), "BOOT_MODE_"),
            agent_version: host.agent_version,
            hostname: host.hostname,
            architecture: host.architecture,
            kernel_release: host.kernel_release,
            boot_id: host.boot_id,
            hardware_model: host.hardware_model.map(HardwareModelView::from).unwrap_or_default(),
            cpu_count: host.cpu_count,
            memory_bytes: host.memory_bytes,
            model: non_empty(&host.model),
            inventory: host.inventory.map(inventory::parse),
        }
    }
}

impl From<v1::HardwareModel> for HardwareModelView {
    fn from(model: v1::HardwareModel) -> Self {
        Self {
            sys_vendor: model.sys_vendor,
            product_name: model.product_name,
            product_version: model.product_version,
            board_vendor: model.board_vendor,
            board_name: model.board_name,
            bios_version: model.bios_version,
        }
    }
}

#[cfg(test)]
mod tests {
    use bms_agent::hardware::fact::Fact;
    use bms_agent::hardware::inventory::Inventory;
    use bms_agent::rpc::inventory;
    use bms_agent::rpc::proto::v1;
    use serde_json::json;

    use super::HostView;

    #[test]
    fn json_of_a_host_has_all_keys_and_null_for_what_is_not_known() {
        let host = v1::Host {
            agent_version: "0.1.0".to_owned(),
            hostname: "bms-7".to_owned(),
            architecture: "aarch64".to_owned(),
            kernel_release: "6.6.0".to_owned(),
            boot_id: "b".to_owned(),
            boot_mode: v1::BootMode::Uefi.into(),
            hardware_model: Some(v1::HardwareModel {
                sys_vendor: Some("XFUSION".to_owned()),
                ..v1::HardwareModel::default()
            }),
            cpu_count: 96,
            memory_bytes: 1 << 38,
            ..v1::Host::default()
        };
        let expected = json!({
            "agent_version": "0.1.0",
            "hostname": "bms-7",
            "architecture": "aarch64",
            "kernel_release": "6.6.0",
            "boot_id": "b",
            "boot_mode": "uefi",
            "hardware_model": {
                "sys_vendor": "XFUSION",
                "product_name": null,
                "product_version": null,
                "board_vendor": null,
                "board_name": null,
                "bios_version": null,
            },
            "cpu_count": 96,
            "memory_bytes": 274_877_906_944_u64,
            "model": null,
            "inventory": null,
        });
        assert_eq!(serde_json::to_value(HostView::from(host)).expect("serializable"), expected);
    }

    #[test]
    fn json_of_a_host_has_its_inventory_as_it_is() {
        let known = Inventory { schema: 1, tpms: Fact::Known(vec![]), ..Inventory::default() };
        let host = v1::Host {
            model: "huawei 2288h v5 (x86_64)".to_owned(),
            inventory: Some(inventory::view(known.clone())),
            ..v1::Host::default()
        };
        let seen = serde_json::to_value(HostView::from(host)).expect("serializable");
        assert_eq!(seen["model"], "huawei 2288h v5 (x86_64)");
        assert_eq!(seen["inventory"], serde_json::to_value(known).expect("serializable"));
    }
}
