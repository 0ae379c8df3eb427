//! Disks: finding them, telling them apart, guarding them, and moving bytes to and from them around the page cache.
