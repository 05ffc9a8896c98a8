//! Ids of products, in the form of MongoDB's ObjectId.

use crate::kernel::clock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Generates ids in the form of MongoDB's ObjectId: 4 bytes of seconds, 5 random bytes per process, a counter of 3
/// bytes.
pub(in crate::modules::product) struct IdGenerator {
    process: u64,
    counter: AtomicU32,
}

impl Default for IdGenerator {
    fn default() -> Self {
        Self { process: rand::random_range(0..=0xff_ffff_ffff), counter: AtomicU32::new(rand::random()) }
    }
}

impl IdGenerator {
    /// 24 hex digits.
    pub(in crate::modules::product) fn next(&self) -> String {
        let seconds = (clock::now_ms() / 1000) as u32;
        let count = self.counter.fetch_add(1, Ordering::Relaxed) & 0xff_ffff;
        format!("{seconds:08x}{:010x}{count:06x}", self.process)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_generated_are_distinct_object_ids() {
        let ids = IdGenerator::default();
        let (a, b) = (ids.next(), ids.next());
        assert!(a != b && a.len() == 24 && a.bytes().all(|c| c.is_ascii_hexdigit()));
    }
}
