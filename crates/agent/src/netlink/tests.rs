//! The redirect against the real kernel, in a network namespace of the test's own. Needs root, says so otherwise.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};

use super::*;
use crate::namespace::{MARK, kernel};

/// Runs `test` on a thread in a fresh network namespace whose loopback is up.
fn in_new_network(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a new network namespace needs root");
        return;
    }
    let thread = std::thread::spawn(move || {
        // SAFETY: a network namespace of one's own changes nothing that memory safety rests on.
        unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
        let status = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(status.expect("the test needs iproute2").success());
        test();
    });
    thread.join().unwrap();
}

fn listen() -> (TcpListener, u16) {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// Says its name to everybody, and then echoes.
fn serve(listener: TcpListener, name: &'static [u8]) {
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            std::thread::spawn(move || {
                client.write_all(name).unwrap();
                let mut byte = [0];
                while client.read(&mut byte).is_ok_and(|len| len == 1) {
                    client.write_all(&byte).unwrap();
                }
            });
        }
    });
}

fn greeting(stream: &mut TcpStream) -> String {
    let mut name = [0; 5];
    stream.read_exact(&mut name).unwrap();
    String::from_utf8(name.to_vec()).unwrap()
}

fn who_answers(address: std::net::IpAddr, port: u16) -> String {
    greeting(&mut TcpStream::connect((address, port)).unwrap())
}

#[test]
fn ports_are_redirected_and_given_back_while_connections_live_on() {
    in_new_network(|| {
        let (original, port) = listen();
        let (stolen, listener) = listen();
        serve(original, b"app__");
        serve(stolen, b"agent");
        let mut existing = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_eq!(greeting(&mut existing), "app__");

        let mut redirect = Redirect::create(listener).unwrap();
        assert_eq!(who_answers(Ipv4Addr::LOCALHOST.into(), port), "app__", "no port is redirected yet");
        redirect.add(port).unwrap();
        assert_eq!(who_answers(Ipv4Addr::LOCALHOST.into(), port), "agent");
        assert_eq!(who_answers(Ipv6Addr::LOCALHOST.into(), port), "agent");

        existing.write_all(b"x").unwrap();
        let mut echo = [0];
        existing.read_exact(&mut echo).unwrap();
        assert_eq!(&echo, b"x", "a connection from before is not reset");

        let again = redirect.add(port).unwrap_err();
        assert_eq!(again.errno(), Errno::EXIST.raw_os_error());
        redirect.remove(port).unwrap();
        assert_eq!(who_answers(Ipv4Addr::LOCALHOST.into(), port), "app__");
        redirect.add(port).unwrap();
        drop(redirect);
        assert_eq!(who_answers(Ipv4Addr::LOCALHOST.into(), port), "app__", "the table goes with its socket");
    });
}

#[test]
fn own_connections_pass_and_the_original_address_is_known() {
    in_new_network(|| {
        let (original, port) = listen();
        serve(original, b"app__");
        let stolen = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let mut redirect = Redirect::create(stolen.local_addr().unwrap().port()).unwrap();
        redirect.add(port).unwrap();
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let (accepted, _) = stolen.accept().unwrap();
        let before = rustix::net::sockopt::ip_original_dst(&accepted).unwrap();
        assert_eq!(before, std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));

        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let own = runtime.block_on(async {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            kernel::set_mark(&socket, MARK).unwrap();
            socket.connect((Ipv4Addr::LOCALHOST, port).into()).await.unwrap().into_std().unwrap()
        });
        own.set_nonblocking(false).unwrap();
        assert_eq!(greeting(&mut { own }), "app__");
    });
}

#[test]
fn two_agents_have_two_tables_and_nobody_else_changes_them() {
    in_new_network(|| {
        let mut first = Redirect::create(1001).unwrap();
        let mut second = Redirect::create(1002).unwrap();
        first.add(80).unwrap();
        second.add(81).unwrap();
        let flush = std::process::Command::new("nft").args(["delete", "table", "inet", &first.table]).output();
        if let Ok(flush) = flush {
            assert!(!flush.status.success(), "an owner table is the owner's");
        }
        drop(first);
        second.add(80).unwrap();
    });
}

#[test]
fn a_missing_privilege_is_named() {
    in_new_network(|| {
        crate::namespace::privileges::restrict(rustix::thread::CapabilitySet::empty()).unwrap();
        assert!(matches!(Redirect::create(1).unwrap_err(), RedirectError::NotAllowed(_)));
    });
}
