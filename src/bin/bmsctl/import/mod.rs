//! The reading side of an import: an image as it is named on the command line, in whatever format and wherever it lies,
//! as content to be read once.

mod convert;
mod download;
mod input;
mod sandbox;

pub(crate) use self::input::{ImageName, InputError, Opened, open};
