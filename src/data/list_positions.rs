//! Positions in a long list, so that a page far from its start costs as much as the first one, and so does its total.
//!
//! A page by number needs the id before its first entry, and only a scan of the index finds it. So one scan remembers the
//! id of every 10,000th entry. From then on, a page is found by a scan from the nearest of these ids, and the total is
//! counted from the last one.
//!
//! Entries that leave or join the list in front of a position shift it until the next scan, a second later on a list of a
//! million entries. A list with fewer than 10,000 entries has no positions: its pages and its total are exact. So are
//! pages by `after`, which need no positions.

use crate::kernel::error::StoreError;
use crate::kernel::page::PageRequest;
use async_trait::async_trait;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Entries between two positions.
const SPACING: i64 = 10_000;
/// Positions stay in use for this long, or for this multiple of the scan's duration: scans take at most 5 % of the time.
const MIN_LIFETIME: Duration = Duration::from_secs(1);
const LIFETIME_PER_SCAN: u32 = 20;

/// The queries of a list in ascending order of its ids, which begin at 1. Both must read only an index.
#[async_trait(?Send)]
pub trait IdList<C> {
    /// After this id, skips so many entries, and returns the id of the next one.
    async fn id_after(&self, conn: &mut C, id: i64, skip: i64) -> Result<Option<i64>, StoreError>;
    /// Number of entries after this id.
    async fn count_after(&self, conn: &mut C, id: i64) -> Result<i64, StoreError>;
}

/// Where to read a page: up to `limit` entries after this id, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    pub after: i64,
    pub limit: i64,
    /// Number of entries of the whole list.
    pub total: i64,
}

/// Known positions by filter. A filter with fewer entries than one spacing takes no memory.
pub struct ListPositions<F>(Mutex<HashMap<F, Known>>);

struct Known {
    /// Each `SPACING`th id.
    ids: Arc<[i64]>,
    valid_until: Instant,
}

impl<F> Default for ListPositions<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F: Eq + Hash> ListPositions<F> {
    /// A page in ascending order of ids.
    pub async fn page<C>(&self, conn: &mut C, filter: F, list: &impl IdList<C>, request: PageRequest) -> Result<Slice, StoreError> {
        let ids = self.ids(conn, filter, list).await?;
        let total = total(conn, &ids, list).await?;
        slice(conn, &ids, list, request.offset(), request.size.into(), total).await
    }

    /// A page in descending order of ids; the rows of the slice must be reversed. Counted from the start, because new
    /// entries, which come first in this order, would shift all positions counted from the end.
    pub async fn page_newest_first<C>(
        &self,
        conn: &mut C,
        filter: F,
        list: &impl IdList<C>,
        request: PageRequest,
    ) -> Result<Slice, StoreError> {
        let ids = self.ids(conn, filter, list).await?;
        let total = total(conn, &ids, list).await?;
        let end = (total - request.offset()).max(0);
        let start = (end - i64::from(request.size)).max(0);
        slice(conn, &ids, list, start, end - start, total).await
    }

    async fn ids<C>(&self, conn: &mut C, filter: F, list: &impl IdList<C>) -> Result<Arc<[i64]>, StoreError> {
        if let Some(known) = self.0.lock().get(&filter).filter(|known| known.valid_until > Instant::now()) {
            return Ok(known.ids.clone());
        }
        let started = Instant::now();
        let mut ids = Vec::new();
        while let Some(id) = list.id_after(conn, ids.last().copied().unwrap_or(0), SPACING - 1).await? {
            ids.push(id);
        }
        let ids: Arc<[i64]> = ids.into();
        let lifetime = MIN_LIFETIME.max(started.elapsed() * LIFETIME_PER_SCAN);
        let mut all = self.0.lock();
        if ids.is_empty() {
            all.remove(&filter);
        } else {
            all.insert(filter, Known { ids: ids.clone(), valid_until: Instant::now() + lifetime });
        }
        Ok(ids)
    }
}

async fn total<C>(conn: &mut C, ids: &[i64], list: &impl IdList<C>) -> Result<i64, StoreError> {
    Ok(ids.len() as i64 * SPACING + list.count_after(conn, ids.last().copied().unwrap_or(0)).await?)
}

