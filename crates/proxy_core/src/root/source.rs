//! Where answers come from: the [`Remote`] that is attached to the root, with a time limit on every question.
//!
//! Called by everything in the root that has to ask the pod. Errors are errno values, ready for the kernel.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use mirrord_protocol::agent::{Attributes, Request, Response};

/// Longer than any sane file system takes, shorter than a person waits before killing the program.
const LIMIT: Duration = Duration::from_secs(30);

/// The far side of the root: answers [`Request`]s about files. Implemented by the agent link, and by tests.
///
/// An `Err` is an errno for the case that there is no answer at all (the link is gone: `EIO`).
pub trait Remote: Send + Sync + 'static {
    /// Asks; `payload` is the request's bulk part.
    fn request(&self, request: Request, payload: Bytes) -> Answer<'_>;
}

/// What [`Remote::request`] returns.
pub type Answer<'a> = Pin<Box<dyn Future<Output = Result<(Response, Bytes), i32>> + Send + 'a>>;

/// The attached remote, if any.
#[derive(Default)]
pub(super) struct Source(RwLock<Option<Arc<dyn Remote>>>);

// === impl Source ===

impl Source {
    /// From now on `remote` answers; `None` lets every question fail at once.
    pub(super) fn set(&self, remote: Option<Arc<dyn Remote>>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = remote;
    }

    pub(super) fn is_attached(&self) -> bool {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_some()
    }

    async fn ask(&self, request: Request) -> Result<(Response, Bytes), i32> {
        let remote = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let remote = remote.ok_or(libc::EIO)?;
        match tokio::time::timeout(LIMIT, remote.request(request, Bytes::new())).await {
            Ok(Ok((Response::Errno(errno) | Response::Refused { errno, .. }, _))) => Err(sane(errno)),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(errno)) => Err(sane(errno)),
            Err(_) => {
                tracing::warn!("a file request to the target was not answered within {} s", LIMIT.as_secs());
                Err(libc::EIO)
            }
        }
    }

    /// Attributes, and the link's text or the file's content.
    pub(super) async fn lookup(&self, path: &[u8], prefetch: u32) -> Result<(Attributes, Bytes), i32> {
        match self.ask(Request::Lookup { path: path.to_vec().into(), prefetch }).await? {
            (Response::Entry(attributes), payload) => Ok((attributes, payload)),
            (other, _) => Err(unexpected("Lookup", &other)),
        }
    }

    /// Handle, attributes, first bytes.
    pub(super) async fn open(&self, path: &[u8], prefetch: u32) -> Result<(u64, Attributes, Bytes), i32> {
        match self.ask(Request::Open { path: path.to_vec().into(), prefetch }).await? {
            (Response::Opened { handle, attributes }, payload) => Ok((handle, attributes, payload)),
            (other, _) => Err(unexpected("Open", &other)),
        }
    }

    /// At most `len` bytes; fewer mean the end of the file.
    pub(super) async fn read(&self, handle: u64, offset: u64, len: u32) -> Result<Bytes, i32> {
        let mut data = self.data("Read", Request::Read { handle, offset, len }).await?;
        data.truncate(len as usize);
        Ok(data)
    }

    /// Closes a handle. Nobody waits for it and nothing depends on its outcome: the agent closes what is left anyway.
    pub(super) async fn close(&self, handle: u64) {
        if let Err(errno) = self.ask(Request::Close { handle }).await {
            tracing::debug!(errno, "the agent did not confirm the close of a file");
        }
    }

    /// MessagePack entries and the cookie to go on with.
    pub(super) async fn list(&self, path: &[u8], cookie: u64) -> Result<(u64, Bytes), i32> {
        match self.ask(Request::List { path: path.to_vec().into(), cookie }).await? {
            (Response::Entries { next }, payload) => Ok((next, payload)),
            (other, _) => Err(unexpected("List", &other)),
        }
    }

    pub(super) async fn access(&self, path: &[u8], mode: u32) -> Result<(), i32> {
        match self.ask(Request::Access { path: path.to_vec().into(), mode }).await? {
            (Response::Done, _) => Ok(()),
            (other, _) => Err(unexpected("Access", &other)),
        }
    }

    pub(super) async fn statfs(&self, path: &[u8]) -> Result<mirrord_protocol::agent::Statfs, i32> {
        match self.ask(Request::Statfs { path: path.to_vec().into() }).await? {
            (Response::Statfs(statfs), _) => Ok(statfs),
            (other, _) => Err(unexpected("Statfs", &other)),
        }
    }

    pub(super) async fn get_xattr(&self, path: &[u8], name: &[u8]) -> Result<Bytes, i32> {
        self.data("GetXattr", Request::GetXattr { path: path.to_vec().into(), name: name.to_vec().into() }).await
    }

    pub(super) async fn list_xattr(&self, path: &[u8]) -> Result<Bytes, i32> {
        self.data("ListXattr", Request::ListXattr { path: path.to_vec().into() }).await
    }

    async fn data(&self, name: &str, request: Request) -> Result<Bytes, i32> {
        match self.ask(request).await? {
            (Response::Data, payload) => Ok(payload),
            (other, _) => Err(unexpected(name, &other)),
        }
    }
}

/// The kernel takes 1..=511 from a file system; ENOSYS would switch the operation off for the rest of the session.
fn sane(errno: i32) -> i32 {
    match errno {
        libc::ENOSYS => libc::EOPNOTSUPP,
        1..=511 => errno,
        _ => libc::EIO,
    }
}

fn unexpected(question: &str, answer: &Response) -> i32 {
    tracing::warn!("the agent answered {question} with {answer:?}");
    libc::EIO
}
