//! Tables of a firmware, structure by structure (DMTF DSP0134). Tests only.

/// Where the kind of a module stands, behind the header.
const KIND_OFFSET: usize = 14;

/// A structure: its type, its fields behind the header, and its strings, counted from 1.
#[derive(Debug, Clone)]
pub(crate) struct Structure {
    kind: u8,
    fields: Vec<u8>,
    strings: Vec<String>,
}

impl Structure {
    /// A module of this technology, as version 3.2 has it.
    pub(crate) fn technology(mut self, technology: u8) -> Self {
        self.fields.push(technology);
        self
    }

    /// A module of this kind.
    pub(crate) fn memory_kind(mut self, kind: u8) -> Self {
        self.fields[KIND_OFFSET] = kind;
        self
    }
}

/// The tables as the kernel shows them.
pub(crate) fn tables(structures: &[Structure]) -> Vec<u8> {
    let mut tables = Vec::new();
    let end = Structure { kind: 127, fields: Vec::new(), strings: Vec::new() };
    for (handle, structure) in (0_u16..).zip(structures.iter().chain([&end])) {
        tables.push(structure.kind);
        tables.push(u8::try_from(structure.fields.len() + 4).expect("short"));
        tables.extend(handle.to_le_bytes());
        tables.extend(&structure.fields);
        for string in &structure.strings {
            tables.extend(string.as_bytes());
            tables.push(0);
        }
        let is_empty = structure.strings.is_empty();
        tables.extend(if is_empty { &[0, 0][..] } else { &[0] });
    }
    tables
}

/// A module of DDR4-2666 (type 17, version 2.8), or an empty slot of 0 MiB.
pub(crate) fn dimm(locator: &str, size_mib: u32, vendor: &str, part: &str, serial: &str) -> Structure {
    let (size, extended) = match u16::try_from(size_mib) {
        Ok(size) if size < 0x7fff => (size, 0),
        _ => (0x7fff, size_mib),
    };
    let mut fields = Vec::new();
    fields.extend([0; 8]); // array, error information, total width, data width
    fields.extend(size.to_le_bytes());
    fields.extend([9, 0, 1, 0, 0x1a, 0x80, 0]); // form, set, locator, bank, DDR4, details
    fields.extend(2666_u16.to_le_bytes());
    fields.extend([2, 4, 0, 3, 0]); // vendor, serial, asset tag, part, attributes
    fields.extend(extended.to_le_bytes());
    fields.extend(2666_u16.to_le_bytes());
    fields.extend([0; 6]); // voltages
    Structure { kind: 17, fields, strings: [locator, vendor, part, serial].map(str::to_owned).into() }
}

/// A processor (type 4, as far as its name).
pub(crate) fn cpu(version: &str) -> Structure {
    let mut fields = vec![1, 3, 0xfe, 2];
    fields.extend([0; 8]); // id
    fields.push(3); // version
    fields.extend([0; 15]);
    Structure { kind: 4, fields, strings: vec!["CPU01".to_owned(), "HiSilicon".to_owned(), version.to_owned()] }
}

/// An interface to a BMC (type 38).
pub(crate) fn bmc() -> Structure {
    Structure { kind: 38, fields: vec![1, 0x20, 0x20, 0, 0xa3, 0x0c, 0, 0, 0, 0, 0, 0], strings: Vec::new() }
}
