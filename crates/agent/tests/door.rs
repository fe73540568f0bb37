//! Who is let in, and when the agent ends. Needs no privilege.

mod common;

use std::process::Command;
use std::time::{Duration, Instant};

use common::{LIMIT, Listening, hello};
use mirrord_link::{End, Link};
use mirrord_protocol::agent::{Request, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn strangers_are_dropped_and_disturb_nobody() {
    let listening = Listening::start(&["--targetless"]).await;
    let start = Instant::now();
    let mut silent = listening.dial().await;
    let mut loud = listening.dial().await;
    loud.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let (link, welcome, _, _) =
        Link::client(listening.dial().await, &listening.keys, &hello("ann@desk")).await.unwrap();
    assert_eq!(welcome.pid, 0);
    let mut answer = Vec::new();
    tokio::time::timeout(LIMIT, silent.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.is_empty() && start.elapsed() < Duration::from_secs(5));
    let (response, _) = link.request(&Request::Subscribe { port: 80 }, bytes::Bytes::new()).await.unwrap();
    assert!(matches!(response, Response::Refused { .. }));
}

#[tokio::test]
async fn other_keys_are_a_stranger() {
    let listening = Listening::start(&["--targetless"]).await;
    let other = mirrord_link::keys::SessionKeys::generate().unwrap();
    assert!(Link::client(listening.dial().await, &other, &hello("eve@desk")).await.is_err());
}

#[tokio::test]
async fn a_newer_connection_takes_over_and_bye_ends_the_agent() {
    let mut listening = Listening::start(&["--targetless"]).await;
    let (old, ..) = Link::client(listening.dial().await, &listening.keys, &hello("ann@desk")).await.unwrap();
    let (new, ..) = Link::client(listening.dial().await, &listening.keys, &hello("ann@desk")).await.unwrap();
    let end = tokio::time::timeout(LIMIT, old.ended()).await.unwrap();
    assert!(matches!(end, End::Bye(_)), "{end:?}");
    new.bye("done").await;
    assert_eq!(listening.exit_code().await, Some(0));
}

#[tokio::test]
async fn without_a_client_it_ends_after_the_grace_time() {
    let mut listening = Listening::start(&["--targetless", "--grace", "1"]).await;
    assert_eq!(listening.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_signal_ends_it_at_once_and_the_client_learns_why() {
    let mut listening = Listening::start(&["--targetless"]).await;
    let (link, ..) = Link::client(listening.dial().await, &listening.keys, &hello("ann@desk")).await.unwrap();
    let start = Instant::now();
    let pid = rustix::process::Pid::from_child(&listening.agent);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let end = tokio::time::timeout(LIMIT, link.ended()).await.unwrap();
    assert_eq!(end, End::Bye("the agent was told to end".to_owned()));
    assert_eq!(listening.exit_code().await, Some(0));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn mistakes_have_their_own_exit_code() {
    let run = |arguments: &[&str]| {
        let output = Command::new(common::agent()).args(arguments).env_remove("MIRRORD_AGENT_KEYS").output();
        output.unwrap()
    };
    assert_eq!(run(&["--version"]).stdout, format!("mirrord-agent {}\n", mirrord_protocol::VERSION).as_bytes());
    for arguments in
        [&["serve"][..], &["serve", "--fd", "77", "--pid", "1"], &["serve", "--listen", "127.0.0.1:0", "--targetless"]]
    {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stderr.starts_with(b"error: "));
    }
}
