//! A pod (a process in namespaces of its own) and an agent in it, for the end-to-end tests.

#![allow(dead_code, missing_docs, reason = "every test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use mirrord_link::keys::SessionKeys;
use mirrord_link::{Event, Link};
use mirrord_protocol::agent::{Hello, Request, Response, Welcome};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

/// Longest wait for anything in these tests.
pub const LIMIT: Duration = Duration::from_secs(10);

/// Port of the pod's TCP service.
pub const SERVICE: u16 = 8080;

/// The agent under test: the one built with the tests, or another one, for instance the static one.
pub fn agent() -> std::ffi::OsString {
    std::env::var_os("MIRRORD_TEST_AGENT").unwrap_or_else(|| env!("CARGO_BIN_EXE_mirrord-agent").into())
}

/// Prints why a test does nothing here.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: a pod's namespaces need root");
    }
    is_root
}

/// A process with its own network, host name and mounts. Ends with its owner.
pub struct Pod {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    folder: std::path::PathBuf,
}

impl Pod {
    /// Starts a pod as root, and waits until its services are up.
    pub fn start(name: &str) -> Pod {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--uts", "--mount"]);
        Pod::run(name, unshare, "exec")
    }

    /// Starts a pod as root whose process then runs as another user, without capabilities.
    pub fn start_with_user(name: &str, uid: u32) -> Pod {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--uts", "--mount"]);
        // Its services need no privileged port then.
        let drop = format!(
            "sysctl -qw net.ipv4.ip_unprivileged_port_start=0; exec setpriv --reuid={uid} --regid={uid} --clear-groups"
        );
        Pod::run(name, unshare, &drop)
    }

    /// Starts a pod as an ordinary user, in a user namespace.
    pub fn start_as_nobody(name: &str) -> Pod {
        let mut unshare = as_nobody("unshare");
        unshare.args(["--user", "--map-root-user", "--net", "--uts", "--mount"]);
        Pod::run(name, unshare, "exec")
    }

