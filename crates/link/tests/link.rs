//! Both ends of a link over an in-memory carrier.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mirrord_link::keys::{AgentKeys, SessionKeys};
use mirrord_link::{End, Event, Link, LinkError, Stream};
use mirrord_protocol::agent::{Hello, Open, Request, Response, Welcome};
use serde_bytes::ByteBuf;
use tokio::sync::mpsc;

fn hello() -> Hello {
    Hello { version: "1".into(), features: vec![], holder: "me".into() }
}

fn welcome() -> Welcome {
    Welcome {
        version: "1".into(),
        features: vec![],
        pid: 7,
        hostname: ByteBuf::from(*b"shop"),
        uid: 0,
        gid: 0,
        cwd: ByteBuf::from(*b"/"),
    }
}

fn address() -> SocketAddr {
    "10.0.0.1:80".parse().unwrap()
}

async fn pair() -> (Link, Link, mpsc::Receiver<Event>, mpsc::Receiver<Event>) {
    let (near, far) = tokio::io::duplex(64 << 10);
    let keys = SessionKeys::generate().unwrap();
    let agent_keys = AgentKeys::from_pem(keys.agent_pem()).unwrap();
    let (hello, welcome) = (hello(), welcome());
    let (client, agent) = tokio::join!(
        Link::client(near, &keys, &hello),
        Link::agent(far, &agent_keys, &welcome, Bytes::from_static(b"A=1\0"))
    );
    let (client, seen, environment, client_events) = client.unwrap();
    assert_eq!((seen.pid, &environment[..]), (7, &b"A=1\0"[..]));
    let (agent, hello, agent_events) = agent.unwrap();
    assert_eq!(hello.holder, "me");
    (client, agent, client_events, agent_events)
}

async fn open(client: &Link, events: &mut mpsc::Receiver<Event>) -> (Stream, Stream) {
    let open = Open::Connect { remote: address(), timeout_ms: 0 };
    let accept = async {
        let Some(Event::Open { pending, .. }) = events.recv().await else { panic!("no open") };
        pending.accept(address())
    };
    let (near, far) = tokio::join!(client.open(&open), accept);
    (near.unwrap().unwrap().1, far)
}

#[tokio::test]
async fn requests_are_answered_out_of_order() {
    let (client, _agent, _, mut events) = pair().await;
    let server = tokio::spawn(async move {
        let mut waiting = Vec::new();
        while waiting.len() < 2 {
            let Some(Event::Request { payload, responder, .. }) = events.recv().await else { panic!("no request") };
            waiting.push((payload, responder));
        }
        for (payload, responder) in waiting.into_iter().rev() {
            responder.send(Response::Data, payload);
        }
        events
    });
    let big = Bytes::from(vec![7; 500_000]);
    let (first, second) = tokio::join!(
        client.request(&Request::Forward, big.clone()),
        client.request(&Request::Forward, Bytes::from_static(b"2"))
    );
    assert_eq!(first.unwrap(), (Response::Data, big));
    assert_eq!(second.unwrap().1, Bytes::from_static(b"2"));
    server.await.unwrap();
}

#[tokio::test]
async fn bytes_arrive_whole_in_both_directions_at_once() {
    let (client, _agent, _, mut events) = pair().await;
    let (near, far) = open(&client, &mut events).await;
    let pump = |stream: Stream, seed: u8| async move {
        let (mut reader, mut writer) = stream.split();
        let send = async move {
            for round in 0..200u32 {
                writer.write(Bytes::from(vec![seed.wrapping_add(round as u8); 70_001])).await.unwrap();
            }
            writer.finish();
            writer
        };
        let receive = async move {
            let (mut total, mut sum) = (0usize, 0u64);
            while let Some(bytes) = reader.next().await.unwrap() {
                total += bytes.len();
                sum += bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
            }
            (total, sum)
        };
        tokio::join!(send, receive).1
    };
    let (at_near, at_far) = tokio::join!(pump(near, 1), pump(far, 2));
    let expected = |seed: u8| (0..200u32).map(|round| u64::from(seed.wrapping_add(round as u8)) * 70_001).sum::<u64>();
    assert_eq!(at_near, (200 * 70_001, expected(2)));
    assert_eq!(at_far, (200 * 70_001, expected(1)));
}

