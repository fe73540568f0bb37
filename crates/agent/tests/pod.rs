//! An agent beside a process in namespaces of its own: everything that a session asks of a pod.

mod common;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::{Copy, LIMIT, Listening, Pod, SERVICE, Session, as_nobody, hello, is_root};
use mirrord_link::{End, Event, Link, StreamReader};
use mirrord_protocol::agent::{NameFailure, Open, Request, Response};
use serde_bytes::ByteBuf;

async fn resolve(session: &Session, name: &str) -> Response {
    session.ask(Request::Resolve { name: ByteBuf::from(name), v4: true, v6: true }).await.0
}

async fn read_some(stream: &mut StreamReader, count: usize) -> Vec<u8> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let part = tokio::time::timeout(LIMIT, stream.next()).await.expect("in time").unwrap().expect("more bytes");
        seen.extend_from_slice(&part);
    }
    seen
}

/// Serves redirected connections as a local program would: says "desk", then echoes.
fn serve_redirected(session: &mut Session) {
    let (_, nothing) = tokio::sync::mpsc::channel(1);
    let mut events = std::mem::replace(&mut session.events, nothing);
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            let Event::Open { open: Open::Incoming { port, local, .. }, pending } = event else { continue };
            assert_eq!((port, local.port()), (SERVICE, SERVICE));
            tokio::spawn(async move {
                let (mut reader, mut writer) = pending.accept(local).split();
                writer.write(Bytes::from_static(b"desk\n")).await.unwrap();
                while let Ok(Some(bytes)) = reader.next().await {
                    writer.write(bytes).await.unwrap();
                }
            });
        }
    });
}

#[tokio::test]
async fn the_target_is_shown_as_it_is() {
    if !is_root() {
        return;
    }
    let pod = Pod::start("shown");
    let session = Session::start(&pod, "ann@desk").await;
    assert_eq!(session.welcome.hostname, *b"pod-shown");
    assert_eq!((session.welcome.pid, session.welcome.cwd.as_slice()), (pod.pid(), b"/usr".as_slice()));
    assert!(session.environment.split(|&byte| byte == 0).any(|variable| variable == b"POD_SECRET=s3cret"));
    let (response, content) =
        session.ask(Request::Lookup { path: ByteBuf::from("/etc/resolv.conf"), prefetch: 1000 }).await;
    assert!(matches!(response, Response::Entry(_)), "{response:?}");
    assert!(content.ends_with(b"ndots:5\n"), "the pod's own mount is seen");
}

/// A cgroup as a container runtime makes it, where this machine lets us make one.
fn container_cgroup(id: &str) -> Option<std::path::PathBuf> {
    ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].iter().find_map(|root| {
        let cgroup = std::path::Path::new(root).join(format!("mirrord-test/cri-containerd-{id}.scope"));
        std::fs::create_dir_all(&cgroup).ok()?;
        Some(cgroup)
    })
}

