//! Files: how the remote root's questions reach the agent.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use mirrord_link::Link;
use mirrord_protocol::agent::{Request, Response};

use crate::root::Remote;

/// `EIO`: what a program reads when the link is over.
const EIO: i32 = 5;

/// The remote root's source of answers: the link.
pub(crate) struct LinkRemote(pub Link);

impl Remote for LinkRemote {
    fn request(
        &self,
        request: Request,
        payload: Bytes,
    ) -> Pin<Box<dyn Future<Output = Result<(Response, Bytes), i32>> + Send + '_>> {
        Box::pin(async move {
            match self.0.request(&request, payload).await.map_err(|_| EIO)? {
                (Response::Errno(errno) | Response::Refused { errno, .. }, _) => Err(errno),
                answer => Ok(answer),
            }
        })
    }
}
