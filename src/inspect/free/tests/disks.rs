//! Whole disks: partitions, and what is never free.
