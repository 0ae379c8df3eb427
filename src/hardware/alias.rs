//! Other names for the same hardware: a vendor that was renamed, a product line that was. A table that is built in, and the
//! operator's.
