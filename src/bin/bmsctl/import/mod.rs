//! `bmsctl image import`: an image as it is named on the command line, in whatever format and wherever it lies, becomes
//! an image of a repository.

mod convert;
mod describe;
mod input;
mod sandbox;
mod store;

pub(crate) use self::describe::stamp;
pub(crate) use self::input::{ImageName, InputError, Opened, open};
pub(crate) use self::store::run;
