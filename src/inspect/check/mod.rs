//! Checks of an image: a table of data, evaluated against what an image is and what a server needs.
