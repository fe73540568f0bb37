//! The policy image: everything the layer must know of a session, as one flat byte string.
//!
//! ```text
//!   "MIRRORD\x01" │ count u32 │ pad u32 │ count × (offset u32, length u32) │ sections, each 8-byte aligned
//! ```
//!
//! Written once by [`crate::compile`] before the program starts; mapped read-only by the layer in each process.
//! [`Image::open`] checks every offset and validates the pattern automata once; deciding afterwards allocates nothing.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use regex_automata::dfa::Automaton;
use regex_automata::dfa::dense::DFA;
use regex_automata::{Anchored, Input};

/// First bytes of every image; the last one is the format's version.
pub const MAGIC: &[u8; 8] = b"MIRRORD\x01";

/// Sections in the order of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Section {
    Scalars,
    RemoteRoot,
    Hostname,
    Library,
    Cwd,
    Home,
    Temp,
    Prefixes,
    Skip,
    Ports,
    IgnorePorts,
    PortMapping,
    ListenPorts,
    NotFound,
    ReadOnly,
    Local,
}

impl Section {
    pub(crate) const COUNT: usize = Section::Local as usize + 1;
}

/// Switches in the scalar section.
pub(crate) mod flag {
    pub const FILES_READ: u32 = 1;
    pub const FILES_OVERRIDES: u32 = 1 << 1;
    pub const OUTGOING_TCP: u32 = 1 << 2;
    pub const OUTGOING_IGNORE_LOCALHOST: u32 = 1 << 3;
    pub const DNS: u32 = 1 << 4;
    pub const STEAL: u32 = 1 << 5;
    pub const INCOMING_IGNORE_LOCALHOST: u32 = 1 << 6;
    pub const PORTS_LISTED: u32 = 1 << 7;
    pub const SHOWN_IDS: u32 = 1 << 8;
    pub const LISTENER_V6: u32 = 1 << 9;
}

/// Bytes of the scalar section: flags u32, device u64, shown uid and gid u32, IPv4 listener (4 + 2), IPv6 port u16.
pub(crate) const SCALARS_LEN: usize = 28;

/// What the layer must know of the session besides the rules.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Prefix under which the remote tree is reached (`/proc/PID/root`); empty = no remote files in this session.
    pub remote_root: &'a [u8],
    /// `st_dev` of the remote root as processes of this machine see it.
    pub remote_device: u64,
    /// User id that the kernel shows for files of the target's root user, when it cannot show the true ones (an
    /// unprivileged mount): other owners appear as the overflow id.
    pub shown_uid: Option<u32>,
    /// Group id, likewise.
    pub shown_gid: Option<u32>,
    /// The target's host name; empty = keep the local one.
    pub hostname: &'a [u8],
    /// Path of the layer's library, for `LD_PRELOAD` of children.
    pub library: &'a [u8],
    /// The proxy's listener. Its address (in 127.0.0.0/8) is the session's own: every connection between program and
    /// proxy has it at the proxy's end.
    pub listener_v4: SocketAddrV4,
    /// The proxy's listener for sockets that only speak IPv6.
    pub listener_v6: Option<SocketAddrV6>,
}

/// A validated policy image.
#[derive(Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    pub(crate) flags: u32,
    remote_device: u64,
    shown: (u32, u32),
    listener_v4: SocketAddrV4,
    listener_v6_port: u16,
    pub(crate) not_found: Pattern<'a>,
    pub(crate) read_only: Pattern<'a>,
    pub(crate) local: Pattern<'a>,
}

/// Bytes that are not a policy image of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// Not an image, or of another version.
    #[error("not a policy image of this version")]
    Magic,
    /// A section lies outside the bytes.
    #[error("policy image is cut off")]
    Short,
    /// A pattern automaton does not pass its checks.
    #[error("policy image holds an invalid pattern")]
    Pattern,
}

/// A set of patterns, as one automaton; an empty set matches nothing.
#[derive(Debug)]
pub(crate) struct Pattern<'a>(Option<DFA<&'a [u32]>>);

// === impl Image ===

