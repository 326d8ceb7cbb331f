//! To come: see the code map in the crate's documentation.
