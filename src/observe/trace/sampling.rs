//! Head-based sampling. The process that starts a trace decides, and the other processes follow it. For traces that
//! start here, the first few of each second and a share of the others are recorded, so that a shop with few requests
//! records all of them.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Recorded traces out of 2^32.
static SHARE: AtomicU64 = AtomicU64::new(0);
/// Traces per second that are always recorded.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// Traces per second that are recorded because an untrusted client requests it.
const MAX_FOREIGN_PER_SECOND: u64 = 100;

static OWN_TRACES: PerSecondLimit = PerSecondLimit(AtomicU64::new(0));
static FOREIGN_TRACES: PerSecondLimit = PerSecondLimit(AtomicU64::new(0));

/// `share` is from 0 to 1; `first` is a number of traces per second.
pub fn set(share: f64, first: u32) {
    SHARE.store((share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64, Relaxed);
    FIRST.store(first.into(), Relaxed);
}

/// Decides whether to record a trace that starts now.
pub fn decide() -> bool {
    u64::from(rand::random::<u32>()) < SHARE.load(Relaxed) || OWN_TRACES.has_room(FIRST.load(Relaxed))
}

/// Decides whether to follow an untrusted client's request to record its trace.
pub fn accept_foreign() -> bool {
    FOREIGN_TRACES.has_room(MAX_FOREIGN_PER_SECOND)
}

/// The current second in the upper 32 bits, and its count in the lower.
struct PerSecondLimit(AtomicU64);

impl PerSecondLimit {
    fn has_room(&self, limit: u64) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        if limit == 0 {
            return false;
        }
        let second = START.elapsed().as_secs() & 0xffff_ffff;
        let counted = self.0.fetch_update(Relaxed, Relaxed, |state| {
            let count = if state >> 32 == second { state & 0xffff_ffff } else { 0 };
            (count < limit).then_some(second << 32 | (count + 1))
        });
        counted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // one test: the settings are process-wide
    #[test]
    fn share_and_first_per_second_limit_recorded_traces() {
        let recorded = |n: u32| (0..n).filter(|_| decide()).count();
        set(0.0, 0);
        assert_eq!(recorded(1000), 0);
        set(1.0, 0);
        assert_eq!(recorded(1000), 1000);
        set(0.1, 0);
        let tenth = recorded(100_000);
        assert!((9000..11_000).contains(&tenth), "{tenth}");
        set(0.0, 3);
        let first = recorded(1000);
        assert!((3..=6).contains(&first), "{first}: a second may end meanwhile");
        set(0.0, 0);
        let accepted = (0..10_000).filter(|_| accept_foreign()).count();
        assert!((100..=200).contains(&accepted), "{accepted}");
    }
}
