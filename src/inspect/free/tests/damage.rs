//! Damaged file systems: never a panic, an endless loop, or a range that is not on the disk.
