//! What product publishes. It consumes nothing.

use super::api::Product;
use crate::events::asyncapi::Document;

/// `product.created`, `product.changed`: the product as it is now.
pub(super) const CREATED: &str = "product.created";
/// See [`CREATED`].
pub(super) const CHANGED: &str = "product.changed";
/// `product.deleted`: the product as it was.
pub(super) const DELETED: &str = "product.deleted";

/// What others may expect.
pub fn describe(document: &mut Document) {
    for (kind, when) in [(CREATED, "a product was added"), (CHANGED, "it was changed"), (DELETED, "it was deleted; this is what it was")] {
        document.sends::<Product>("product", kind, "the product's id", when);
    }
}
