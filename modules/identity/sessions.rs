//! Sessions: which refresh token of each is the current one, and which sessions are over.
//!
//! What is over is kept in a file until no token of it can live any more, so that a restart does not
//! bring it back. The current refresh tokens are in memory only: after a restart a session's first
//! refresh token to come counts as the current one.

use crate::platform::files::Folder;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

const FILE: &str = "ended-sessions";
const MOST: usize = 10_000;

/// All sessions.
pub(super) struct Sessions {
    folder: Folder,
    /// No token of a session outlives its end by more, in seconds.
    keep: i64,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Session to its current refresh token and when that expires.
    current: HashMap<String, (String, i64)>,
    /// Session to when it can be forgotten.
    ended: HashMap<String, i64>,
    /// Sessions that started until then are over, all of them.
    not_before: i64,
}

/// What a refresh token's use comes to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rotated {
    /// The next one takes its place.
    Yes,
    /// It was replaced before: somebody has a copy.
    Replayed,
    /// The session is over.
    Over,
}

impl Sessions {
    /// Reads what was over before the restart.
    pub(super) fn open(folder: Folder, keep: i64, now: i64) -> Result<Self, String> {
        let mut inner = Inner::default();
        for line in folder.read(FILE)?.unwrap_or_default().lines() {
            let entry = line.split_once(' ').and_then(|(name, at)| Some((name, at.parse::<i64>().ok()?)));
            match entry.ok_or_else(|| format!("identity/{FILE}: `{line}` is not a session and a time; remove the file to go on"))? {
                ("*", at) => inner.not_before = at,
                (_, at) if at <= now => {}
                (name, at) => {
                    inner.ended.insert(name.into(), at);
                }
            }
        }
        Ok(Self { folder, keep, inner: Mutex::new(inner) })
    }

    /// Whether a session is over. `started` is when it began.
    pub(super) fn is_over(&self, session: &str, started: i64) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).is_over(session, started)
    }

    /// Whether this refresh token may still be used once.
    pub(super) fn is_current(&self, session: &str, token: &str) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.current.get(session).is_none_or(|(current, _)| current == token)
    }

    /// A session's first refresh token.
    pub(super) fn start(&self, session: &str, token: &str, now: i64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.set_current(session, token, now, now + self.keep);
    }

    /// Puts the next refresh token in the place of the one that is used.
    pub(super) fn rotate(&self, session: &str, started: i64, used: &str, next: &str, now: i64) -> Rotated {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.is_over(session, started) {
            return Rotated::Over;
        }
        if inner.current.get(session).is_some_and(|(current, _)| current != used) {
            return Rotated::Replayed;
        }
        inner.set_current(session, next, now, now + self.keep);
        Rotated::Yes
    }

    /// Ends a session, for good once this returns.
    pub(super) fn end(&self, session: &str, now: i64) -> Result<(), String> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.current.remove(session);
        if inner.ended.insert(session.into(), now + self.keep).is_none() && inner.ended.len() > MOST {
            inner.ended.retain(|_, until| *until > now);
            if inner.ended.len() > MOST {
                // to forget one would bring it back: so everybody logs in again
                inner.ended.clear();
                inner.not_before = now;
            }
        }
        let mut text = format!("* {}\n", inner.not_before);
        inner.ended.iter().for_each(|(name, until)| text.push_str(&format!("{name} {until}\n")));
        self.folder.write(FILE, &text)
    }
}

impl Inner {
    fn is_over(&self, session: &str, started: i64) -> bool {
        started <= self.not_before || self.ended.contains_key(session)
    }

    fn set_current(&mut self, session: &str, token: &str, now: i64, until: i64) {
        if self.current.len() >= MOST && !self.current.contains_key(session) {
            self.current.retain(|_, (_, until)| *until > now);
            if self.current.len() >= MOST {
                // as after a restart: the next refresh token of each session is taken as the current one
                self.current.clear();
            }
        }
        self.current.insert(session.into(), (token.into(), until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir, now: i64) -> Sessions {
        Sessions::open(Folder::open(dir.path().join("identity")).unwrap(), 100, now).unwrap()
    }

    #[test]
    fn a_refresh_token_is_good_until_its_successor_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = open(&dir, 10);
        sessions.start("s", "r1", 10);
        assert!(sessions.is_current("s", "r1") && !sessions.is_current("s", "r0"));
        assert_eq!(sessions.rotate("s", 10, "r1", "r2", 11), Rotated::Yes);
        assert_eq!(sessions.rotate("s", 10, "r1", "r3", 12), Rotated::Replayed);
        assert_eq!(sessions.rotate("s", 10, "r2", "r3", 12), Rotated::Yes);
    }

    #[test]
    fn what_is_over_stays_over_after_a_restart_until_its_tokens_are_dead() {
        let dir = tempfile::tempdir().unwrap();
        open(&dir, 10).end("s", 10).unwrap();
        let restarted = open(&dir, 50);
        assert!(restarted.is_over("s", 5) && !restarted.is_over("t", 5));
        assert_eq!(restarted.rotate("s", 5, "r1", "r2", 50), Rotated::Over);
        assert!(open(&dir, 110).inner.lock().unwrap().ended.is_empty());
        std::fs::remove_file(dir.path().join("identity").join(FILE)).unwrap();
        Folder::open(dir.path().join("identity")).unwrap().write(FILE, "nonsense\n").unwrap();
        assert!(Sessions::open(Folder::open(dir.path().join("identity")).unwrap(), 100, 0).err().unwrap().contains("nonsense"));
    }

    #[test]
    fn too_many_ended_sessions_end_them_all() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = open(&dir, 10);
        for n in 0..MOST {
            sessions.inner.lock().unwrap().ended.insert(format!("s{n}"), 110);
        }
        sessions.end("last", 20).unwrap();
        assert!(sessions.is_over("s1", 15) && sessions.is_over("last", 20) && !sessions.is_over("new", 21));
        assert!(open(&dir, 30).is_over("s1", 15));
    }
}
