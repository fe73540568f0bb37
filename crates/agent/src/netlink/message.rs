//! Netlink messages of the netfilter family: an encoder into one buffer, and a reader of the kernel's answers.
//!
//! ```text
//!  nlmsghdr (16)                               nfgenmsg (4)            attributes
//!  length u32 │ type u16 │ flags u16 │ seq u32 │ port u32 │ family u8 version u8 resource u16 BE │ {len u16, type u16, value, padding}*
//! ```
//!
//! Header fields are in host order, values of netfilter attributes in network order. Pure; used by `ruleset` and `socket`.

/// `NLM_F_REQUEST`
const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer also when all went well.
pub const ACK: u16 = 0x4;
/// `NLM_F_EXCL`
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`
pub const APPEND: u16 = 0x800;

/// `NLA_F_NESTED`
const NESTED: u16 = 0x8000;
/// `NLMSG_ERROR`: an errno, or 0 as the acknowledgement.
const ERROR: u16 = 2;

const HEADER: usize = 16;

/// Messages that are sent to the kernel together.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    sequence: u32,
}

/// Place of a length that is not known yet.
#[must_use]
pub struct Open(usize);

impl Batch {
    /// An empty batch whose messages are numbered from `sequence` + 1.
    pub fn after(sequence: u32) -> Batch {
        Batch { bytes: Vec::with_capacity(2048), sequence }
    }

    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Number of the last message.
    pub fn sequence(&self) -> u32 {
        self.sequence
    }

    /// Adds a message, its attributes written by `fill`. Returns its number.
    pub fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, fill: impl FnOnce(&mut Batch)) -> u32 {
        self.sequence += 1;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&self.sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&[family, 0]);
        self.bytes.extend_from_slice(&resource.to_be_bytes());
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).expect("a message is a few hundred bytes");
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        self.sequence
    }

    /// Adds an attribute of raw bytes.
    pub fn raw(&mut self, kind: u16, value: &[u8]) {
        let attribute = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.end(attribute);
    }

    /// Adds a number in network order.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.raw(kind, &value.to_be_bytes());
    }

    /// Adds a NUL-terminated string.
    pub fn text(&mut self, kind: u16, value: &str) {
        let attribute = self.begin(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.end(attribute);
    }

    /// Adds an attribute that holds attributes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Batch)) {
        let attribute = self.begin(kind | NESTED);
        fill(self);
        self.end(attribute);
    }

    fn begin(&mut self, kind: u16) -> Open {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        Open(start)
    }

    fn end(&mut self, Open(start): Open) {
        let length = u16::try_from(self.bytes.len() - start).expect("an attribute is a few hundred bytes");
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The kernel's answer to one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Number of the message.
    pub sequence: u32,
    /// 0 = done.
    pub errno: i32,
}

/// Reads the answers in a datagram from the kernel; skips whatever else it contains.
pub fn answers(mut datagram: &[u8]) -> Vec<Answer> {
    let mut found = Vec::new();
    while let Some(header) = datagram.get(..HEADER) {
        let u32_at = |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = u32_at(0) as usize;
        if length < HEADER || length > datagram.len() {
            break;
        }
        if u16::from_ne_bytes([header[4], header[5]]) == ERROR
            && let Some(errno) = datagram[..length].get(HEADER..HEADER + 4)
        {
            let errno = i32::from_ne_bytes([errno[0], errno[1], errno[2], errno[3]]);
            found.push(Answer { sequence: u32_at(8), errno: errno.wrapping_neg() });
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn message_has_the_kernels_layout() {
        let mut batch = Batch::after(6);
        let sequence = batch.message(0x0a00, ACK | CREATE, 1, 10, |batch| {
            batch.text(1, "ab");
            batch.nested(4, |batch| batch.number(2, 0x0102_0304));
        });
        let mut expected = Vec::new();
        expected.extend_from_slice(&40u32.to_ne_bytes());
        expected.extend_from_slice(&0x0a00u16.to_ne_bytes());
        expected.extend_from_slice(&0x405u16.to_ne_bytes());
        expected.extend_from_slice(&7u32.to_ne_bytes());
        expected.extend_from_slice(&[0, 0, 0, 0, 1, 0, 0, 10]);
        expected.extend_from_slice(&7u16.to_ne_bytes());
        expected.extend_from_slice(&1u16.to_ne_bytes());
        expected.extend_from_slice(b"ab\0\0");
        expected.extend_from_slice(&12u16.to_ne_bytes());
        expected.extend_from_slice(&0x8004u16.to_ne_bytes());
        expected.extend_from_slice(&8u16.to_ne_bytes());
        expected.extend_from_slice(&2u16.to_ne_bytes());
        expected.extend_from_slice(&[1, 2, 3, 4]);
        assert_eq!((sequence, batch.bytes()), (7, &expected[..]));
    }

    #[test]
    fn answers_are_found_among_other_messages() {
        let mut datagram = Vec::new();
        for (kind, sequence, errno) in [(ERROR, 3, -1), (9, 4, 0), (ERROR, 5, 0)] {
            datagram.extend_from_slice(&36u32.to_ne_bytes());
            datagram.extend_from_slice(&u16::to_ne_bytes(kind));
            datagram.extend_from_slice(&[0; 2]);
            datagram.extend_from_slice(&u32::to_ne_bytes(sequence));
            datagram.extend_from_slice(&[0; 4]);
            datagram.extend_from_slice(&i32::to_ne_bytes(errno));
            datagram.extend_from_slice(&[0; 16]);
        }
        let expected = [Answer { sequence: 3, errno: 1 }, Answer { sequence: 5, errno: 0 }];
        assert_eq!(answers(&datagram), expected);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = answers(&bytes);
        }
    }
}
