//! The indexes: checked at every start, created by `tradepost migrate`.
//!
//! Creating an existing index changes nothing, so several processes may do it at once. Documents have no migrations:
//! their readers accept older forms.

use super::error::store_error;
use crate::kernel::error::StoreError;
use ::mongodb::bson::{Document, doc};
use ::mongodb::error::ErrorKind;
use ::mongodb::options::IndexOptions;
use ::mongodb::{Collection, IndexModel};
use futures_util::TryStreamExt;

/// A sparse index over one field: documents without the field are not in it.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    pub field: &'static str,
    pub unique: bool,
}

impl Index {
    fn model(self) -> IndexModel {
        let options = IndexOptions::builder().sparse(true).unique(self.unique).build();
        IndexModel::builder().keys(doc! { self.field: 1 }).options(options).build()
    }

    fn matches(self, existing: &IndexModel) -> bool {
        let unique = existing.options.as_ref().and_then(|options| options.unique).unwrap_or_default();
        let sparse = existing.options.as_ref().and_then(|options| options.sparse).unwrap_or_default();
        existing.keys.len() == 1 && existing.keys.contains_key(self.field) && unique == self.unique && sparse
    }
}

/// NamespaceNotFound: the collection does not exist.
const NAMESPACE_NOT_FOUND: i32 = 26;

/// Creates missing indexes if settings allow it, and fails otherwise. Without missing indexes it only reads.
pub(super) async fn prepare(name: &str, collection: &Collection<Document>, wanted: &[Index], migrate: bool) -> Result<(), StoreError> {
    let existing = existing_indexes(collection).await.map_err(|cause| store_error(name, &cause))?;
    let missing: Vec<Index> = wanted.iter().copied().filter(|index| !existing.iter().any(|model| index.matches(model))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !migrate {
        return Err(StoreError::SchemaOutdated { store: name.into(), pending: missing.len(), setting: "mongodb.migrate" });
    }
    for index in missing {
        let created = collection.create_index(index.model()).await;
        created.map_err(|cause| match store_error(name, &cause) {
            unavailable @ StoreError::Unavailable { .. } => unavailable,
            other => {
                let (on, unique) = (index.field, if index.unique { " unique" } else { "" });
                StoreError::Internal(format!("{}.{on}: cannot create a{unique} sparse index: {other}", collection.name()))
            }
        })?;
        tracing::info!(store = name, index = index.field, "index created");
    }
    Ok(())
}

async fn existing_indexes(collection: &Collection<Document>) -> ::mongodb::error::Result<Vec<IndexModel>> {
    let listed = match collection.list_indexes().await {
        Ok(cursor) => cursor.try_collect().await,
        Err(cause) => Err(cause),
    };
    match listed {
        Err(cause) if matches!(cause.kind.as_ref(), ErrorKind::Command(c) if c.code == NAMESPACE_NOT_FOUND) => Ok(Vec::new()),
        other => other,
    }
}
