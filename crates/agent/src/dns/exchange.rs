//! One DNS packet to the target's name servers and back, unread: for record types and flags that no resolver call has.
//!
//! UDP first, TCP when the answer is cut short; one server after the other. Called by `dns` on the network thread.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Bytes of the header that every packet has.
pub const HEADER: usize = 12;

/// Longest packet: TCP's length field has 16 bits.
const PACKET: usize = 65_535;

/// Longest wait for one server by one transport.
const SERVER_LIMIT: Duration = Duration::from_secs(2);

/// Sends `query` to the servers until one answers.
pub async fn exchange(servers: &[SocketAddr], query: &[u8]) -> io::Result<Vec<u8>> {
    if query.len() < HEADER || query.len() > PACKET {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for &server in servers {
        match ask(server, query).await {
            // SERVFAIL, NOTIMP and REFUSED are this server's trouble; the next one may know.
            Ok(answer) if matches!(code(&answer), 2 | 4 | 5) && Some(&server) != servers.last() => {}
            Ok(answer) => return Ok(answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The answer's RCODE.
pub fn code(packet: &[u8]) -> u8 {
    packet[3] & 0x0f
}

/// Number of records in the answer section.
pub fn answer_count(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[6], packet[7]])
}

async fn ask(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let answer = within(by_datagram(server, query)).await?;
    let is_cut_short = answer[2] & 0x02 != 0;
    if is_cut_short { within(by_stream(server, query)).await } else { Ok(answer) }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(SERVER_LIMIT, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn by_datagram(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await?;
    // Connected: the kernel then drops what others send, and reports a closed port at once.
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut packet = vec![0; PACKET];
    loop {
        let len = socket.recv(&mut packet).await?;
        if is_answer(&packet[..len], query) {
            packet.truncate(len);
            return Ok(packet);
        }
    }
}

async fn by_stream(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(query.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    stream.write_all(&[&length.to_be_bytes(), query].concat()).await?;
    let length = stream.read_u16().await?;
    let mut packet = vec![0; usize::from(length)];
    stream.read_exact(&mut packet).await?;
    if is_answer(&packet, query) { Ok(packet) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Whether `packet` is a response that carries the query's id.
fn is_answer(packet: &[u8], query: &[u8]) -> bool {
    packet.len() >= HEADER && packet[2] & 0x80 != 0 && packet[..2] == query[..2]
}
