//! The conversation between the layer (in the program) and the proxy.
//!
//! One `SOCK_SEQPACKET` unix connection per question, one datagram per message, so neither side keeps state: nothing to
//! lock, to carry across `fork` or to find closed by the program. Only [`Question::Connect`] is followed by a second
//! message, [`Question::Established`], on the same connection. A connection that ends without it withdraws the connect.
//!
//! The encoding is ours and not MessagePack because the layer must not allocate: a tag byte, then fixed-width
//! little-endian numbers and byte strings with a `u16` length. Trailing bytes are ignored (newer fields).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Largest message either way, in bytes. A DNS answer (64 KiB) is the longest thing that fits in one.
pub const MAX_MESSAGE: usize = 68 * 1024;

/// Most addresses in one [`Answer::Addresses`]; the proxy drops the rest, as a resolver's truncation would.
pub const MAX_ADDRESSES: usize = 128;

/// Address families that a name may be resolved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Family {
    /// Both, as `AF_UNSPEC`.
    Any = 0,
    /// `AF_INET`.
    V4 = 4,
    /// `AF_INET6`.
    V6 = 6,
}

/// What the layer asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question<'a> {
    /// The layer is active in this process. Sent once by its constructor; answered [`Answer::Done`].
    Hello {
        /// Process id in the program's own namespace.
        pid: u32,
        /// Path of the image (`/proc/self/exe`).
        program: &'a [u8],
    },
    /// The program connects a TCP socket to a remote address. Answered [`Answer::Via`], [`Answer::Native`] or
    /// [`Answer::Errno`].
    Connect {
        /// The remote address, as the program gave it.
        remote: SocketAddr,
        /// True for `O_NONBLOCK`: answer within tens of milliseconds, at worst with a pending listener.
        nonblocking: bool,
        /// True when the socket can reach only IPv6 listeners (an `AF_INET6` socket with `IPV6_V6ONLY`).
        v6: bool,
        /// The socket's `SO_SNDTIMEO` in milliseconds; 0 = none.
        timeout_ms: u32,
    },
    /// Follows [`Answer::Via`]: the program's socket is connected (or in progress) from this local address. Not answered.
    Established {
        /// The socket's own address, by which the proxy recognises it.
        local: SocketAddr,
    },
    /// The program listens. Answered [`Answer::Done`] when the port is subscribed, else [`Answer::Errno`].
    Listen {
        /// Where the socket really listens.
        local: SocketAddr,
        /// The address that the program asked for; the same as `local`, unless a [`Question::Bound`] for `local` said
        /// otherwise, which then counts.
        requested: SocketAddr,
    },
    /// `bind` could not have the address that the program asked for and took another one. Answered [`Answer::Done`], or
    /// [`Answer::Errno`] with `EADDRINUSE` when `requested` is already held in this session.
    Bound {
        /// What the socket is really bound to.
        local: SocketAddr,
        /// What the program asked for: shown by `getsockname` ([`Question::Ends`]) and subscribed by [`Question::Listen`].
        requested: SocketAddr,
    },
    /// Who is at the other end of the connection whose *own* address is `local` (`accept`, `getpeername`, `getsockname`)?
    /// Answered [`Answer::Ends`], or [`Answer::Errno`] with `ENOTCONN` when the proxy does not know it.
    Ends {
        /// The socket's own address.
        local: SocketAddr,
        /// The peer that the kernel shows: an address of the proxy. `0.0.0.0:0` when the kernel shows none: a listener
        /// ([`Question::Bound`]), or a connection in progress that was refused, whose errno is asked for.
        peer: SocketAddr,
    },
    /// Host name to addresses. Answered [`Answer::Addresses`] or [`Answer::NameError`].
    Resolve {
        /// Name as given by the program.
        name: &'a [u8],
        /// Wanted families.
        family: Family,
    },
    /// Address to host name. Answered [`Answer::Name`] or [`Answer::NameError`].
    Reverse {
        /// The address.
        address: IpAddr,
    },
    /// `res_query` and `res_search`. Answered [`Answer::Packet`] or [`Answer::NameError`].
    Query {
        /// Domain name.
        name: &'a [u8],
        /// DNS class (1 = IN).
        class: u16,
        /// DNS record type.
        kind: u16,
        /// Apply the pod's search list (`res_search`).
        search: bool,
    },
    /// `res_send`: a complete DNS query packet. Answered [`Answer::Packet`] or [`Answer::NameError`].
    Forward {
        /// The packet, RFC 1035 wire format.
        packet: &'a [u8],
    },
    /// Something the user must read: the layer could not keep a process in context. Answered [`Answer::Done`].
    Notice {
        /// What happened.
        notice: Notice,
        /// The process it is about.
        pid: u32,
        /// The program or name it is about.
        subject: &'a [u8],
    },
}

