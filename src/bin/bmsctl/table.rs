//! Tables for people: the one look of them.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Table};

/// What stands where nothing is known.
const NONE: &str = "-";

/// Rows under a header.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = plain();
    table.set_header(header.map(|name| Cell::new(name.to_uppercase())));
    table.add_rows(rows);
    trimmed(&table)
}

/// Names and values, one pair a line.
#[derive(Debug)]
pub(crate) struct Fields {
    table: Table,
}

impl Fields {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self { table: plain() }
    }

    /// Adds a value.
    pub(crate) fn field(mut self, name: &str, value: &str) -> Self {
        self.table.add_row([name, value]);
        self
    }

    /// Adds a value, or a dash for none.
    pub(crate) fn some(self, name: &str, value: Option<&str>) -> Self {
        self.field(name, value.unwrap_or(NONE))
    }

    /// Adds a value if there is one.
    pub(crate) fn maybe(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.field(name, value),
            None => self,
        }
    }

    /// The lines.
    pub(crate) fn into_text(self) -> String {
        trimmed(&self.table)
    }
}

/// The value, or a dash for none.
pub(crate) fn or_dash(value: Option<&str>) -> String {
    value.unwrap_or(NONE).to_owned()
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    table
}

/// The lines without the padding around them.
fn trimmed(table: &Table) -> String {
    let unpadded = |line: String| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned();
    let lines: Vec<String> = table.lines().map(unpadded).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Fields, table};

    #[test]
    fn columns_are_aligned_and_lines_not_padded() {
        let text =
            table(["name", "size"], [["sda".to_owned(), "1 GiB".to_owned()], ["nvme0n1".to_owned(), "2 B".to_owned()]]);
        assert_eq!(text, "NAME     SIZE\nsda      1 GiB\nnvme0n1  2 B");
    }

    #[test]
    fn a_missing_value_is_a_dash_or_left_out() {
        let text = Fields::new().some("serial", None).maybe("wwn", None).field("name", "sda").into_text();
        assert_eq!(text, "serial  -\nname    sda");
    }
}
