//! The group tree: the chaining values of all groups, and the root that they merge to.