/// Reasons for [`Question::Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Notice {
    /// `exec` of a statically linked program was refused: the layer cannot reach it.
    StaticProgram = 1,
    /// `exec` of a Go program was refused: it makes raw system calls.
    GoProgram = 2,
    /// `exec` of a set-user-id, set-group-id or capability program: it runs outside the context.
    PrivilegedProgram = 3,
    /// `exec` of a program for another architecture or C library was refused.
    ForeignProgram = 4,
}

/// Why a name has no answer; maps to `EAI_*` and `h_errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum NameError {
    /// The name does not exist: `EAI_NONAME`, `HOST_NOT_FOUND`.
    NotFound = 1,
    /// The name exists without such records: `EAI_NODATA`, `NO_DATA`.
    NoData = 2,
    /// Time-out or a server's temporary failure: `EAI_AGAIN`, `TRY_AGAIN`.
    Again = 3,
    /// Anything else: `EAI_FAIL`, `NO_RECOVERY`.
    Failed = 4,
}

/// What the proxy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// Done, nothing to say.
    Done,
    /// The call fails with this errno.
    Errno(i32),
    /// Connect the socket to this listener of the proxy, then send [`Question::Established`].
    Via {
        /// The listener.
        listener: SocketAddr,
    },
    /// The true ends of a connection.
    Ends {
        /// As `getpeername` must show it.
        peer: SocketAddr,
        /// As `getsockname` must show it.
        local: SocketAddr,
    },
    /// Addresses of a name, in the resolver's order, and its canonical name.
    Addresses {
        /// Canonical name.
        canonical: &'a [u8],
        /// The addresses.
        list: AddressList<'a>,
    },
    /// A host name.
    Name(&'a [u8]),
    /// A DNS answer packet.
    Packet(&'a [u8]),
    /// No answer to a name question.
    NameError(NameError),
    /// Make the call as it is: the loopback address belongs to a listener of the session's own programs.
    Native,
}

/// Addresses inside an [`Answer::Addresses`], still encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressList<'a>(&'a [u8]);

impl<'a> AddressList<'a> {
    /// Encodes `addresses` into `out` for [`Answer::Addresses`]; stops at [`MAX_ADDRESSES`] or when `out` is full.
    pub fn fill(addresses: &[IpAddr], out: &'a mut [u8]) -> AddressList<'a> {
        let mut writer = Writer { out, len: 0 };
        for address in addresses.iter().take(MAX_ADDRESSES) {
            let before = writer.len;
            if writer.ip(*address).is_err() {
                writer.len = before;
                break;
            }
        }
        let Writer { out, len } = writer;
        AddressList(&out[..len])
    }

    /// The addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + 'a {
        let mut reader = Reader(self.0);
        core::iter::from_fn(move || if reader.0.is_empty() { None } else { reader.ip().ok() }).take(MAX_ADDRESSES)
    }
}

/// A message that cannot be read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayerError {
    /// The buffer ends inside a field, or is too small to write one.
    #[error("message does not fit its buffer")]
    Short,
    /// A tag that this version does not know.
    #[error("unknown tag `{0}`")]
    Tag(u8),
}

type Result<T> = core::result::Result<T, LayerError>;

// === impl Question ===