    fn run(name: &str, mut unshare: Command, exec: &str) -> Pod {
        let folder = std::env::temp_dir().join(format!("mirrord-pod-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |file: &str, text: &str| {
            std::fs::write(folder.join(file), text).unwrap();
            folder.join(file).to_str().unwrap().to_owned()
        };
        let resolv = write("resolv.conf", "nameserver 127.0.0.1\nsearch shop.svc\noptions ndots:5\n");
        let hosts = write("hosts", "127.0.0.1 localhost\n10.1.1.1 fixed.example fixed\n");
        let program = write("pod.py", include_str!("pod.py"));
        let script = format!(
            "set -e; PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH; hostname pod-{name}; ip link set lo up; mount --bind {resolv} /etc/resolv.conf; \
             mount --bind {hosts} /etc/hosts; cd /usr; {exec} python3 {program}"
        );
        let mut child = unshare
            .args(["sh", "-c", &script])
            .env("POD_SECRET", "s3cret")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test needs util-linux");
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut pod = Pod { child, stdin, stdout, folder };
        assert_eq!(pod.line(), "ready");
        pod
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A folder that the pod sees, too.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Connects from inside; answers the greeting of who took the connection.
    pub fn connect(&mut self, address: &str, port: u16) -> String {
        self.command(&format!("connect {address} {port}"))
    }

    /// Sends over a connection and answers what came back.
    pub fn send(&mut self, connection: usize, text: &str) -> String {
        self.command(&format!("send {connection} {text}"))
    }

    /// Starts a command whose answer is read later with [`Pod::line`].
    pub fn begin(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn command(&mut self, command: &str) -> String {
        self.begin(command);
        self.line()
    }

    /// Runs a program in the pod's network namespace.
    pub fn inside(&self, program: &[&str]) -> String {
        let pid = self.pid().to_string();
        let output = Command::new("nsenter").args(["-t", &pid, "-n"]).args(program).output().unwrap();
        assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A copy of the agent that an ordinary user may run, wherever the tests are built.
pub struct Copy(std::path::PathBuf);

impl Copy {
    pub fn new(name: &str) -> Copy {
        let path = std::env::temp_dir().join(format!("mirrord-agent-{name}-{}", std::process::id()));
        std::fs::copy(agent(), &path).unwrap();
        Copy(path)
    }

    pub fn as_nobody(&self) -> Command {
        as_nobody(self.0.to_str().unwrap())
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub fn as_nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    command
}

/// An agent process and the link to it.
pub struct Session {
    pub agent: Child,
    pub link: Link,
    pub welcome: Welcome,
    pub environment: Bytes,
    pub events: mpsc::Receiver<Event>,
}

impl Session {
    /// An agent that serves one inherited socket.
    pub async fn start(pod: &Pod, holder: &str) -> Session {
        Session::run(Command::new(agent()), pod.pid(), holder, &[]).await
    }

    pub async fn run(mut agent: Command, pid: u32, holder: &str, more: &[&str]) -> Session {
        let keys = SessionKeys::generate().unwrap();
        let (ours, theirs) = StdStream::pair().unwrap();
        let agent = agent
            .args(["serve", "--fd", "0", "--pid", &pid.to_string()])
            .args(more)
            .env("MIRRORD_AGENT_KEYS", keys.agent_pem())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .unwrap();
        ours.set_nonblocking(true).unwrap();
        let carrier = UnixStream::from_std(ours).unwrap();
        let (link, welcome, environment, events) = Link::client(carrier, &keys, &hello(holder)).await.unwrap();
        Session { agent, link, welcome, environment, events }
    }

    pub async fn ask(&self, request: Request) -> (Response, Bytes) {
        tokio::time::timeout(LIMIT, self.link.request(&request, Bytes::new())).await.expect("in time").unwrap()
    }

    pub async fn event(&mut self) -> Event {
        tokio::time::timeout(LIMIT, self.events.recv()).await.expect("in time").expect("an event")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}

pub fn hello(holder: &str) -> Hello {
    Hello { version: mirrord_protocol::VERSION.to_owned(), features: Vec::new(), holder: holder.to_owned() }
}

/// A port of this machine that nobody listens on.
pub fn free_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// An agent that listens, and its session's keys.
pub struct Listening {
    pub agent: Child,
    pub address: SocketAddr,
    pub keys: SessionKeys,
}

impl Listening {
    pub async fn start(arguments: &[&str]) -> Listening {
        let keys = SessionKeys::generate().unwrap();
        let address = free_port();
        let agent = Command::new(agent())
            .args(["serve", "--listen", &address.to_string()])
            .args(arguments)
            .env("MIRRORD_AGENT_KEYS", keys.agent_pem())
            .spawn()
            .unwrap();
        let listening = Listening { agent, address, keys };
        drop(listening.dial().await);
        listening
    }

    /// A fresh connection, as soon as the agent listens.
    pub async fn dial(&self) -> TcpStream {
        let dial = async {
            loop {
                match TcpStream::connect(self.address).await {
                    Ok(stream) => return stream,
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        tokio::time::timeout(LIMIT, dial).await.expect("the agent listens")
    }

    /// Waits for the agent's end; its exit code.
    pub async fn exit_code(&mut self) -> Option<i32> {
        let pidfd = rustix::process::pidfd_open(
            rustix::process::Pid::from_child(&self.agent),
            rustix::process::PidfdFlags::empty(),
        )
        .unwrap();
        tokio::task::spawn_blocking(move || {
            let mut watched = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            let limit = rustix::event::Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(rustix::event::poll(&mut watched, Some(&limit)).unwrap(), 1, "the agent ends in time");
        })
        .await
        .unwrap();
        self.agent.wait().unwrap().code()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.agent.kill();
        let _ = self.agent.wait();
    }
}
