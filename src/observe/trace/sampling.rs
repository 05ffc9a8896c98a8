//! Which traces are recorded. Whoever began a trace has decided, and everybody who comes after him keeps to
//! it; here is decided only of those that begin with us: a share of them, and the first few of each second, so
//! that a quiet shop's are all there.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Of 2^32 traces so many are recorded.
static SHARE: AtomicU64 = AtomicU64::new(0);
/// And so many of each second.
static FIRST: AtomicU64 = AtomicU64::new(0);
/// Traces of each second that are recorded because a stranger says so.
const FOREIGN: u64 = 100;

static OURS: Few = Few(AtomicU64::new(0));
static THEIRS: Few = Few(AtomicU64::new(0));

/// From now on: `share` from 0 to 1, and `first` traces of each second.
pub fn set(share: f64, first: u32) {
    SHARE.store((share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64, Relaxed);
    FIRST.store(first.into(), Relaxed);
}

/// Whether a trace that begins now is recorded.
pub fn decide() -> bool {
    u64::from(rand::random::<u32>()) < SHARE.load(Relaxed) || OURS.has_room(FIRST.load(Relaxed))
}

/// Whether a stranger's word that his trace is to be recorded counts now.
pub fn foreign() -> bool {
    THEIRS.has_room(FOREIGN)
}

/// The second under way in the upper half, and how many it has had.
struct Few(AtomicU64);

impl Few {
    fn has_room(&self, most: u64) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        if most == 0 {
            return false;
        }
        let second = START.elapsed().as_secs() & 0xffff_ffff;
        let counted = self.0.fetch_update(Relaxed, Relaxed, |known| {
            let count = if known >> 32 == second { known & 0xffff_ffff } else { 0 };
            (count < most).then_some(second << 32 | (count + 1))
        });
        counted.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // one test: the settings are the process's
    #[test]
    fn a_share_of_all_and_the_first_of_each_second() {
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
        let theirs = (0..10_000).filter(|_| foreign()).count();
        assert!((100..=200).contains(&theirs), "{theirs}");
    }
}