#[tokio::test]
async fn a_stalled_stream_stops_nobody_else() {
    let (client, _agent, _, mut events) = pair().await;
    let (near, stalled) = open(&client, &mut events).await;
    let (_reader, mut writer) = near.split();
    let writing = tokio::spawn(async move { writer.write(Bytes::from(vec![0; 64 << 20])).await });
    let (near, far) = open(&client, &mut events).await;
    let (_keep, mut writer) = near.split();
    let (mut reader, _keep_too) = far.split();
    writer.write(Bytes::from_static(b"through")).await.unwrap();
    assert_eq!(reader.next().await.unwrap().unwrap(), Bytes::from_static(b"through"));
    assert!(!writing.is_finished());
    drop(stalled);
    assert_eq!(writing.await.unwrap(), Err(104));
}

#[tokio::test]
async fn refusal_carries_the_errno() {
    let (client, _agent, _, mut events) = pair().await;
    let refuse = async {
        let Some(Event::Open { pending, .. }) = events.recv().await else { panic!("no open") };
        pending.refuse(111);
    };
    let open = Open::Connect { remote: address(), timeout_ms: 0 };
    let (refused, ()) = tokio::join!(client.open(&open), refuse);
    assert_eq!(refused.unwrap().err(), Some(111));
}

#[tokio::test]
async fn a_dropped_half_resets_the_other_end() {
    let (client, _agent, _, mut events) = pair().await;
    let (near, far) = open(&client, &mut events).await;
    near.reset(32);
    let (mut reader, _writer) = far.split();
    assert_eq!(reader.next().await, Err(32));
}

#[tokio::test]
async fn everything_that_waits_learns_of_the_end() {
    let (client, agent, _, mut events) = pair().await;
    let (near, _far) = open(&client, &mut events).await;
    let (mut reader, _writer) = near.split();
    let asking = {
        let client = client.clone();
        tokio::spawn(async move { client.request(&Request::Forward, Bytes::new()).await })
    };
    let Some(Event::Request { .. }) = events.recv().await else { panic!("no request") };
    agent.bye("done").await;
    assert_eq!(client.ended().await, End::Bye("done".into()));
    assert!(reader.next().await.is_err());
    // Answered with an error by the dropped responder, or ended: never left waiting.
    let _ = asking.await.unwrap();
    assert!(matches!(client.request(&Request::Forward, Bytes::new()).await, Err(LinkError::Ended(_))));
}

#[tokio::test]
async fn a_stranger_gets_no_byte_of_protocol() {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (keys, other) = (SessionKeys::generate().unwrap(), SessionKeys::generate().unwrap());
    let agent_keys = AgentKeys::from_pem(keys.agent_pem()).unwrap();
    let (hello, welcome) = (hello(), welcome());
    let (stranger, agent) =
        tokio::join!(Link::client(near, &other, &hello), Link::agent(far, &agent_keys, &welcome, Bytes::new()));
    assert!(matches!(stranger.err(), Some(LinkError::Tls(_) | LinkError::Io(_))));
    assert!(agent.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_silent_stranger_is_dropped_in_time() {
    let (_near, far) = tokio::io::duplex(64);
    let keys = SessionKeys::generate().unwrap();
    let agent_keys = AgentKeys::from_pem(keys.agent_pem()).unwrap();
    let started = tokio::time::Instant::now();
    let agent = Link::agent(far, &agent_keys, &welcome(), Bytes::new()).await;
    assert!(matches!(agent.err(), Some(LinkError::Timeout(_))));
    assert!(started.elapsed() <= Duration::from_secs(3) + Duration::from_millis(10));
}
