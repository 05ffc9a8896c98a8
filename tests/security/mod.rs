//! Who gets in, and who does not.

mod forged;
mod issuer;
mod rotation;
mod tokens;
