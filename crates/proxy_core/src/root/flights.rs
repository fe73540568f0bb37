//! Questions on their way: who asks what is being asked already waits for that answer.
//!
//! Also the guess of what will be asked next. The kernel walks a path name by name, and believes each name for a second;
//! on a link with 50 ms delay, `/usr/lib/python3/x` would stop a program for 200 ms each second. So when a folder has to
//! be asked for again, the names that the last walk through it took are asked for at the same time.
//!
//! Called by [`super::files`].

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex};

use tokio::sync::OnceCell;

use super::cache::Fact;
use super::tree::RemotePath;
use crate::sync::locked;

/// Folders whose last walk is remembered.
const MOST_WALKS: usize = 4096;
/// Names of one walk.
const DEEPEST: usize = 16;

type Flight = Arc<OnceCell<Result<Fact, i32>>>;

#[derive(Default)]
pub(super) struct Flights {
    flying: Mutex<HashMap<RemotePath, Flight>>,
    walks: Mutex<HashMap<RemotePath, RemotePath>>,
}

// === impl Flights ===

impl Flights {
    /// Announces a question, so that [`Flights::join`] finds it before its answer is even asked for.
    pub(super) fn announce(&self, key: &RemotePath) {
        locked(&self.flying).entry(key.clone()).or_default();
    }

    pub(super) fn has(&self, key: &RemotePath) -> bool {
        locked(&self.flying).contains_key(key)
    }

    /// The answer to `key`: of the question on its way, or else of `ask`.
    pub(super) async fn join(
        &self,
        key: &RemotePath,
        ask: impl Future<Output = Result<Fact, i32>>,
    ) -> Result<Fact, i32> {
        let flight = locked(&self.flying).entry(key.clone()).or_default().clone();
        let outcome = flight.get_or_init(|| ask).await.clone();
        let mut flying = locked(&self.flying);
        if flying.get(key).is_some_and(|current| Arc::ptr_eq(current, &flight)) {
            flying.remove(key);
        }
        outcome
    }

    /// A walk went from a folder to one of its names.
    pub(super) fn note_step(&self, folder: RemotePath, name: RemotePath) {
        let mut walks = locked(&self.walks);
        if walks.len() >= MOST_WALKS && !walks.contains_key(&folder) {
            walks.clear();
        }
        walks.insert(folder, name);
    }

    /// The names that the last walk through `folder` took from there on.
    pub(super) fn walk_from(&self, folder: &RemotePath) -> Vec<RemotePath> {
        let walks = locked(&self.walks);
        let mut names: Vec<RemotePath> = Vec::new();
        while names.len() < DEEPEST
            && let Some(next) = walks.get(names.last().unwrap_or(folder))
        {
            names.push(next.clone());
        }
        names
    }
}

/// The key of a folder's listing; no path ends with a slash.
pub(super) fn listing_key(folder: &RemotePath) -> RemotePath {
    [folder, &b"/"[..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        Arc::from(text.as_bytes())
    }

    #[test]
    fn walk_follows_the_last_steps() {
        let flights = Flights::default();
        flights.note_step(path("/"), path("/usr"));
        flights.note_step(path("/usr"), path("/usr/bin"));
        flights.note_step(path("/usr"), path("/usr/lib"));
        assert_eq!(flights.walk_from(&path("/")), [path("/usr"), path("/usr/lib")]);
        assert!(flights.walk_from(&path("/etc")).is_empty());
    }

    #[tokio::test]
    async fn second_question_waits_for_the_first() {
        let flights = Flights::default();
        let (answer_tx, answer_rx) = tokio::sync::oneshot::channel::<()>();
        let key = path("/a");
        let first = flights.join(&key, async {
            answer_rx.await.map_err(|_| libc::EIO)?;
            Ok(Fact::Absent)
        });
        let second = flights.join(&key, async { Err(libc::EIO) });
        let (first, second, ()) = tokio::join!(first, second, async { answer_tx.send(()).unwrap() });
        assert!(matches!((first, second), (Ok(Fact::Absent), Ok(Fact::Absent))));
        assert!(!flights.has(&key));
    }
}
