//! The file threads: a few threads that may be blocked by a slow disk, so that the event loops never are.
//!
//! ```text
//!  session task ──job──> bounded queue ──> any file thread (target's identity) ──answer──> session task
//! ```
//!
//! The threads exist from the start, because they take the target's identity while the process still may give it to
//! them. A job that takes longer than [`LIMIT`] is answered ETIMEDOUT; its thread stays with the kernel until that lets
//! go, and the others go on. Called by `files`.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use tokio::sync::oneshot;

use crate::error::{AgentError, Doing};
use crate::namespace::STACK;
use crate::namespace::privileges::Identity;
use crate::sync::locked;

/// Threads: hung network file systems may hold some of them.
const THREADS: usize = 12;

/// Longest time from a request to its answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Jobs that may wait.
const QUEUE: usize = 4_096;

type Job = Box<dyn FnOnce() + Send>;

/// The threads' common queue.
#[derive(Clone)]
pub struct Pool(Arc<Queue>);

#[derive(Default)]
struct Queue {
    jobs: Mutex<VecDeque<Job>>,
    added: Condvar,
}

impl Pool {
    /// Starts the threads. Returns with them what the user should know about their identity.
    pub fn start(identity: &Identity) -> Result<(Pool, Option<String>), AgentError> {
        let pool = Pool(Arc::default());
        let (ready_tx, ready_rx) = std::sync::mpsc::channel();
        for number in 0..THREADS {
            let (queue, identity, ready_tx) = (Arc::clone(&pool.0), identity.clone(), ready_tx.clone());
            thread::Builder::new()
                .name(format!("files-{number}"))
                .stack_size(STACK)
                .spawn(move || {
                    let assumed = identity.assume();
                    let is_usable = assumed.is_ok();
                    // `start` waits for every thread's message, so it cannot be gone.
                    let _ = ready_tx.send(assumed);
                    drop(ready_tx);
                    if is_usable {
                        queue.work();
                    }
                })
                .doing(|| "start a file thread".to_owned())?;
        }
        drop(ready_tx);
        let mut notice = None;
        for assumed in ready_rx {
            notice = assumed?;
        }
        Ok((pool, notice))
    }

    /// Runs `job` on a file thread. A late result is dropped, so it must own what it opened.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Errno> {
        let (answer_tx, answer_rx) = oneshot::channel();
        let job = move || {
            if !answer_tx.is_closed() {
                // Nobody waits any more after the limit; the result is dropped as promised.
                drop(answer_tx.send(job()));
            }
        };
        {
            let mut jobs = locked(&self.0.jobs);
            if jobs.len() >= QUEUE {
                return Err(Errno::BUSY);
            }
            jobs.push_back(Box::new(job));
        }
        self.0.added.notify_one();
        match tokio::time::timeout(LIMIT, answer_rx).await {
            Ok(Ok(answer)) => answer,
            // The job panicked; its message is in the log.
            Ok(Err(_)) => Err(Errno::IO),
            Err(_) => Err(Errno::TIMEDOUT),
        }
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let mut jobs = locked(&self.jobs);
            let job = loop {
                match jobs.pop_front() {
                    Some(job) => break job,
                    None => jobs = self.added.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            };
            drop(jobs);
            // A panic must not cost a thread: there are no others to replace it.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                tracing::error!("a file request panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        Pool::start(&Identity::from_status(&status).unwrap()).unwrap().0
    }

    #[tokio::test]
    async fn a_slow_job_delays_nobody() {
        let pool = pool();
        let (release_tx, release_rx) = std::sync::mpsc::channel::<()>();
        let slow = tokio::spawn({
            let pool = pool.clone();
            async move { pool.run(move || release_rx.recv().map_err(|_| Errno::IO)).await }
        });
        for number in 0..100 {
            assert_eq!(pool.run(move || Ok(number)).await, Ok(number));
        }
        release_tx.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_costs_no_thread() {
        let pool = pool();
        for _ in 0..2 * THREADS {
            assert_eq!(pool.run(|| -> Result<(), Errno> { panic!("on purpose") }).await, Err(Errno::IO));
        }
        assert_eq!(pool.run(|| Ok(1)).await, Ok(1));
    }
}