async fn slice<C>(conn: &mut C, ids: &[i64], list: &impl IdList<C>, offset: i64, limit: i64, total: i64) -> Result<Slice, StoreError> {
    if offset >= total {
        return Ok(Slice { after: 0, limit: 0, total });
    }
    let position = usize::try_from(offset / SPACING).unwrap_or(usize::MAX).min(ids.len());
    let known = position.checked_sub(1).and_then(|n| ids.get(n)).copied().unwrap_or(0);
    let skip = offset - position as i64 * SPACING;
    let after = if skip == 0 { Some(known) } else { list.id_after(conn, known, skip - 1).await? };
    Ok(after.map_or(Slice { after: 0, limit: 0, total }, |after| Slice { after, limit, total }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// A list in memory that counts the entries that its queries step over.
    struct Listed {
        ids: Vec<i64>,
        steps: Cell<i64>,
    }

    impl Listed {
        fn new(ids: impl Iterator<Item = i64>) -> Self {
            Self { ids: ids.collect(), steps: Cell::new(0) }
        }

        /// The ids of a page, as a store reads them.
        fn read(&self, slice: Slice) -> Vec<i64> {
            self.ids.iter().copied().filter(|id| *id > slice.after).take(slice.limit as usize).collect()
        }
    }

    #[async_trait(?Send)]
    impl IdList<()> for Listed {
        async fn id_after(&self, _: &mut (), id: i64, skip: i64) -> Result<Option<i64>, StoreError> {
            self.steps.set(self.steps.get() + skip);
            Ok(self.ids.iter().copied().filter(|listed| *listed > id).nth(skip as usize))
        }

        async fn count_after(&self, _: &mut (), id: i64) -> Result<i64, StoreError> {
            let count = self.ids.iter().filter(|listed| **listed > id).count() as i64;
            self.steps.set(self.steps.get() + count);
            Ok(count)
        }
    }

    fn page(number: u32, size: u32) -> PageRequest {
        PageRequest { number, size }
    }

    /// Positions that outlive the test, however slow it is.
    async fn known(list: &Listed) -> ListPositions<()> {
        let positions = ListPositions::default();
        positions.page(&mut (), (), list, page(0, 10)).await.unwrap();
        positions.0.lock().get_mut(&()).unwrap().valid_until += Duration::from_secs(3600);
        positions
    }

    #[tokio::test]
    async fn pages_of_a_long_list_are_those_of_a_scan() {
        let (list, positions) = (Listed::new((1..=3 * SPACING + 5).map(|n| n * 3)), ListPositions::default());
        let all = list.ids.len() as i64;
        let numbers = [0, 1, 1427, 1428, 1429, 2857, 4285, 4286, 4287, u32::MAX / 2];
        for request in numbers.map(|number| page(number, 7)) {
            let expected: Vec<i64> = list.ids.iter().copied().skip(request.offset() as usize).take(7).collect();
            let found = positions.page(&mut (), (), &list, request).await.unwrap();
            assert_eq!((list.read(found), found.total), (expected, all), "{request:?}");
            let expected: Vec<i64> = list.ids.iter().rev().copied().skip(request.offset() as usize).take(7).collect();
            let found = positions.page_newest_first(&mut (), (), &list, request).await.unwrap();
            let newest_first: Vec<i64> = list.read(found).into_iter().rev().collect();
            assert_eq!((newest_first, found.total), (expected, all), "{request:?}");
        }
    }

    #[tokio::test]
    async fn page_far_from_the_start_steps_over_less_than_two_spacings() {
        let list = Listed::new(1..=30 * SPACING);
        let positions = known(&list).await;
        for number in [0, 10_000, 29_999] {
            list.steps.set(0);
            positions.page(&mut (), (), &list, page(number, 10)).await.unwrap();
            assert!(list.steps.get() < 2 * SPACING, "page {number}: {}", list.steps.get());
        }
    }

    #[tokio::test]
    async fn entry_added_at_the_end_of_a_long_list_is_listed_at_once() {
        let mut list = Listed::new(1..=2 * SPACING);
        let positions = known(&list).await;
        list.ids.push(2 * SPACING + 1);
        let newest = positions.page_newest_first(&mut (), (), &list, page(0, 2)).await.unwrap();
        assert_eq!((list.read(newest), newest.total), (vec![2 * SPACING, 2 * SPACING + 1], 2 * SPACING + 1));
    }

    #[tokio::test]
    async fn entry_removed_before_a_position_shifts_pages_until_the_next_scan() {
        let mut list = Listed::new(1..=2 * SPACING + 1);
        let old = known(&list).await;
        list.ids.remove(0);
        let second = page(1, SPACING as u32);
        let found = old.page(&mut (), (), &list, second).await.unwrap();
        assert_eq!((list.read(found).first(), found.total), (Some(&(SPACING + 1)), 2 * SPACING + 1));
        old.0.lock().get_mut(&()).unwrap().valid_until = Instant::now();
        let found = old.page(&mut (), (), &list, second).await.unwrap();
        assert_eq!((list.read(found).first(), found.total), (Some(&(SPACING + 2)), 2 * SPACING));
    }

    #[tokio::test]
    async fn list_shorter_than_one_spacing_is_exact_after_each_change() {
        let (mut list, positions) = (Listed::new(1..SPACING), ListPositions::default());
        for left in (SPACING - 4..SPACING).rev() {
            let last = positions.page(&mut (), (), &list, page(left as u32 - 1, 1)).await.unwrap();
            assert_eq!((list.read(last).len(), last.total), (1, left));
            list.ids.remove(0);
        }
        assert!(positions.0.lock().is_empty());
    }
}
