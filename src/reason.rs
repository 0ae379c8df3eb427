//! Every reason that a call or an operation can be refused or fail with: its stable name, its kind, and what to do next.
//!
//! This is the one table. Domain errors name a [`Reason`]; `rpc::status` maps its [`ErrorKind`] to a gRPC code;
//! `bmsctl` prints its hint; `docs/errors.md` explains each, and a test keeps that file complete.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of failure a reason is. It decides the gRPC code and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request can never be right.
    InvalidRequest,
    /// What the request names does not exist.
    NotFound,
    /// The request is right, but not in the present state of the server.
    Precondition,
    /// There is one already.
    Exists,
    /// Another operation holds what the request needs.
    Conflict,
    /// A party that the work depends on went away; trying again may help.
    Unavailable,
    /// Bytes are not what they must be.
    DataLoss,
    /// A limit was reached.
    Exhausted,
    /// The caller may not do this.
    PermissionDenied,
    /// A caller cancelled the work.
    Cancelled,
    /// The server or its disk failed.
    Internal,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, $kind:ident, $hint:literal;)+) => {
        /// Why something was refused or failed. Names are stable: they are never changed or used again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// All reasons, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The stable name, as in `google.rpc.ErrorInfo.reason`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The kind of failure.
            pub const fn kind(self) -> ErrorKind {
                match self { $(Self::$variant => ErrorKind::$kind,)+ }
            }

            /// What the caller can do next, one sentence for people.
            pub const fn hint(self) -> &'static str {
                match self { $(Self::$variant => $hint,)+ }
            }
        }
    };
}

