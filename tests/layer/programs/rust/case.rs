//! Files, names, connections and children by Rust's standard library; the first argument names the case.

use std::env;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn read(paths: &[String]) -> Outcome {
    for path in paths {
        println!("{:?}", fs::read(path).map(|bytes| bytes.len()).map_err(|problem| problem.kind()));
    }
    let mut file = fs::File::open(&paths[0])?;
    file.seek(SeekFrom::Start(5))?;
    let mut text = String::new();
    file.take(9).read_to_string(&mut text)?;
    println!("{text:?}");
    Ok(())
}

fn list(folder: &str) -> Outcome {
    let mut lines: Vec<String> = fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            let kind = entry.file_type()?;
            let name = entry.file_name().as_bytes().escape_ascii().to_string();
            Ok(format!("{name} {} {} {}", kind.is_file(), kind.is_dir(), kind.is_symlink()))
        })
        .collect::<std::io::Result<_>>()?;
    lines.sort();
    println!("{}", lines.join("\n"));
    Ok(())
}

fn stat(paths: &[String]) {
    for path in paths {
        match fs::symlink_metadata(path) {
            Ok(info) => println!("{path} {:o} {}.{:09}", info.mode(), info.mtime(), info.mtime_nsec()),
            Err(problem) => println!("{path} {:?}", problem.kind()),
        }
        println!("{:?} {:?}", fs::canonicalize(path).ok(), fs::read_link(path).ok());
    }
}

fn exchange(end: &str) -> Outcome {
    let mut socket = TcpStream::connect(end)?;
    println!("{}", socket.peer_addr()?);
    socket.write_all(b"hello")?;
    socket.shutdown(Shutdown::Write)?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    println!("{text:?}");
    Ok(())
}

fn refused(ends: &[String]) {
    for end in ends {
        let address: SocketAddr = end.parse().expect("the catalogue gives addresses");
        let outcome = TcpStream::connect_timeout(&address, Duration::from_secs(5));
        println!("{end} {:?}", outcome.map(|_| ()).map_err(|problem| problem.kind()));
    }
}

fn names(names: &[String]) {
    for name in names {
        let mut found: Vec<String> = match (name.as_str(), 80).to_socket_addrs() {
            Ok(list) => list.map(|address| address.to_string()).collect(),
            Err(_) => vec!["none".to_owned()],
        };
        found.sort();
        println!("{name} {found:?}");
    }
}

fn loopback() -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut accepted, peer) = listener.accept()?;
    client.write_all(b"x")?;
    let mut byte = [0];
    accepted.read_exact(&mut byte)?;
    println!("{} {}", byte[0], peer == client.local_addr()?);
    Ok(())
}

fn environment(names: &[String]) {
    for name in names {
        println!("{name} {:?}", env::var_os(name).map(|value| value.as_bytes().escape_ascii().to_string()));
    }
}

fn children(path: &str) -> Outcome {
    println!("{:?}", Command::new("/bin/cat").arg(path).output()?);
    println!("{:?}", Command::new("/bin/cat").arg(path).env_clear().output()?);
    Ok(())
}

fn main() -> Outcome {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (name, rest) = arguments.split_first().expect("the first argument names the case");
    match name.as_str() {
        "read" => read(rest)?,
        "list" => list(&rest[0])?,
        "stat" => stat(rest),
        "exchange" => exchange(&rest[0])?,
        "refused" => refused(rest),
        "names" => names(rest),
        "loopback" => loopback()?,
        "environment" => environment(rest),
        "children" => children(&rest[0])?,
        _ => std::process::exit(64),
    }
    Ok(())
}
