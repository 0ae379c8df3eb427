//! Why a volume was taken whole. Every word is ours: a reason holds numbers and names of our own, never a stranger's text.

use serde::{Deserialize, Serialize};

/// Why nothing of a volume is called free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WholeReason {
    /// It holds nothing that is known.
    #[error("it holds no file system that is known")]
    Unknown,
    /// It may share its bytes with another volume.
    #[error("another volume may lie in the same bytes")]
    Shared,
    /// It belongs to something that is not looked into, or that bears more than one signature.
    #[error("it bears the signature of {owner}")]
    Foreign {
        /// What it belongs to.
        owner: Owner,
    },
    /// Every byte of a volume on this disk may be hashed.
    #[error("the disk holds hashes of dm-verity, which may cover free bytes as well")]
    Verity,
    /// It was not put to rest.
    #[error("it is not clean: {sign}")]
    NotClean {
        /// What says so.
        sign: Sign,
    },
    /// It uses features that are not known here.
    #[error("{set} features {bits:#x} are not known")]
    Features {
        /// Which set of features.
        set: FeatureSet,
        /// Those bits of the set that are not known.
        bits: u64,
    },
    /// It is built in a way that is not read here.
    #[error("it has {what}")]
    Unsupported {
        /// What it has.
        what: Shape,
    },
    /// A checksum is wrong.
    #[error("the checksum of the {structure} at byte {offset_bytes} of the volume is wrong")]
    Checksum {
        /// Of what.
        structure: Structure,
        /// Where it begins in the volume, in bytes.
        offset_bytes: u64,
    },
    /// Numbers contradict each other, or cannot be.
    #[error("the {structure} at byte {offset_bytes} of the volume is inconsistent")]
    Inconsistent {
        /// Where it was found.
        structure: Structure,
        /// Where that begins in the volume, in bytes.
        offset_bytes: u64,
    },
    /// The disk did not give bytes.
    #[error("the {structure} at byte {offset_bytes} of the volume cannot be read")]
    Unreadable {
        /// What was read.
        structure: Structure,
        /// Where it begins in the volume, in bytes.
        offset_bytes: u64,
    },
    /// It has more of something than is read.
    #[error("its {structure} exceeds what is read")]
    TooLarge {
        /// What there is too much of.
        structure: Structure,
    },
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $(#[doc = $word] $variant,)+
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word,)+ })
            }
        }
    };
}

words! {
    /// What a volume belongs to that is no single file system.
    Owner {
        Several = "several file systems",
        Lvm = "LVM",
        Luks = "LUKS",
        Raid = "a RAID",
        Bcache = "bcache",
        Swap = "swap",
        Ntfs = "NTFS",
        Fat = "FAT",
        Exfat = "exFAT",
        BitLocker = "BitLocker",
        Verity = "dm-verity",
        F2fs = "F2FS",
        Zfs = "ZFS",
        Iso = "ISO 9660",
        Squashfs = "squashfs",
    }
}

words! {
    /// What says that a file system was not put to rest.
    Sign {
        NotUnmounted = "it was not unmounted",
        Errors = "errors were found in it",
        Orphans = "files are deleted that were open",
        Journal = "its journal holds changes",
        Log = "its log does not end with an unmount",
        LogTree = "its log tree holds changes",
        InProgress = "it is being made or copied",
        NeedsRepair = "it asks for a repair",
    }
}

words! {
    /// A set of features.
    FeatureSet {
        Compatible = "compatible",
        ReadOnlyCompatible = "read-only compatible",
        Incompatible = "incompatible",
        LogIncompatible = "log-incompatible",
        Version = "version",
        Flags = "superblock flag",
        Profile = "chunk profile",
    }
}

words! {
    /// A shape of a file system that is not read.
    Shape {
        Revision = "an unknown revision",
        ExternalJournal = "a journal on another device",
        RealTimeDevice = "a real-time device",
        SeveralDevices = "several devices",
        ChecksumType = "an unknown kind of checksum",
    }
}

words! {
    /// A structure of a disk or a file system.
    Structure {
        PartitionTable = "partition table",
        Signature = "signature",
        Superblock = "superblock",
        GroupDescriptors = "group descriptors",
        GroupMetadata = "metadata of groups",
        BlockBitmap = "block bitmap",
        AllocationGroup = "allocation group header",
        FreeSpaceTree = "free space tree",
        Log = "log",
        Chunks = "chunk tree",
        Roots = "root tree",
        BlockGroups = "block groups",
        Extents = "extent tree",
    }
}
