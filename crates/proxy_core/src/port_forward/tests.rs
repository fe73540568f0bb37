//! The port-forward against a WebSocket server on loopback that plays the API server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Bytes, Message, WebSocket, accept_hdr};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const PORT: u16 = 0x1234;
const DATA_PORT: &[u8] = &[0, 0x34, 0x12];
const ERROR_PORT: &[u8] = &[1, 0x34, 0x12];

struct Server {
    url: String,
    thread: JoinHandle<()>,
}

/// Accepts one connection and hands it to `act`.
fn listen(act: impl FnOnce(TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let url = format!("http://{}/api/v1/namespaces/n/pods/p/portforward", listener.local_addr().expect("bound"));
    let thread = std::thread::spawn(move || act(listener.accept().expect("accept").0));
    Server { url, thread }
}

fn websocket(act: impl FnOnce(&mut WebSocket<TcpStream>) + Send + 'static) -> Server {
    listen(move |socket| {
        let mut socket = accept_hdr(socket, accept_port_forward).expect("upgrade");
        socket.send(binary(DATA_PORT)).expect("send");
        socket.send(binary(ERROR_PORT)).expect("send");
        act(&mut socket);
    })
}

#[expect(clippy::result_large_err, reason = "tungstenite's callback type")]
fn accept_port_forward(
    request: &Request,
    mut response: Response,
) -> Result<Response, tokio_tungstenite::tungstenite::handshake::server::ErrorResponse> {
    assert_eq!(request.uri().query(), Some("ports=4660"));
    assert_eq!(request.headers()["authorization"], "Bearer t");
    assert_eq!(request.headers()["sec-websocket-protocol"], "v4.channel.k8s.io");
    assert!(!request.headers().contains_key("sec-websocket-extensions"));
    response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("v4.channel.k8s.io"));
    Ok(response)
}

fn binary(bytes: &[u8]) -> Message {
    Message::Binary(Bytes::copy_from_slice(bytes))
}

fn data(payload: &[u8]) -> Message {
    binary(&[&[0], payload].concat())
}

fn received(socket: &mut WebSocket<TcpStream>) -> Bytes {
    loop {
        match socket.read().expect("message") {
            Message::Binary(bytes) => return bytes,
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn open(server: &Server) -> Result<Carrier, PortForwardError> {
    let endpoint = Endpoint { url: server.url.clone(), port: PORT, ..Endpoint::default() };
    connect(&endpoint, &[("Authorization".to_string(), "Bearer t".to_string())], LIMIT).await
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, work).await.expect("within the limit")
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length as u32).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).take(length).collect()
}

#[tokio::test]
async fn bytes_arrive_in_order_both_ways_and_small_writes_become_one_message() {
    let server = websocket(|socket| {
        assert_eq!(&received(socket)[..], b"\0hello world");
        socket.send(data(b"one ")).expect("send");
        socket.send(data(b"")).expect("send");
        socket.send(data(b"two")).expect("send");
        assert!(matches!(socket.read(), Ok(Message::Close(_))));
    });
    let mut carrier = open(&server).await.expect("carrier");
    carrier.write_all(b"hello ").await.expect("write");
    carrier.write_all(b"world").await.expect("write");
    carrier.flush().await.expect("flush");
    let mut answer = [0; 7];
    bounded(carrier.read_exact(&mut answer)).await.expect("read");
    assert_eq!(&answer, b"one two");
    carrier.shutdown().await.expect("shutdown");
    server.thread.join().expect("server");
}

