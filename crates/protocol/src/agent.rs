//! The conversation between proxy and agent: what the heads of [`crate::frame`]s say.
//!
//! Heads are MessagePack maps, so a newer peer may add fields that an older one skips (arrays would be shorter, but the
//! decoder refuses a longer one than it knows). Anything that can be large (file contents, directory listings, the
//! environment) is the frame's payload. Every request has an id and may be answered out of order.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// First message of the client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::VERSION`] of the client.
    pub version: String,
    /// Optional abilities of the client, by name.
    pub features: Vec<String>,
    /// Who holds this session, shown to others in a conflict (`user@host`).
    pub holder: String,
}

/// First message of the agent. Payload: the target process's environment, as in `/proc/PID/environ`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`crate::VERSION`] of the agent.
    pub version: String,
    /// Optional abilities of the agent, by name.
    pub features: Vec<String>,
    /// Process id of the target as the agent sees it; 0 = targetless.
    pub pid: u32,
    /// The target's host name (UTS namespace).
    pub hostname: ByteBuf,
    /// User id that the target runs as.
    pub uid: u32,
    /// Group id that the target runs as.
    pub gid: u32,
    /// Working directory of the target.
    pub cwd: ByteBuf,
}

/// A question to the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Attributes of a path; never follows the last link. Answer [`Response::Entry`]. Payload of the answer: the link's
    /// text for a symbolic link; the whole content for a regular file of at most `prefetch` bytes.
    Lookup {
        /// Absolute path in the target's root.
        path: ByteBuf,
        /// Contents of files up to this size are sent along.
        prefetch: u32,
    },
    /// Opens a regular file for reading. Answer [`Response::Opened`]; payload: its first `prefetch` bytes.
    Open {
        /// Absolute path in the target's root.
        path: ByteBuf,
        /// First bytes to send along.
        prefetch: u32,
    },
    /// Reads from an open file. Answer [`Response::Data`]; fewer bytes than `len` mean the end of the file.
    Read {
        /// From [`Response::Opened`].
        handle: u64,
        /// Byte offset.
        offset: u64,
        /// Wanted bytes, at most 1 MiB minus 64 KiB.
        len: u32,
    },
    /// Closes an open file. Answer [`Response::Done`].
    Close {
        /// From [`Response::Opened`].
        handle: u64,
    },
    /// Part of a directory, with attributes. Answer [`Response::Entries`]; payload: MessagePack `Vec<Entry>`.
    List {
        /// Absolute path in the target's root.
        path: ByteBuf,
        /// 0 at first, then [`Response::Entries`]' `next`.
        cookie: u64,
    },
    /// `access(2)` as the target's user. Answer [`Response::Done`].
    Access {
        /// Absolute path in the target's root.
        path: ByteBuf,
        /// `R_OK | W_OK | X_OK` bits.
        mode: u32,
    },
    /// `statfs(2)`. Answer [`Response::Statfs`].
    Statfs {
        /// Absolute path in the target's root.
        path: ByteBuf,
    },
    /// `lgetxattr(2)`. Answer [`Response::Data`] with the value as payload.
    GetXattr {
        /// Absolute path in the target's root.
        path: ByteBuf,
        /// Attribute name.
        name: ByteBuf,
    },
    /// `llistxattr(2)`. Answer [`Response::Data`]: NUL-terminated names.
    ListXattr {
        /// Absolute path in the target's root.
        path: ByteBuf,
    },
    /// Host name to addresses with the target's resolver. Answer [`Response::Addresses`] or [`Response::NameError`].
    Resolve {
        /// Host name.
        name: ByteBuf,
        /// Ask for A records.
        v4: bool,
        /// Ask for AAAA records.
        v6: bool,
    },
    /// Address to host name. Answer [`Response::Name`] or [`Response::NameError`].
    Reverse {
        /// The address.
        address: IpAddr,
    },
    /// One record type of a name. Answer [`Response::Data`] with the DNS answer packet, or [`Response::NameError`].
    Query {
        /// Domain name.
        name: ByteBuf,
        /// DNS class.
        class: u16,
        /// DNS type.
        kind: u16,
        /// Apply the target's search list.
        search: bool,
    },
    /// A DNS query packet (payload) for the target's name server. Answer as for [`Request::Query`].
    Forward,
    /// Redirects a TCP port of the target to this session. Answer [`Response::Done`] or [`Response::Refused`].
    Subscribe {
        /// Port of the target.
        port: u16,
    },
    /// Gives a port back. Answer [`Response::Done`].
    Unsubscribe {
        /// Port of the target.
        port: u16,
    },
}

/// The agent's answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// Done.
    Done,
    /// The kernel of the target's node said this errno.
    Errno(i32),
    /// Not possible, with the reason for a person to read.
    Refused {
        /// Closest errno.
        errno: i32,
        /// One sentence without full stop.
        reason: String,
    },
    /// Attributes of a path.
    Entry(Attributes),
    /// An open file.
    Opened {
        /// Name of the open file on this link.
        handle: u64,
        /// Its attributes at that moment.
        attributes: Attributes,
    },
    /// The payload is what was asked for.
    Data,
    /// The payload is a MessagePack `Vec<Entry>`.
    Entries {
        /// Where to go on; 0 = that was all.
        next: u64,
    },
    /// `statfs(2)` of the path.
    Statfs(Statfs),
    /// Addresses in the resolver's order.
    Addresses {
        /// Canonical name.
        canonical: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// How long they may be remembered, in seconds.
        ttl: u32,
    },
    /// A host name.
    Name(String),
    /// No answer to a name question.
    NameError(NameFailure),
}

