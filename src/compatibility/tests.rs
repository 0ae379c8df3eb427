//! The gate: each rule in each of its outcomes, overrides, and what they come to.

mod drivers;
mod fixture;
mod overrides;
mod pairs;
mod rules;