impl<'a> Question<'a> {
    /// Writes the message into `out`; returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize> {
        let mut writer = Writer { out, len: 0 };
        match *self {
            Question::Hello { pid, program } => {
                writer.u8(1)?;
                writer.u32(pid)?;
                writer.bytes(program)?;
            }
            Question::Connect { remote, nonblocking, v6, timeout_ms } => {
                writer.u8(2)?;
                writer.socket(remote)?;
                writer.u8(u8::from(nonblocking) | u8::from(v6) << 1)?;
                writer.u32(timeout_ms)?;
            }
            Question::Established { local } => {
                writer.u8(3)?;
                writer.socket(local)?;
            }
            Question::Listen { local, requested } => {
                writer.u8(4)?;
                writer.socket(local)?;
                writer.socket(requested)?;
            }
            Question::Ends { local, peer } => {
                writer.u8(5)?;
                writer.socket(local)?;
                writer.socket(peer)?;
            }
            Question::Resolve { name, family } => {
                writer.u8(6)?;
                writer.u8(family as u8)?;
                writer.bytes(name)?;
            }
            Question::Reverse { address } => {
                writer.u8(7)?;
                writer.ip(address)?;
            }
            Question::Query { name, class, kind, search } => {
                writer.u8(8)?;
                writer.u16(class)?;
                writer.u16(kind)?;
                writer.u8(u8::from(search))?;
                writer.bytes(name)?;
            }
            Question::Forward { packet } => {
                writer.u8(9)?;
                writer.bytes(packet)?;
            }
            Question::Bound { local, requested } => {
                writer.u8(11)?;
                writer.socket(local)?;
                writer.socket(requested)?;
            }
            Question::Notice { notice, pid, subject } => {
                writer.u8(10)?;
                writer.u8(notice as u8)?;
                writer.u32(pid)?;
                writer.bytes(subject)?;
            }
        }
        Ok(writer.len)
    }

    /// Reads a message.
    pub fn decode(message: &'a [u8]) -> Result<Question<'a>> {
        let mut reader = Reader(message);
        Ok(match reader.u8()? {
            1 => Question::Hello { pid: reader.u32()?, program: reader.bytes()? },
            2 => {
                let remote = reader.socket()?;
                let flags = reader.u8()?;
                let timeout_ms = reader.u32()?;
                Question::Connect { remote, nonblocking: flags & 1 != 0, v6: flags & 2 != 0, timeout_ms }
            }
            3 => Question::Established { local: reader.socket()? },
            4 => Question::Listen { local: reader.socket()?, requested: reader.socket()? },
            5 => Question::Ends { local: reader.socket()?, peer: reader.socket()? },
            6 => {
                let family = match reader.u8()? {
                    0 => Family::Any,
                    4 => Family::V4,
                    6 => Family::V6,
                    other => return Err(LayerError::Tag(other)),
                };
                Question::Resolve { family, name: reader.bytes()? }
            }
            7 => Question::Reverse { address: reader.ip()? },
            8 => {
                let class = reader.u16()?;
                let kind = reader.u16()?;
                let search = reader.u8()? != 0;
                Question::Query { class, kind, search, name: reader.bytes()? }
            }
            9 => Question::Forward { packet: reader.bytes()? },
            10 => {
                let notice = match reader.u8()? {
                    1 => Notice::StaticProgram,
                    2 => Notice::GoProgram,
                    3 => Notice::PrivilegedProgram,
                    4 => Notice::ForeignProgram,
                    other => return Err(LayerError::Tag(other)),
                };
                Question::Notice { notice, pid: reader.u32()?, subject: reader.bytes()? }
            }
            11 => Question::Bound { local: reader.socket()?, requested: reader.socket()? },
            other => return Err(LayerError::Tag(other)),
        })
    }
}

// === impl Answer ===

impl<'a> Answer<'a> {
    /// Writes the message into `out`; returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize> {
        let mut writer = Writer { out, len: 0 };
        match *self {
            Answer::Done => writer.u8(1)?,
            Answer::Errno(errno) => {
                writer.u8(2)?;
                writer.u32(errno.cast_unsigned())?;
            }
            Answer::Via { listener } => {
                writer.u8(3)?;
                writer.socket(listener)?;
            }
            Answer::Ends { peer, local } => {
                writer.u8(4)?;
                writer.socket(peer)?;
                writer.socket(local)?;
            }
            Answer::Addresses { canonical, list } => {
                writer.u8(5)?;
                writer.bytes(canonical)?;
                writer.bytes(list.0)?;
            }
            Answer::Name(name) => {
                writer.u8(6)?;
                writer.bytes(name)?;
            }
            Answer::Packet(packet) => {
                writer.u8(7)?;
                writer.bytes(packet)?;
            }
            Answer::NameError(error) => {
                writer.u8(8)?;
                writer.u8(error as u8)?;
            }
            Answer::Native => writer.u8(9)?,
        }
        Ok(writer.len)
    }

    /// Reads a message.
    pub fn decode(message: &'a [u8]) -> Result<Answer<'a>> {
        let mut reader = Reader(message);
        Ok(match reader.u8()? {
            1 => Answer::Done,
            2 => Answer::Errno(reader.u32()?.cast_signed()),
            3 => Answer::Via { listener: reader.socket()? },
            4 => Answer::Ends { peer: reader.socket()?, local: reader.socket()? },
            5 => Answer::Addresses { canonical: reader.bytes()?, list: AddressList(reader.bytes()?) },
            6 => Answer::Name(reader.bytes()?),
            7 => Answer::Packet(reader.bytes()?),
            8 => Answer::NameError(match reader.u8()? {
                1 => NameError::NotFound,
                2 => NameError::NoData,
                3 => NameError::Again,
                4 => NameError::Failed,
                other => return Err(LayerError::Tag(other)),
            }),
            9 => Answer::Native,
            other => return Err(LayerError::Tag(other)),
        })
    }
}

