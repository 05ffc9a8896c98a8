//! What product publishes. It consumes nothing.

/// `product.created`, `product.changed`: the product as it is now.
pub(super) const CREATED: &str = "product.created";
/// See [`CREATED`].
pub(super) const CHANGED: &str = "product.changed";
/// `product.deleted`: the product as it was.
pub(super) const DELETED: &str = "product.deleted";
