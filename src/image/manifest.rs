//! The manifest: what describes an image.