impl<'a> Image<'a> {
    /// Checks `bytes` and opens them as an image. `bytes` must be 8-byte aligned, as any mapping is.
    ///
    /// # Errors
    /// [`ImageError`] when the bytes are not a whole image of this version.
    pub fn open(bytes: &'a [u8]) -> Result<Image<'a>, ImageError> {
        if bytes.get(..8) != Some(MAGIC) {
            return Err(ImageError::Magic);
        }
        if read_u32(bytes, 8)? as usize != Section::COUNT {
            return Err(ImageError::Magic);
        }
        for index in 0..Section::COUNT {
            slice(bytes, index)?;
        }
        let scalars = slice(bytes, Section::Scalars as usize)?;
        if scalars.len() < SCALARS_LEN {
            return Err(ImageError::Short);
        }
        let port = |at: usize| u16::from_le_bytes([scalars[at], scalars[at + 1]]);
        let address = Ipv4Addr::new(scalars[20], scalars[21], scalars[22], scalars[23]);
        Ok(Image {
            bytes,
            flags: read_u32(scalars, 0)?,
            remote_device: u64::from(read_u32(scalars, 4)?) | u64::from(read_u32(scalars, 8)?) << 32,
            shown: (read_u32(scalars, 12)?, read_u32(scalars, 16)?),
            listener_v4: SocketAddrV4::new(address, port(24)),
            listener_v6_port: port(26),
            not_found: Pattern::open(slice(bytes, Section::NotFound as usize)?)?,
            read_only: Pattern::open(slice(bytes, Section::ReadOnly as usize)?)?,
            local: Pattern::open(slice(bytes, Section::Local as usize)?)?,
        })
    }

    /// Facts about the session.
    pub fn facts(&self) -> Facts<'a> {
        let shown = self.has(flag::SHOWN_IDS);
        Facts {
            remote_root: self.section(Section::RemoteRoot),
            remote_device: self.remote_device,
            shown_uid: shown.then_some(self.shown.0),
            shown_gid: shown.then_some(self.shown.1),
            hostname: self.section(Section::Hostname),
            library: self.section(Section::Library),
            listener_v4: self.listener_v4,
            listener_v6: self
                .has(flag::LISTENER_V6)
                .then(|| SocketAddrV6::new(Ipv6Addr::LOCALHOST, self.listener_v6_port, 0, 0)),
        }
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn section(&self, section: Section) -> &'a [u8] {
        slice(self.bytes, section as usize).unwrap_or_default()
    }

    /// Byte strings of a list section.
    pub(crate) fn strings(&self, section: Section) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.section(section);
        core::iter::from_fn(move || {
            let (len, tail) = rest.split_at_checked(2)?;
            let (item, tail) = tail.split_at_checked(usize::from(u16::from_le_bytes([len[0], len[1]])))?;
            rest = tail;
            Some(item)
        })
    }

    /// Ports of a port section.
    pub(crate) fn ports(&self, section: Section) -> impl Iterator<Item = u16> + 'a {
        self.section(section).chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
    }

    /// Pairs of a port map section.
    pub(crate) fn pairs(&self, section: Section) -> impl Iterator<Item = (u16, u16)> + 'a {
        self.section(section)
            .chunks_exact(4)
            .map(|pair| (u16::from_le_bytes([pair[0], pair[1]]), u16::from_le_bytes([pair[2], pair[3]])))
    }
}

// === impl Pattern ===

impl<'a> Pattern<'a> {
    fn open(bytes: &'a [u8]) -> Result<Pattern<'a>, ImageError> {
        if bytes.is_empty() {
            return Ok(Pattern(None));
        }
        let (dfa, _) = DFA::from_bytes(bytes).map_err(|_| ImageError::Pattern)?;
        Ok(Pattern(Some(dfa)))
    }

    /// True when one of the patterns matches somewhere in `path`.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let Some(dfa) = &self.0 else { return false };
        let input = Input::new(path).anchored(Anchored::No).earliest(true);
        // A search fails only on a quit byte; the automata are built without any.
        matches!(dfa.try_search_fwd(&input), Ok(Some(_)))
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32, ImageError> {
    let word = bytes.get(at..at + 4).ok_or(ImageError::Short)?;
    Ok(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

fn slice(bytes: &[u8], index: usize) -> Result<&[u8], ImageError> {
    let offset = read_u32(bytes, 16 + 8 * index)? as usize;
    let length = read_u32(bytes, 20 + 8 * index)? as usize;
    bytes.get(offset..offset.checked_add(length).ok_or(ImageError::Short)?).ok_or(ImageError::Short)
}