/// Why a name has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NameFailure {
    /// It does not exist.
    NotFound,
    /// It exists without such records.
    NoData,
    /// Time-out or temporary failure.
    Again,
    /// Anything else.
    Failed,
}

/// `struct stat` of a file. Times are since the epoch, in seconds and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Device and inode, from which a stable inode number is made.
    pub dev: u64,
    /// Inode number on that device.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Hard links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a special file.
    pub rdev: u64,
    /// Bytes.
    pub size: u64,
    /// Blocks of 512 bytes.
    pub blocks: u64,
    /// Preferred block size.
    pub blksize: u32,
    /// Last access.
    pub atime: (i64, u32),
    /// Last change of contents.
    pub mtime: (i64, u32),
    /// Last change of attributes.
    pub ctime: (i64, u32),
}

/// One name of a directory listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Name, without slash.
    pub name: ByteBuf,
    /// Attributes; `None` when it vanished in between.
    pub attributes: Option<Attributes>,
    /// Text of a symbolic link.
    pub link: Option<ByteBuf>,
}

/// `struct statfs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statfs {
    /// All fields as in `statfs(2)`.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for ordinary users.
    pub bavail: u64,
    /// File nodes.
    pub files: u64,
    /// Free file nodes.
    pub ffree: u64,
    /// Block size.
    pub bsize: u32,
    /// Longest name.
    pub namelen: u32,
    /// Fragment size.
    pub frsize: u32,
}

/// A new stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Open {
    /// proxy → agent: connect from the target's network namespace.
    Connect {
        /// Where to.
        remote: SocketAddr,
        /// Limit in milliseconds; 0 = the kernel's own.
        timeout_ms: u32,
    },
    /// agent → proxy: somebody connected to a subscribed port.
    Incoming {
        /// The subscribed port.
        port: u16,
        /// The client.
        peer: SocketAddr,
        /// The address that the client connected to.
        local: SocketAddr,
    },
}

/// Answer to [`Open`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opened {
    /// The stream is open.
    Ready {
        /// Own address of the socket in the target's namespace.
        local: SocketAddr,
    },
    /// It is not.
    Failed {
        /// What the kernel said.
        errno: i32,
    },
}

/// The stream is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Why, as an errno; `ECONNRESET` for a plain RST.
    pub errno: i32,
}

/// More room in a stream's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Bytes.
    pub bytes: u32,
}

/// The sender ends the session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// One sentence for the other side's user.
    pub reason: String,
}

/// Something the other side's user should read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// One sentence.
    pub text: String,
}

/// A head that is not what its kind says.
#[derive(Debug, thiserror::Error)]
#[error("failed to read {what}: {cause}")]
pub struct HeadError {
    what: &'static str,
    cause: rmp_serde::decode::Error,
}

/// Encodes a head.
///
/// # Panics
/// Never for the types of this module: MessagePack can express all of them.
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(rmp_serde::to_vec_named(value).expect("protocol types are representable in MessagePack"))
}

/// Encodes a directory listing for a payload, as arrays: a thousand entries would repeat every field's name a thousand
/// times. Decoded by [`decode`].
///
/// # Panics
/// Never, as [`encode`].
pub fn encode_entries(entries: &[Entry]) -> Bytes {
    Bytes::from(rmp_serde::to_vec(entries).expect("protocol types are representable in MessagePack"))
}

/// Decodes a head.
///
/// # Errors
/// [`HeadError`] when the bytes are not a `T`.
pub fn decode<T: DeserializeOwned>(head: &[u8]) -> Result<T, HeadError> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(head);
    deserializer.set_max_depth(32);
    T::deserialize(&mut deserializer).map_err(|cause| HeadError { what: std::any::type_name::<T>(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_round_trip() {
        let request = Request::Lookup { path: ByteBuf::from(*b"/etc/hosts"), prefetch: 4096 };
        assert_eq!(decode::<Request>(&encode(&request)).unwrap(), request);
        assert_eq!(decode::<Request>(&encode(&Request::Forward)).unwrap(), Request::Forward);
        let open = Open::Connect { remote: "[fd00::1]:80".parse().unwrap(), timeout_ms: 0 };
        assert_eq!(decode::<Open>(&encode(&open)).unwrap(), open);
    }

    #[test]
    fn fields_of_a_newer_peer_are_skipped() {
        #[derive(Serialize)]
        struct Newer {
            bytes: u32,
            colour: &'static str,
        }
        let newer = encode(&Newer { bytes: 1, colour: "red" });
        assert_eq!(decode::<Credit>(&newer).unwrap(), Credit { bytes: 1 });
    }

    #[test]
    fn listings_round_trip() {
        let entry = Entry {
            name: ByteBuf::from(*b"\xff"),
            attributes: Some(Attributes::default()),
            link: Some(ByteBuf::from(*b"/x")),
        };
        assert_eq!(decode::<Vec<Entry>>(&encode_entries(std::slice::from_ref(&entry))).unwrap(), vec![entry]);
    }

    #[test]
    fn garbage_is_an_error() {
        assert!(decode::<Request>(b"\xc1").is_err());
        assert!(decode::<Request>(b"").is_err());
    }
}