reasons! {
    /// A field of the request has an impossible value.
    RequestMalformed = "REQUEST_MALFORMED", InvalidRequest, "correct the fields named in the message";
    /// The request id belongs to another request.
    RequestIdReused = "REQUEST_ID_REUSED", InvalidRequest, "use a new UUID for a new request";
    /// The caller is not who may call.
    PeerNotAllowed = "PEER_NOT_ALLOWED", PermissionDenied, "call as root, as the user that runs the agent, or as one that unix_roles of its configuration names";
    /// The caller's role does not allow the call.
    RoleRequired = "ROLE_REQUIRED", PermissionDenied, "call with a certificate or as a user of the role that the message names";
    /// Too many calls of one connection at once.
    CallLimit = "CALL_LIMIT", Exhausted, "wait until calls of this connection are answered";

    /// The call took too long, or its caller went away. It has begun nothing.
    CallTimedOut = "CALL_TIMED_OUT", Unavailable, "try again; if it stays so, a disk, the agent's state directory or a repository hangs: see the agent's log";
    /// No disk matches the selector.
    DiskNotFound = "DISK_NOT_FOUND", NotFound, "compare the selector with `bmsctl disk list`";
    /// Several disks match the selector.
    DiskAmbiguous = "DISK_AMBIGUOUS", Precondition, "add serial, wwn or size to the selector until one disk is left";
    /// The disk has neither serial nor WWN.
    DiskIdentityMissing = "DISK_IDENTITY_MISSING", Precondition, "such a disk cannot be told apart from another and is never written";
    /// Another disk has the same serial or WWN.
    DiskIdentityDuplicate = "DISK_IDENTITY_DUPLICATE", Precondition, "detach one of the two disks, or give the disks distinct identities in their controller";
    /// The disk, or a partition of it, is mounted.
    DiskMounted = "DISK_MOUNTED", Precondition, "unmount it, if it really is the right disk";
    /// The disk, or a partition of it, is swap.
    DiskSwap = "DISK_SWAP", Precondition, "run swapoff, if it really is the right disk";
    /// LVM, md, dm or another driver holds the disk.
    DiskHeld = "DISK_HELD", Precondition, "stop the volume or array that holds it, if it really is the right disk";
    /// The disk holds the agent's own root, boot, swap or state.
    DiskProtected = "DISK_PROTECTED", Precondition, "the agent never writes the disk it runs from; select another disk";
    /// The kernel refuses writes to the disk.
    DiskReadOnly = "DISK_READ_ONLY", Precondition, "make it writable in its controller, if it really is the right disk";
    /// The agent's own sandbox keeps it from the disk.
    DiskForbidden = "DISK_FORBIDDEN", Precondition, "give the unit a drop-in with DeviceAllow= for disks of this kind, as docs/operations.md shows, if it really is the right disk";
    /// The disk is removable media.
    DiskRemovable = "DISK_REMOVABLE", Precondition, "removable media is never a target; select a built-in disk";
    /// The disk has no capacity.
    DiskEmpty = "DISK_EMPTY", Precondition, "check the disk or its controller";
    /// Something holds the disk open exclusively.
    DiskBusy = "DISK_BUSY", Precondition, "find its user with `lsof` or `dmsetup table`, and stop it";
    /// The device node is a symbolic link.
    DiskNodeSymlink = "DISK_NODE_SYMLINK", Precondition, "the kernel's own node in /dev was replaced; restore it";
    /// The device node is no block device.
    DiskNodeNotBlock = "DISK_NODE_NOT_BLOCK", Precondition, "the kernel's own node in /dev was replaced; restore it";
    /// The open disk is not the disk that was selected.
    DiskChanged = "DISK_CHANGED", Conflict, "disks changed meanwhile; list them and plan again";
    /// The disk went away.
    DiskGone = "DISK_GONE", Unavailable, "check the disk and its cabling; after it is back, install again";
    /// The disk answered a read or write with an error.
    DiskIo = "DISK_IO", Internal, "replace the disk; the kernel log has the details";
    /// The disk answered a flush with an error: nothing written since the last good one can be trusted.
    DiskFlush = "DISK_FLUSH", Internal, "replace the disk; the kernel log has the details";
    /// The device refused a write for lack of space.
    DiskNoSpace = "DISK_NO_SPACE", Exhausted, "extend the pool behind a thin volume; a disk that was pulled answers so too";

    /// The image is larger than the disk.
    ImageTooLarge = "IMAGE_TOO_LARGE", Precondition, "select a larger disk";
    /// The image was built for another logical block size.
    BlockSizeMismatch = "BLOCK_SIZE_MISMATCH", Precondition, "use an image built for the disk's logical block size";
    /// The image has more groups than the memory budget allows.
    ImageTreeTooLarge = "IMAGE_TREE_TOO_LARGE", Exhausted, "use a larger group size, or raise memory_budget in the agent's configuration";
    /// The image lacks what the server cannot do without.
    ImageUnfit = "IMAGE_UNFIT", Precondition, "mend the image as `bmsctl image check` advises, or use a profile that fits the server";
    /// Whether the image has all that the server cannot do without is not known.
    ImageUninspected = "IMAGE_UNINSPECTED", Precondition, "see with `bmsctl image check` what is not known, and say it in a profile; or inspect with --inspection warn";
    /// The image does not fit the server.
    ImageIncompatible = "IMAGE_INCOMPATIBLE", Precondition, "see with `bmsctl image compat` what does not fit; take another image or server, or override these findings if you know better";
    /// Whether the image fits the server is not known.
    CompatibilityUnknown = "COMPATIBILITY_UNKNOWN", Precondition, "see with `bmsctl image compat` what is not known; override these findings if you know it";
    /// An override is for no finding, or for one that nothing makes up for.
    OverrideInvalid = "OVERRIDE_INVALID", InvalidRequest, "leave out this override; `bmsctl image compat` lists the findings";
    /// There is no such profile.
    ProfileUnknown = "PROFILE_UNKNOWN", NotFound, "use a profile of the agent's configuration, or a built-in one";
    /// What looks into disks and images died, hung or gave no answer.
    InspectorFailed = "INSPECTOR_FAILED", Internal, "the disk or image may be made to do harm: do not trust it; report it with the agent's log";
    /// The repository has no such image.
    ImageNotFound = "IMAGE_NOT_FOUND", NotFound, "compare with `bmsctl image list`";
    /// Several images have the name.
    ImageAmbiguous = "IMAGE_AMBIGUOUS", Precondition, "name the owner as OWNER/NAME, or give the image's id";
    /// The owner has an image of this name and version.
    ImageExists = "IMAGE_EXISTS", Exists, "choose another version, or delete the image that is there";
    /// An object of the image is not what its digest says, or is missing.
    ImageDamaged = "IMAGE_DAMAGED", DataLoss, "find out how far the damage goes with `bmsctl repository check --deep`, and import the image again";
    /// What describes an image makes no sense.
    ManifestMalformed = "MANIFEST_MALFORMED", InvalidRequest, "correct the field named in the message";
    /// The image may not be installed any more.
    ImageExpired = "IMAGE_EXPIRED", Precondition, "use a newer image";
    /// The owner has as many private images as it may have.
    ImageQuotaExceeded = "IMAGE_QUOTA_EXCEEDED", Exhausted, "delete private images that are not needed any more";
    /// The repository is not in the agent's configuration.
    RepositoryUnknown = "REPOSITORY_UNKNOWN", NotFound, "use one of the repositories in the agent's configuration";
    /// There is no repository, or its settings make no sense.
    RepositoryInvalid = "REPOSITORY_INVALID", Precondition, "check its settings; `bmsctl repository init` makes a new one";
    /// The repository does not answer.
    RepositoryUnavailable = "REPOSITORY_UNAVAILABLE", Unavailable, "check the server and the network, then do the same again: what is done already is skipped";
    /// The repository does not let the agent in.
    RepositoryDenied = "REPOSITORY_DENIED", PermissionDenied, "check its credentials";
    /// The repository can only be read.
    RepositoryReadOnly = "REPOSITORY_READ_ONLY", Precondition, "use a directory or an S3 server";
    /// The repository has no room.
    RepositoryFull = "REPOSITORY_FULL", Exhausted, "make room, for example with `bmsctl repository gc`";
    /// Another collector works in the repository.
    RepositoryBusy = "REPOSITORY_BUSY", Conflict, "wait until the other `bmsctl repository gc` has ended";
    /// The certificate of a server is not trusted.
    SourceUntrusted = "SOURCE_UNTRUSTED", PermissionDenied, "check the server's certificate, or name its CA in the settings";
    /// Nothing may be fetched from the URL.
    SourceNotAllowed = "SOURCE_NOT_ALLOWED", InvalidRequest, "use a URL below one of allowed_urls in the agent's configuration";
    /// The server redirects to where nothing may be fetched from, too often, or out of TLS.
    SourcePolicy = "SOURCE_POLICY", Precondition, "give the URL that the redirects lead to, if it is allowed; else have it allowed";
    /// There is no file at the URL.
    SourceNotFound = "SOURCE_NOT_FOUND", NotFound, "check the URL";
    /// The server does not give the file.
    SourceDenied = "SOURCE_DENIED", PermissionDenied, "check the URL, and whether its signature has expired";
    /// The server does not answer, or breaks off again and again.
    SourceUnavailable = "SOURCE_UNAVAILABLE", Unavailable, "check the server and the network, then do the same again";
    /// The file on the server became another while it was read.
    SourceChanged = "SOURCE_CHANGED", DataLoss, "do the same again, with the size and root of what is there now";
    /// The file is in a format that is not read, or not in the one that was named.
    SourceFormat = "SOURCE_FORMAT", Precondition, "give raw content, plain or compressed by gzip, xz or zstd with usual settings; or import the image into a repository";
    /// The content is shorter or longer than it should be.
    SourceLength = "SOURCE_LENGTH", DataLoss, "check the size: it is that of the raw content, in bytes";
    /// The file is truncated or damaged.
    SourceDamaged = "SOURCE_DAMAGED", DataLoss, "put a whole file onto the server, and do the same again";
    /// An image took too long to be written.
    UploadTooSlow = "UPLOAD_TOO_SLOW", Precondition, "do it again: what is in the repository is skipped; or make the repository with a longer grace";
    /// The disk is no longer what the plan saw.
    PlanStale = "PLAN_STALE", Precondition, "plan again and compare";
    /// The plan token was not made by this agent, or not for this request.
    PlanTokenInvalid = "PLAN_TOKEN_INVALID", PermissionDenied, "use the token of a plan for this very disk, image and options";

    /// A message does not fit the protocol of the stream.
    PushProtocol = "PUSH_PROTOCOL", InvalidRequest, "correct the client: the message says what was out of order";
    /// A group's bytes do not match its chaining value; they were not written.
    GroupDigestMismatch = "GROUP_DIGEST_MISMATCH", DataLoss, "the bytes were damaged on the way or in the client's memory; push again";
    /// Data came for a group that was never offered, or offered as a hole.
    GroupNotOffered = "GROUP_NOT_OFFERED", InvalidRequest, "correct the client: offer each group before its data";
    /// A payload is not the bytes of the groups it claims to be.
    GroupDataMalformed = "GROUP_DATA_MALFORMED", InvalidRequest, "correct the client: a payload holds exactly the bytes of its groups";
    /// A group was offered twice, differently.
    OfferConflict = "OFFER_CONFLICT", InvalidRequest, "the source changed while it was read, or the client is wrong; push again from a source at rest";
    /// The offers that arrived are not the offers that were sent.
    OffersDigestMismatch = "OFFERS_DIGEST_MISMATCH", DataLoss, "the offers were damaged on the way; push again";
    /// The content is not the image that the caller pinned.
    RootMismatch = "ROOT_MISMATCH", DataLoss, "check that the image and the root belong together; the disk has no boot region";
    /// The caller finished before every group was there.
    PushIncomplete = "PUSH_INCOMPLETE", InvalidRequest, "correct the client: offer all groups and send all that are wanted";
    /// The stream ended before the caller finished.
    PushInterrupted = "PUSH_INTERRUPTED", Unavailable, "push the same image again: what is on the disk already is skipped";

    /// What was read back is not what was written.
    ReadBackMismatch = "READ_BACK_MISMATCH", DataLoss, "the disk does not keep what it is given: replace it";
    /// A sector of the disk that is captured cannot be read.
    CaptureUnreadable = "CAPTURE_UNREADABLE", DataLoss, "replace the disk; what can still be read of it is for a rescue tool, for an image with holes where data was would be a lie";
    /// The disk does not hold what it should.
    DiskMismatch = "DISK_MISMATCH", DataLoss, "the disk changed since its install; install again with --in-place to repair it";
    /// There is nothing to verify the disk against.
    VerifyNoRecord = "VERIFY_NO_RECORD", Precondition, "give the root and size, or the image";

    /// No such operation.
    OperationNotFound = "OPERATION_NOT_FOUND", NotFound, "list them with `bmsctl operation list`";
    /// Another operation holds the disk.
    OperationInProgress = "OPERATION_IN_PROGRESS", Conflict, "wait for the operation named in the message, or cancel it";
    /// A running operation cannot be forgotten.
    OperationRunning = "OPERATION_RUNNING", Precondition, "cancel it first";
    /// Too many operations run.
    OperationLimit = "OPERATION_LIMIT", Exhausted, "wait for one to end";
    /// A caller cancelled the operation.
    OperationCancelled = "OPERATION_CANCELLED", Cancelled, "begin it again when ready; a cancelled install leaves a disk without a boot region";
    /// The agent ended before the operation did.
    OperationInterrupted = "OPERATION_INTERRUPTED", Unavailable, "if the agent fetches the image, ask for the operation again when it is back; else begin it again with a new request id: an install skips what is on the disk already";
    /// What was noted of an operation cannot be read.
    OperationRecordDamaged = "OPERATION_RECORD_DAMAGED", DataLoss, "look at the disk with `bmsctl disk list` and `bmsctl verify`: it says itself what is on it";
    /// The agent is stopping.
    AgentStopping = "AGENT_STOPPING", Unavailable, "try again when the agent is back";
    /// The agent cannot keep its records.
    StateUnavailable = "STATE_UNAVAILABLE", Exhausted, "make room in the agent's state directory, and make it writable";
    /// The agent cannot write its audit log, and begins nothing that it could not write down.
    AuditUnavailable = "AUDIT_UNAVAILABLE", Exhausted, "make room for the audit directory in the agent's state directory, and make it writable; `bmsctl audit verify` finds damage";
    /// A defect of the agent.
    Internal = "INTERNAL", Internal, "report it with the agent's log";
}

/// By its name.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.iter().find(|reason| reason.name() == name);
        found.copied().ok_or_else(|| serde::de::Error::custom("no such reason"))
    }
}

/// An error that a caller may see. Implemented by the error type of each module; mapped in one place, `rpc::status`.
///
/// `Display` is one clause for people that names disk, image and offset; it never repeats the source.
pub trait DomainError: std::error::Error + Send + Sync + 'static {
    /// Why.
    fn reason(&self) -> Reason;

    /// Every variable of the message, by a lowerCamelCase key that never changes.
    fn metadata(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::Reason;

    #[test]
    fn names_are_unique_and_fit_error_info() {
        let mut seen = HashSet::new();
        for reason in Reason::ALL {
            let name = reason.name();
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.len() <= 63 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'));
            assert!(!reason.hint().is_empty());
        }
    }
}
