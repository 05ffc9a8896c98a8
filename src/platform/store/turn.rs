//! Turns: whose a piece of work is for now, whatever the store is made of. See `platform/lease.rs`.

use super::{POLL, StoreError};
use async_trait::async_trait;
use std::time::{Duration, Instant};

/// How long a lease holds after its last renewal: who dies is replaced after this at the latest.
pub const TERM: Duration = Duration::from_secs(2);
/// How long the holder takes its own word for it. The rest of the term is for one round of work.
const RENEW: Duration = Duration::from_millis(700);

/// Whether the work is ours now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It was ours and is.
    Still,
    /// It is ours from now on: what was read before may have been done by another since.
    Anew,
    /// It is another's; ask again after [`POLL`].
    Elsewhere,
}

/// One process's side of a lease, whatever its backend.
#[async_trait(?Send)]
pub trait Turn {
    /// Takes or renews it; asked before each round of work.
    async fn hold(&mut self) -> Result<Held, StoreError>;
    /// Gives it back, so that another need not wait for its end.
    async fn release(&mut self);
}

/// What a process knows of a lease without asking.
#[derive(Debug, Default)]
pub struct Known(Option<(Held, Instant)>);

impl Known {
    /// Whose it is, where that is still known.
    pub fn held(&mut self) -> Option<Held> {
        // both clocks go on while a process is paused
        match self.0 {
            Some((held, until)) if Instant::now() < until => Some(if held == Held::Anew { Held::Still } else { held }),
            _ => {
                self.0 = None;
                None
            }
        }
    }

    /// Takes note of an answer; `asked` is from before it was asked for.
    pub fn learn(&mut self, held: Held, asked: Instant) -> Held {
        self.0 = Some((held, asked + if held == Held::Elsewhere { POLL } else { RENEW }));
        held
    }

    /// Whether it may be ours; forgets it.
    pub fn give_up(&mut self) -> bool {
        matches!(self.0.take(), Some((Held::Still | Held::Anew, _)))
    }
}
