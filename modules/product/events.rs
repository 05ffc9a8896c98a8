//! Events that product publishes. It consumes none.

use super::api::Product;
use crate::events::asyncapi::Document;

/// Data of `product.created` and `product.changed`: the product after the change.
pub(super) const CREATED: &str = "product.created";
pub(super) const CHANGED: &str = "product.changed";
/// Data: the product before the deletion.
pub(super) const DELETED: &str = "product.deleted";

/// Events of this module in AsyncAPI.
pub fn describe(document: &mut Document) {
    for (kind, when) in [(CREATED, "a product was added"), (CHANGED, "it was changed"), (DELETED, "it was deleted; this is what it was")] {
        document.sends::<Product>("product", kind, "the product's id", when);
    }
}