#[tokio::test]
async fn a_container_is_found_by_its_id() {
    let id = format!("{:064x}", std::process::id());
    let Some(cgroup) = is_root().then(|| container_cgroup(&id)).flatten() else {
        eprintln!("skipped: needs root and a cgroup file system that can be written");
        return;
    };
    let pod = Pod::start("container");
    std::fs::write(cgroup.join("cgroup.procs"), pod.pid().to_string()).unwrap();
    let listening = Listening::start(&["--container-id", &format!("containerd://{id}")]).await;
    let dialled = listening.dial().await;
    let (_link, welcome, ..) = Link::client(dialled, &listening.keys, &hello("ann@desk")).await.unwrap();
    assert_eq!((welcome.pid, welcome.hostname.as_slice()), (pod.pid(), b"pod-container".as_slice()));
    drop((listening, pod));
    std::fs::remove_dir(&cgroup).unwrap();
    std::fs::remove_dir(cgroup.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn files_are_reached_as_the_targets_user() {
    if !is_root() {
        return;
    }
    let pod = Pod::start_with_user("identity", 33);
    let session = Session::start(&pod, "ann@desk").await;
    assert_eq!((session.welcome.uid, session.welcome.gid), (33, 33));
    let file = |name: &str, mode, owner| {
        let path = pod.folder().join(name);
        std::fs::write(&path, name).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        std::os::unix::fs::chown(&path, Some(owner), Some(owner)).unwrap();
        ByteBuf::from(path.to_str().unwrap())
    };
    let (secret, own) = (file("secret", 0o600, 0), file("own", 0o400, 33));
    let refused = Response::Errno(libc::EACCES);
    assert_eq!(session.ask(Request::Open { path: secret.clone(), prefetch: 0 }).await.0, refused);
    assert_eq!(session.ask(Request::Access { path: secret.clone(), mode: 4 }).await.0, refused);
    let (response, content) = session.ask(Request::Lookup { path: secret, prefetch: 100 }).await;
    assert!(matches!(response, Response::Entry(entry) if entry.size == 6) && content.is_empty());
    let (response, content) = session.ask(Request::Open { path: own.clone(), prefetch: 100 }).await;
    assert!(matches!(response, Response::Opened { .. }) && content == "own", "{response:?}");
    assert_eq!(session.ask(Request::Access { path: own.clone(), mode: 4 }).await.0, Response::Done);
    assert_eq!(session.ask(Request::Access { path: own, mode: 2 }).await.0, refused);
}

#[tokio::test]
async fn names_are_the_pods() {
    if !is_root() {
        return;
    }
    let pod = Pod::start("names");
    let session = Session::start(&pod, "ann@desk").await;
    let Response::Addresses { canonical, addresses, ttl } = resolve(&session, "db").await else {
        panic!("no addresses")
    };
    assert_eq!(addresses, ["10.9.8.7".parse::<IpAddr>().unwrap(), "fd00::7".parse().unwrap()]);
    assert!(canonical == "db.shop.svc" && ttl <= 30, "{canonical} {ttl}");
    let fixed = resolve(&session, "fixed").await;
    assert!(matches!(fixed, Response::Addresses { canonical, .. } if canonical == "fixed.example"));
    assert_eq!(resolve(&session, "nowhere").await, Response::NameError(NameFailure::NotFound));
    let v6 = session.ask(Request::Resolve { name: ByteBuf::from("only4"), v4: false, v6: true }).await.0;
    assert_eq!(v6, Response::NameError(NameFailure::NoData));
    let reverse = session.ask(Request::Reverse { address: "10.1.1.1".parse().unwrap() }).await.0;
    assert_eq!(reverse, Response::Name("fixed.example".to_owned()));
    let query = Request::Query { name: ByteBuf::from("db"), class: 1, kind: 1, search: true };
    let (response, packet) = session.ask(query).await;
    assert_eq!(response, Response::Data);
    assert!(packet.ends_with(&[10, 9, 8, 7]));
    let long = Request::Query { name: ByteBuf::from("big"), class: 1, kind: 16, search: false };
    assert!(session.ask(long).await.1.ends_with(b"\x03big"), "cut short by UDP, whole by TCP");
    let mut question = packet.to_vec();
    question[..12].copy_from_slice(&[7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    question.truncate(packet.len() - 16);
    let (response, answer) = session.link.request(&Request::Forward, question.into()).await.unwrap();
    assert_eq!(
        (response, &answer[..2], &answer[answer.len() - 4..]),
        (Response::Data, &[7, 7][..], &[10, 9, 8, 7][..])
    );
}

#[tokio::test]
async fn a_name_server_that_is_silent_delays_no_other_name() {
    if !is_root() {
        return;
    }
    let pod = Pod::start("silent");
    let session = Session::start(&pod, "ann@desk").await;
    let start = Instant::now();
    let slow = resolve(&session, "silent");
    let quick = async {
        assert!(matches!(resolve(&session, "db").await, Response::Addresses { .. }));
        start.elapsed()
    };
    let (slow, quick) = tokio::join!(slow, quick);
    assert_eq!(slow, Response::NameError(NameFailure::Again));
    assert!(quick < Duration::from_secs(1) && start.elapsed() < Duration::from_secs(6), "{quick:?}");
}

#[tokio::test]
async fn a_connection_that_takes_over_finds_the_ports_free() {
    if !is_root() {
        return;
    }
    let mut pod = Pod::start("takeover");
    let listening = Listening::start(&["--pid", &pod.pid().to_string()]).await;
    let subscribe = Request::Subscribe { port: SERVICE };
    let (old, ..) = Link::client(listening.dial().await, &listening.keys, &hello("ann@desk")).await.unwrap();
    assert_eq!(old.request(&subscribe, Bytes::new()).await.unwrap().0, Response::Done);
    let (new, ..) = Link::client(listening.dial().await, &listening.keys, &hello("ann@desk")).await.unwrap();
    tokio::time::timeout(LIMIT, old.ended()).await.unwrap();
    assert_eq!(pod.connect("127.0.0.1", SERVICE), "pod");
    assert_eq!(new.request(&subscribe, Bytes::new()).await.unwrap().0, Response::Done);
}

#[tokio::test]
async fn outgoing_connections_start_in_the_pod() {
    if !is_root() {
        return;
    }
    let pod = Pod::start("outgoing");
    let session = Session::start(&pod, "ann@desk").await;
    let open = |port| Open::Connect { remote: ([127, 0, 0, 1], port).into(), timeout_ms: 2_000 };
    let (own, stream) = session.link.open(&open(SERVICE)).await.unwrap().unwrap();
    let (mut reader, mut writer) = stream.split();
    assert!(own.ip().is_loopback());
    assert_eq!(read_some(&mut reader, 4).await, b"pod\n");
    writer.write(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(read_some(&mut reader, 5).await, b"hello");
    assert_eq!(session.link.open(&open(1)).await.unwrap().err(), Some(libc::ECONNREFUSED));
    let away = Open::Connect { remote: "10.255.255.1:80".parse().unwrap(), timeout_ms: 2_000 };
    assert_eq!(session.link.open(&away).await.unwrap().err(), Some(libc::ENETUNREACH));
}

#[tokio::test]
async fn a_port_is_taken_and_given_back_and_killing_the_agent_leaves_nothing() {
    if !is_root() {
        return;
    }
    let mut pod = Pod::start("incoming");
    let mut session = Session::start(&pod, "ann@desk").await;
    assert_eq!(pod.connect("127.0.0.1", SERVICE), "pod");
    serve_redirected(&mut session);
    assert_eq!(session.ask(Request::Subscribe { port: SERVICE }).await.0, Response::Done);
    let mut pod = tokio::task::spawn_blocking(move || {
        assert_eq!(pod.connect("127.0.0.1", SERVICE), "desk");
        assert_eq!(pod.connect("::1", SERVICE), "desk");
        assert_eq!(pod.send(0, "still"), "still", "a connection from before lives on");
        assert_eq!(pod.send(1, "new"), "new");
        assert!(pod.inside(&["nft", "list", "ruleset"]).contains("redirect to"));
        pod
    })
    .await
    .unwrap();
    let own = Open::Connect { remote: ([127, 0, 0, 1], SERVICE).into(), timeout_ms: 0 };
    let (mut reader, _writer) = session.link.open(&own).await.unwrap().unwrap().1.split();
    assert_eq!(read_some(&mut reader, 4).await, b"pod\n", "the session itself still reaches the pod's program");

    let other = Session::start(&pod, "bob@desk").await;
    let Response::Refused { errno, reason } = other.ask(Request::Subscribe { port: SERVICE }).await.0 else {
        panic!("not refused")
    };
    assert!(errno == libc::EADDRINUSE && reason.contains("ann@desk"), "{reason}");

    assert_eq!(session.ask(Request::Unsubscribe { port: SERVICE }).await.0, Response::Done);
    assert_eq!(pod.connect("127.0.0.1", SERVICE), "pod");
    assert_eq!(session.ask(Request::Subscribe { port: SERVICE }).await.0, Response::Done);
    session.agent.kill().unwrap();
    session.agent.wait().unwrap();
    assert_eq!(pod.connect("127.0.0.1", SERVICE), "pod");
    assert_eq!(pod.inside(&["nft", "list", "ruleset"]).trim(), "", "the kernel has removed the rules");
    assert_eq!(pod.send(0, "yet"), "yet");
    assert_eq!(other.ask(Request::Subscribe { port: SERVICE }).await.0, Response::Done, "the claim is free, too");
}

#[tokio::test]
async fn callers_from_outside_are_taken_with_their_own_address() {
    if !is_root() {
        return;
    }
    let pod = Pod::start("outside");
    let pid = pod.pid().to_string();
    let link = format!("mrd{pid}");
    for arguments in [
        format!("link add {link} type veth peer name eth0 netns {pid}"),
        format!("addr add 10.231.77.1/30 dev {link}"),
        format!("link set {link} up"),
    ] {
        let status = std::process::Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    }
    pod.inside(&["ip", "addr", "add", "10.231.77.2/30", "dev", "eth0"]);
    pod.inside(&["ip", "link", "set", "eth0", "up"]);
    let mut session = Session::start(&pod, "ann@desk").await;
    assert_eq!(session.ask(Request::Subscribe { port: SERVICE }).await.0, Response::Done);
    let client = tokio::spawn(tokio::net::TcpStream::connect(("10.231.77.2", SERVICE)));
    let Event::Open { open, pending } = session.event().await else { panic!("no connection") };
    let peer = client.await.unwrap().unwrap().local_addr().unwrap();
    assert_eq!(open, Open::Incoming { port: SERVICE, peer, local: ([10, 231, 77, 2], SERVICE).into() });
    pending.refuse(libc::ECONNREFUSED);
}

#[tokio::test]
async fn the_session_ends_with_the_target() {
    if !is_root() {
        return;
    }
    let mut pod = Pod::start("ends");
    let session = Session::start(&pod, "ann@desk").await;
    pod.kill();
    let end = tokio::time::timeout(LIMIT, session.link.ended()).await.unwrap();
    assert_eq!(end, End::Bye("the target process has ended".to_owned()));
}

#[tokio::test]
async fn an_ordinary_users_process_is_a_target_without_ports() {
    if !is_root() {
        return;
    }
    let binary = Copy::new("process");
    let mut target = as_nobody("sleep").arg("60").spawn().unwrap();
    let session = Session::run(binary.as_nobody(), target.id(), "ann@desk", &[]).await;
    assert_eq!(session.welcome.uid, 65534);
    let (response, _) = session.ask(Request::Lookup { path: ByteBuf::from("/etc/hosts"), prefetch: 0 }).await;
    assert!(matches!(response, Response::Entry(_)), "{response:?}");
    let Response::Refused { reason, .. } = session.ask(Request::Subscribe { port: SERVICE }).await.0 else {
        panic!("not refused")
    };
    assert!(reason.contains("CAP_NET_ADMIN"), "{reason}");
    target.kill().unwrap();
    target.wait().unwrap();
}

#[tokio::test]
async fn stolen_connections_are_reset_when_the_session_ends() {
    if !is_root() {
        return;
    }
    let mut pod = Pod::start("reset");
    let mut session = Session::start(&pod, "ann@desk").await;
    serve_redirected(&mut session);
    assert_eq!(session.ask(Request::Subscribe { port: SERVICE }).await.0, Response::Done);
    let mut pod = tokio::task::spawn_blocking(move || {
        assert_eq!(pod.connect("127.0.0.1", SERVICE), "desk");
        pod
    })
    .await
    .unwrap();
    session.link.bye("done").await;
    session.agent.wait().unwrap();
    assert_eq!(pod.send(0, "more"), format!("error {}", libc::ECONNRESET));
}

#[tokio::test]
async fn an_idle_agent_is_small_and_holds_what_its_table_says() {
    if !is_root() {
        return;
    }
    let pod = Pod::start("idle");
    let session = Session::start(&pod, "ann@desk").await;
    let task = format!("/proc/{}/task", session.agent.id());
    let field = |status: &str, name: &str| -> String {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    for thread in std::fs::read_dir(task).unwrap() {
        let status = std::fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let allowed = match field(&status, "Name:") {
            name if name == "network" => 1 << 12,
            name if name.starts_with("files-") => (1 << 1) | (1 << 2),
            _ => 0,
        };
        for set in ["CapPrm:", "CapEff:", "CapInh:"] {
            assert_eq!(u64::from_str_radix(&field(&status, set), 16).unwrap() & !allowed, 0, "{status}");
        }
        assert_eq!(field(&status, "NoNewPrivs:"), "1");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", session.agent.id())).unwrap();
    let resident: u64 = field(&status, "VmRSS:").split(' ').next().unwrap().parse().unwrap();
    assert!(resident < 15 << 10, "{resident} KiB resident");
    println!("idle agent: {resident} KiB resident");
    let environment = std::fs::read(format!("/proc/{}/environ", session.agent.id())).unwrap();
    assert!(!environment.windows(7).any(|window| window == b"PRIVATE"), "the key is scrubbed");
}

#[tokio::test]
async fn an_ordinary_users_sandbox_works_too() {
    if !is_root() {
        return;
    }
    let binary = Copy::new("sandbox");
    let mut pod = Pod::start_as_nobody("user");
    let more = ["--enter-user-namespace"];
    let mut session = Session::run(binary.as_nobody(), pod.pid(), "ann@desk", &more).await;
    assert_eq!(session.welcome.hostname, *b"pod-user");
    assert!(matches!(resolve(&session, "db").await, Response::Addresses { .. }));
    serve_redirected(&mut session);
    assert_eq!(session.ask(Request::Subscribe { port: SERVICE }).await.0, Response::Done);
    let greeting = tokio::task::spawn_blocking(move || (pod.connect("127.0.0.1", SERVICE), pod)).await.unwrap();
    assert_eq!(greeting.0, "desk");
}
