//! Who gets in, and who does not.

mod issuer;
mod rotation;
mod tokens;
