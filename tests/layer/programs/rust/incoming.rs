//! One request on the given port, then the end; `listening` is the test's event.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

fn main() -> std::io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("the first argument is a port");
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    println!("listening {}", listener.local_addr()?);
    let (mut client, peer) = listener.accept()?;
    for line in BufReader::new(client.try_clone()?).lines() {
        if line?.is_empty() {
            break;
        }
    }
    println!("own {}", client.local_addr()?);
    let body = format!("stolen {}\n", peer.ip());
    write!(client, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
