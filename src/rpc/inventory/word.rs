//! Enums on the wire. What this version has no word for is the one that stands for all others; where there is none, the
//! fact is not known.

use super::{Mirrored, Place};
use crate::disk::identity::Transport;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::host::BootMode;
use crate::hardware::inventory::{Attachment, LinkState, SecureBoot};
use crate::rpc::proto::v1;

/// An enum with the same words here and on the wire, and one for all others.
macro_rules! words {
    ($word:ident: $($name:ident)+, else $other:ident) => {
        impl From<$word> for v1::$word {
            fn from(word: $word) -> Self {
                match word {
                    $($word::$name => Self::$name,)+
                    $word::$other => Self::Unspecified,
                }
            }
        }

        impl From<v1::$word> for $word {
            fn from(word: v1::$word) -> Self {
                match word {
                    $(v1::$word::$name => Self::$name,)+
                    v1::$word::Unspecified => Self::$other,
                }
            }
        }

        impl Mirrored for $word {
            type Wire = i32;

            fn view(self, _: &mut Place) -> i32 {
                v1::$word::from(self).into()
            }

            fn parse(wire: i32, _: &mut Place) -> Self {
                v1::$word::try_from(wire).unwrap_or_default().into()
            }
        }
    };
    ($word:ident: $($name:ident)+) => {
        impl From<$word> for v1::$word {
            fn from(word: $word) -> Self {
                match word {
                    $($word::$name => Self::$name,)+
                }
            }
        }

        impl Mirrored for Fact<$word> {
            type Wire = Option<i32>;

            fn view(self, place: &mut Place) -> Option<i32> {
                place.known(self).map(|word| v1::$word::from(word).into())
            }

            fn parse(wire: Option<i32>, place: &mut Place) -> Self {
                match wire.map(|number| v1::$word::try_from(number).unwrap_or_default()) {
                    $(Some(v1::$word::$name) => Self::Known($word::$name),)+
                    Some(v1::$word::Unspecified) => Self::unknown(UnknownReason::Other),
                    None => Self::Unknown(place.why_unknown().unwrap_or_default()),
                }
            }
        }
    };
}

words!(Transport: Nvme Ata Sas Scsi Virtio Usb Iscsi Fc Mmc Loop, else Unknown);
words!(Attachment: Nvme Sas Sata Raid Scsi Virtio Sdi Usb Virtual, else Other);
words!(SecureBoot: Enabled Disabled SetupMode Unsupported, else Other);
words!(UnknownReason: NotReported Missing Unreadable Placeholder Malformed TimedOut Withheld, else Other);
words!(BootMode: Uefi Bios);
words!(LinkState: Up Down);