#[tokio::test]
async fn bulk_both_ways_at_once_is_whole_and_in_large_messages() {
    const TOTAL: usize = 20_000_000;
    let server = websocket(|socket| {
        // Reads and writes in turn, so the carrier must do both at once.
        let (mut total, mut messages, mut echoed) = (0, 0, Vec::new());
        while total < TOTAL {
            let message = received(socket);
            assert!(message.len() <= frames::MESSAGE_LIMIT + 1, "{}", message.len());
            total += message.len() - 1;
            messages += 1;
            echoed.extend_from_slice(&message[1..]);
            socket.send(binary(&message)).expect("send");
        }
        assert!(messages < TOTAL / frames::MESSAGE_TARGET * 2, "{messages}");
        assert!(echoed == pattern(TOTAL));
    });
    let (mut reading, mut writing) = tokio::io::split(open(&server).await.expect("carrier"));
    let writer = tokio::spawn(async move {
        for part in pattern(TOTAL).chunks(1000) {
            writing.write_all(part).await.expect("write");
        }
        writing.flush().await.expect("flush");
        writing
    });
    let mut answer = vec![0; TOTAL];
    bounded(reading.read_exact(&mut answer)).await.expect("read");
    assert!(answer == pattern(TOTAL));
    let _writing = writer.await.expect("writer");
    server.thread.join().expect("server");
}

#[tokio::test]
async fn fragments_and_pings_between_them_are_understood() {
    let server = listen(|mut socket| {
        let mut websocket = accept_hdr(socket.try_clone().expect("clone"), accept_port_forward).expect("upgrade");
        // Both prefaces, then one message in three fragments with a ping inside, byte by byte.
        let mut raw = vec![0x82, 3, 0, 0x34, 0x12, 0x82, 3, 1, 0x34, 0x12];
        raw.extend_from_slice(&[0x02, 3, 0, b'a', b'b', 0x89, 2, b'p', b'!', 0x00, 0, 0x80, 1, b'c']);
        for byte in raw {
            socket.write_all(&[byte]).expect("write");
        }
        assert_eq!(websocket.read().expect("pong"), Message::Pong(Bytes::from_static(b"p!")));
    });
    let mut carrier = open(&server).await.expect("carrier");
    let mut answer = [0; 3];
    bounded(carrier.read_exact(&mut answer)).await.expect("read");
    assert_eq!(&answer, b"abc");
    server.thread.join().expect("server");
}

#[tokio::test]
async fn text_on_the_error_channel_is_the_error_of_reads_and_writes() {
    let server = websocket(|socket| {
        socket.send(data(b"x")).expect("send");
        socket.send(binary(b"\x01dial tcp 127.0.0.1:4660: connection refused\n")).expect("send");
    });
    let mut carrier = open(&server).await.expect("carrier");
    let mut all = Vec::new();
    let error = bounded(carrier.read_to_end(&mut all)).await.expect_err("refused");
    assert_eq!(
        (all.as_slice(), error.to_string().as_str()),
        (&b"x"[..], "dial tcp 127.0.0.1:4660: connection refused")
    );
    let again = carrier.write_all(b"y").await.expect_err("still refused");
    assert_eq!(again.to_string(), "dial tcp 127.0.0.1:4660: connection refused");
    server.thread.join().expect("server");
}

#[tokio::test]
async fn close_ends_normally_and_a_cut_inside_a_message_does_not() {
    let server = websocket(|socket| {
        socket.close(None).expect("close");
        while socket.read().is_ok() {}
    });
    let mut carrier = open(&server).await.expect("carrier");
    assert_eq!(bounded(carrier.read(&mut [0; 8])).await.expect("end"), 0);
    assert_eq!(carrier.write(b"x").await.expect_err("closed").kind(), std::io::ErrorKind::BrokenPipe);
    server.thread.join().expect("server");

    let server = websocket(|socket| socket.get_mut().write_all(&[0x82, 9, 0, b'a']).expect("write"));
    let mut carrier = open(&server).await.expect("carrier");
    let mut all = Vec::new();
    let error = bounded(carrier.read_to_end(&mut all)).await.expect_err("cut");
    assert_eq!((all.as_slice(), error.kind()), (&b"a"[..], std::io::ErrorKind::UnexpectedEof));
    server.thread.join().expect("server");
}