// === the encoding ===

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.len.checked_add(bytes.len()).ok_or(LayerError::Short)?;
        self.out.get_mut(self.len..end).ok_or(LayerError::Short)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }

    fn u8(&mut self, value: u8) -> Result<()> {
        self.put(&[value])
    }

    fn u16(&mut self, value: u16) -> Result<()> {
        self.put(&value.to_le_bytes())
    }

    fn u32(&mut self, value: u32) -> Result<()> {
        self.put(&value.to_le_bytes())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.u16(u16::try_from(bytes.len()).map_err(|_| LayerError::Short)?)?;
        self.put(bytes)
    }

    fn ip(&mut self, address: IpAddr) -> Result<()> {
        match address {
            IpAddr::V4(v4) => {
                self.u8(4)?;
                self.put(&v4.octets())
            }
            IpAddr::V6(v6) => {
                self.u8(6)?;
                self.put(&v6.octets())
            }
        }
    }

    fn socket(&mut self, address: SocketAddr) -> Result<()> {
        self.ip(address.ip())?;
        self.u16(address.port())?;
        self.u32(match address {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(LayerError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| LayerError::Short)
    }

    fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn ip(&mut self) -> Result<IpAddr> {
        match self.u8()? {
            4 => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            other => Err(LayerError::Tag(other)),
        }
    }

    fn socket(&mut self) -> Result<SocketAddr> {
        let ip = self.ip()?;
        let port = self.u16()?;
        let scope = self.u32()?;
        Ok(match ip {
            IpAddr::V4(v4) => SocketAddr::from((v4, port)),
            IpAddr::V6(v6) => core::net::SocketAddrV6::new(v6, port, 0, scope).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn questions() -> Vec<Question<'static>> {
        let v4: SocketAddr = "10.0.0.1:80".parse().unwrap();
        let v6: SocketAddr = "[fd00::1%3]:443".parse().unwrap();
        vec![
            Question::Hello { pid: 7, program: b"/usr/bin/python3" },
            Question::Connect { remote: v6, nonblocking: true, v6: false, timeout_ms: 500 },
            Question::Established { local: v4 },
            Question::Listen { local: v4, requested: v6 },
            Question::Ends { local: v4, peer: v6 },
            Question::Bound { local: v4, requested: v6 },
            Question::Resolve { name: b"web.shop", family: Family::V6 },
            Question::Reverse { address: v6.ip() },
            Question::Query { name: b"_http._tcp.web", class: 1, kind: 33, search: true },
            Question::Forward { packet: b"\0\x01" },
            Question::Notice { notice: Notice::GoProgram, pid: 9, subject: b"/bin/go" },
        ]
    }

    #[test]
    fn questions_round_trip() {
        for question in questions() {
            let mut buffer = [0; 256];
            let len = question.encode(&mut buffer).unwrap();
            assert_eq!(Question::decode(&buffer[..len]), Ok(question));
        }
    }

    #[test]
    fn every_prefix_of_a_question_is_short() {
        for question in questions() {
            let mut buffer = [0; 256];
            let len = question.encode(&mut buffer).unwrap();
            for cut in 0..len {
                assert_eq!(Question::decode(&buffer[..cut]), Err(LayerError::Short), "{question:?} at {cut}");
            }
        }
    }

    #[test]
    fn addresses_round_trip() {
        let addresses: Vec<IpAddr> = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let mut list = [0; 64];
        let list = AddressList::fill(&addresses, &mut list);
        let mut buffer = [0; 128];
        let len = Answer::Addresses { canonical: b"web", list }.encode(&mut buffer).unwrap();
        let Ok(Answer::Addresses { canonical, list }) = Answer::decode(&buffer[..len]) else { panic!("not addresses") };
        assert_eq!(canonical, b"web");
        assert_eq!(list.iter().collect::<Vec<_>>(), addresses);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Question::decode(&bytes);
            if let Ok(Answer::Addresses { list, .. }) = Answer::decode(&bytes) {
                let _ = list.iter().count();
            }
        }
    }
}
