//! Checks against made-up images: one that passes everything, and each way to break it.

mod broken;
mod fixture;
mod loading;
mod windows;
