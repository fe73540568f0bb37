//! A stream joined to a socket: both directions at once, half-close by half-close, reset by reset.
//!
//! Used at both ends of the link for outgoing and incoming connections alike.

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::stream::{ECONNRESET, Stream, StreamReader, StreamWriter};

/// Bytes of one read from the socket.
const READ: usize = 64 << 10;

/// Bytes that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// From the socket into the link.
    pub sent: u64,
    /// From the link to the socket.
    pub received: u64,
}

/// Joins `stream` and `socket` until both directions have ended or one of them broke. A broken stream resets the
/// socket (`SO_LINGER` 0), a broken socket resets the stream.
pub async fn relay(stream: Stream, socket: TcpStream) -> Relayed {
    // Bytes that a person typed must not wait for more; a failure here means that the socket is broken already.
    let _ = socket.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let (mut source, mut sink) = socket.into_split();
    let mut relayed = Relayed::default();
    let outcome = {
        let up = send(&mut source, &mut writer, &mut relayed.sent);
        let down = receive(&mut reader, &mut sink, &mut relayed.received);
        tokio::pin!(up, down);
        tokio::select! {
            sent = &mut up => match sent { Ok(()) => down.await, broken => broken },
            received = &mut down => match received { Ok(()) => up.await, broken => broken },
        }
    };
    if let Err(errno) = outcome {
        writer.reset(errno);
        if let Ok(socket) = source.reunite(sink) {
            // RST instead of FIN: what is missing must not look like a proper end.
            #[allow(deprecated, reason = "only a non-zero linger blocks the runtime; zero resets at once")]
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }
    relayed
}

async fn send(source: &mut OwnedReadHalf, writer: &mut StreamWriter, sent: &mut u64) -> Result<(), i32> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(READ);
        let length = source.read_buf(&mut buffer).await.map_err(errno)?;
        if length == 0 {
            writer.finish();
            return Ok(());
        }
        *sent += length as u64;
        writer.write(buffer.split().freeze()).await?;
    }
}

async fn receive(reader: &mut StreamReader, sink: &mut OwnedWriteHalf, received: &mut u64) -> Result<(), i32> {
    while let Some(mut bytes) = reader.next().await? {
        *received += bytes.len() as u64;
        write_all(sink, &mut bytes).await?;
    }
    // ENOTCONN: the other side is gone already, which its reading half reports.
    let _ = sink.shutdown().await;
    Ok(())
}

async fn write_all(sink: &mut OwnedWriteHalf, bytes: &mut Bytes) -> Result<(), i32> {
    while !bytes.is_empty() {
        sink.write_buf(bytes).await.map_err(errno)?;
    }
    Ok(())
}

fn errno(error: std::io::Error) -> i32 {
    error.raw_os_error().unwrap_or(ECONNRESET)
}
