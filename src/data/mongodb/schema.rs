//! The indexes: looked at by every start, created by `tradepost migrate`.
//!
//! Creating one that is there changes nothing, so several processes may do it at once. What documents look
//! like is their reader's business: it knows older forms.

use super::explain;
use crate::kernel::error::StoreError;
use ::mongodb::bson::{Document, doc};
use ::mongodb::error::ErrorKind;
use ::mongodb::options::IndexOptions;
use ::mongodb::{Collection, IndexModel};
use futures_util::TryStreamExt;

/// An index over one field. Documents without the field are not in it.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// The field.
    pub field: &'static str,
    /// Whether no two documents may have the same value.
    pub unique: bool,
}

impl Index {
    fn model(self) -> IndexModel {
        let options = IndexOptions::builder().sparse(true).unique(self.unique).build();
        IndexModel::builder().keys(doc! { self.field: 1 }).options(options).build()
    }

    fn is(self, there: &IndexModel) -> bool {
        let unique = there.options.as_ref().and_then(|options| options.unique).unwrap_or_default();
        let sparse = there.options.as_ref().and_then(|options| options.sparse).unwrap_or_default();
        there.keys.len() == 1 && there.keys.contains_key(self.field) && unique == self.unique && sparse
    }
}

/// The server's word for a collection that does not exist.
const NO_SUCH_COLLECTION: i32 = 26;

/// Creates what is missing where settings allow it, and refuses otherwise. What is there is only read.
pub(super) async fn prepare(name: &str, collection: &Collection<Document>, wanted: &[Index], migrate: bool) -> Result<(), StoreError> {
    let there = there(collection).await.map_err(|cause| explain(name, &cause))?;
    let missing: Vec<Index> = wanted.iter().copied().filter(|index| !there.iter().any(|model| index.is(model))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !migrate {
        return Err(StoreError::Outdated { store: name.into(), pending: missing.len(), setting: "mongodb.migrate" });
    }
    for index in missing {
        let created = collection.create_index(index.model()).await;
        created.map_err(|cause| match explain(name, &cause) {
            away @ StoreError::Unavailable { .. } => away,
            other => {
                let (on, unique) = (index.field, if index.unique { " unique" } else { "" });
                StoreError::Broken(format!("{}.{on}: no{unique} sparse index can be made: {other}", collection.name()))
            }
        })?;
        tracing::info!(store = name, index = index.field, "index created");
    }
    Ok(())
}

async fn there(collection: &Collection<Document>) -> ::mongodb::error::Result<Vec<IndexModel>> {
    let listed = match collection.list_indexes().await {
        Ok(cursor) => cursor.try_collect().await,
        Err(cause) => Err(cause),
    };
    match listed {
        Err(cause) if matches!(cause.kind.as_ref(), ErrorKind::Command(c) if c.code == NO_SUCH_COLLECTION) => Ok(Vec::new()),
        other => other,
    }
}
