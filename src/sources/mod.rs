//! Where records come from. Each source yields complete listings of facts, or
//! an error; it decides nothing.

pub mod facts;