#[tokio::test]
async fn wrong_port_channel_mask_and_text_break_the_carrier() {
    for raw in [&[0x82u8, 3, 0, 1, 0][..], &[0x82, 1, 2], &[0x82, 0x81, 0, 0, 0, 0, 0], &[0x81, 1, b'a'], &[0x80, 0]] {
        let server = listen(move |socket| {
            let mut socket = accept_hdr(socket, accept_port_forward).expect("upgrade");
            socket.get_mut().write_all(raw).expect("write");
            let _end = socket.get_mut().read(&mut [0; 1]);
        });
        let mut carrier = open(&server).await.expect("carrier");
        let error = bounded(carrier.read(&mut [0; 8])).await.expect_err("broken");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{raw:?}");
        drop(carrier);
        server.thread.join().expect("server");
    }
}

#[tokio::test]
async fn a_refusal_names_status_and_message() {
    let cases: [(&[u8], u16, &str); 4] = [
        (b"403 Forbidden\r\nContent-Length: 41\r\n\r\n{\"kind\":\"Status\",\"message\":\"not for you\"}", 403, "not for you"),
        (b"404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n{\"message\":\"pods \\\"p\\\" gone\"}\r\n0\r\n\r\n", 404, "pods \"p\" gone"),
        (b"502 Bad Gateway\r\nContent-Type: text/html\r\n\r\n<html><b>no backend</b></html>", 502, "no backend"),
        (b"401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 401, "Unauthorized"),
    ];
    for (answer, expected_status, expected) in cases {
        let server = listen(move |mut socket| {
            let mut head = [0; 4096];
            let _read = socket.read(&mut head).expect("request");
            socket.write_all(b"HTTP/1.1 ").expect("write");
            socket.write_all(answer).expect("write");
        });
        match open(&server).await.err() {
            Some(PortForwardError::Refused { status, message }) => {
                assert_eq!((status, message.as_str()), (expected_status, expected));
            }
            other => panic!("{other:?}"),
        }
        server.thread.join().expect("server");
    }
}

#[tokio::test]
async fn silence_and_nonsense_end_within_the_limit() {
    let server = listen(|socket| {
        let _end = (&socket).read_to_end(&mut Vec::new());
    });
    let endpoint = Endpoint { url: server.url.clone(), port: PORT, ..Endpoint::default() };
    let error = connect(&endpoint, &[], Duration::from_millis(50)).await.err().expect("silent");
    assert!(matches!(error, PortForwardError::TimedOut { step: "answer of the API server", .. }), "{error}");
    server.thread.join().expect("server");

    let server = listen(|mut socket| socket.write_all(b"SSH-2.0-x\r\n").expect("write"));
    assert!(matches!(open(&server).await, Err(PortForwardError::Answer(_))));
    server.thread.join().expect("server");
}

#[tokio::test]
async fn headers_that_could_split_the_request_are_refused() {
    let endpoint = Endpoint { url: "http://127.0.0.1:9/x".to_string(), port: PORT, ..Endpoint::default() };
    for (name, value) in [("A", "b\r\nC: d"), ("A b", "c"), ("Host", "x"), ("", "x")] {
        let headers = [(name.to_string(), value.to_string())];
        let error = connect(&endpoint, &headers, LIMIT).await.err().expect("refused");
        assert!(matches!(error, PortForwardError::Invalid { what: "request header", .. }), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_to_connect_and_its_refusal_is_told() {
    let api = websocket(|socket| assert_eq!(&received(socket)[..], b"\0x"));
    let target = api.url["http://".len()..].split('/').next().expect("authority").to_string();
    let expected = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
    let proxy = listen(move |mut client| {
        let mut head = vec![0; expected.len()];
        client.read_exact(&mut head).expect("request");
        assert_eq!(String::from_utf8_lossy(&head), expected);
        let mut api = TcpStream::connect(target).expect("connect");
        client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("write");
        let (mut from, mut to) = (client.try_clone().expect("clone"), api.try_clone().expect("clone"));
        let up = std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let _down = std::io::copy(&mut api, &mut client);
        let _up = up.join();
    });
    let at = |server: &Server| server.url["http://".len()..].split('/').next().expect("authority").to_string();
    let proxy_url = Some(format!("http://u:p@{}", at(&proxy)));
    let endpoint = Endpoint { url: api.url.clone(), port: PORT, proxy: proxy_url, ..Endpoint::default() };
    let headers = [("authorization".to_string(), "Bearer t".to_string())];
    let mut carrier = connect(&endpoint, &headers, LIMIT).await.expect("carrier");
    carrier.write_all(b"x").await.expect("write");
    carrier.flush().await.expect("flush");
    api.thread.join().expect("server");
    drop(carrier);
    proxy.thread.join().expect("proxy");

    let proxy = listen(|mut client| {
        let _request = client.read(&mut [0; 4096]).expect("request");
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").expect("write");
    });
    let endpoint = Endpoint { proxy: Some(format!("http://{}", at(&proxy))), ..endpoint };
    let error = connect(&endpoint, &headers, LIMIT).await.err().expect("refused");
    assert!(matches!(error, PortForwardError::Proxy { status: 407, .. }), "{error}");
    proxy.thread.join().expect("proxy");
}

/// Against a real API server: `MIRRORD_TEST_PORT_FORWARD` = URL, `_PORT`, `_TOKEN`, `_CA` (a file); the pod echoes.
#[tokio::test]
#[ignore = "needs a pod that echoes in a real cluster, named by the variables"]
async fn a_real_cluster_carries_bytes() {
    let variable = |name: &str| std::env::var(format!("MIRRORD_TEST_PORT_FORWARD{name}")).expect("variable");
    let ca = std::fs::read(variable("_CA")).expect("CA file");
    let port = variable("_PORT").parse().expect("port");
    let endpoint = Endpoint { url: variable(""), port, ca: Some(ca), ..Endpoint::default() };
    let headers = [("Authorization".to_string(), format!("Bearer {}", variable("_TOKEN")))];

    let refused = connect(&endpoint, &[("Authorization".to_string(), "Bearer x".to_string())], LIMIT).await;
    println!("wrong token: {}", refused.err().expect("refused"));
    let untrusted = connect(&Endpoint { ca: None, ..endpoint.clone() }, &headers, LIMIT).await;
    println!("wrong CA: {}", untrusted.err().expect("refused"));
    let mut dead = connect(&Endpoint { port: 1, ..endpoint.clone() }, &headers, LIMIT).await.expect("carrier");
    println!("dead port: {}", bounded(dead.read(&mut [0; 8])).await.expect_err("refused"));

    let mut carrier = connect(&endpoint, &headers, LIMIT).await.expect("carrier");
    let mut times = Vec::new();
    for _ in 0..200 {
        let start = Instant::now();
        carrier.write_all(b"ping").await.expect("write");
        carrier.flush().await.expect("flush");
        bounded(carrier.read_exact(&mut [0; 4])).await.expect("read");
        times.push(start.elapsed());
    }
    times.sort();
    println!("round trip p50 {:?} p99 {:?}", times[100], times[198]);

    const TOTAL: usize = 64 << 20;
    let start = Instant::now();
    let (mut reading, mut writing) = tokio::io::split(carrier);
    let writer = tokio::spawn(async move {
        writing.write_all(&pattern(TOTAL)).await.expect("write");
        writing.flush().await.expect("flush");
        writing
    });
    let mut answer = vec![0; TOTAL];
    tokio::time::timeout(Duration::from_secs(120), reading.read_exact(&mut answer)).await.expect("time").expect("read");
    assert!(answer == pattern(TOTAL));
    let _writing = writer.await.expect("writer");
    println!("{} MB echoed: {:.0} MB/s each way", TOTAL >> 20, TOTAL as f64 / 1e6 / start.elapsed().as_secs_f64());
}
