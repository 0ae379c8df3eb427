//! Reading a disk image in whatever format it has as sparse raw content. Only ever on the client's side: the daemon
//! parses no image format.
