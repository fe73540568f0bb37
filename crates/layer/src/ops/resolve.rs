//! Host names: the target's resolver answers, and what the program gets is made by its own libc or in its own buffer.

use core::ffi::{CStr, c_int};
use core::fmt::Write;
use core::net::IpAddr;

use mirrord_policy::dns;
use mirrord_protocol::layer::{Answer, Family, MAX_ADDRESSES, MAX_MESSAGE, NameError, Question};

use crate::context::Context;
use crate::memory::Pages;
use crate::proxy_link::Patience;

/// Longer than a resolver with default options tries (5 s, 2 attempts, a few servers).
const LIMIT_MS: u64 = 30_000;

/// Addresses of a name; the canonical name is copied since the answer's memory goes back at once.
pub(crate) struct Found {
    addresses: [IpAddr; MAX_ADDRESSES],
    count: usize,
    canonical: [u8; 256],
}

impl Found {
    pub(crate) fn addresses(&self) -> &[IpAddr] {
        self.addresses.get(..self.count).unwrap_or_default()
    }

    pub(crate) fn canonical(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.canonical).unwrap_or_default()
    }
}

/// True for a name that the target resolves. Numeric addresses are no names.
pub(crate) fn is_remote(context: &Context, name: &[u8]) -> bool {
    !name.is_empty() && !is_numeric(name) && dns::decide(&context.image, name).is_remote()
}

/// As `inet_aton` and `inet_pton` read them, generously: such names never lead anywhere else.
fn is_numeric(name: &[u8]) -> bool {
    name.contains(&b':')
        || name.split(|&byte| byte == b'.').all(|part| {
            let digits = part.strip_prefix(b"0x").or(part.strip_prefix(b"0X"));
            match digits {
                Some(hex) => hex.iter().all(u8::is_ascii_hexdigit),
                None => !part.is_empty() && part.iter().all(u8::is_ascii_digit),
            }
        })
}

/// Resolves `name` at the target.
pub(crate) fn addresses(context: &Context, name: &[u8], family: Family) -> Result<Found, NameError> {
    let mut pages = Pages::new(MAX_MESSAGE).map_err(|_| NameError::Failed)?;
    let answer = context
        .door
        .ask(Question::Resolve { name, family }, Patience::Uninterrupted(LIMIT_MS), pages.bytes())
        .map_err(|_| NameError::Again)?;
    match answer {
        Answer::Addresses { canonical, list } => {
            let unspecified = IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);
            let mut found = Found { addresses: [unspecified; MAX_ADDRESSES], count: 0, canonical: [0; 256] };
            for (slot, address) in found.addresses.iter_mut().zip(list.iter()) {
                *slot = address;
                found.count += 1;
            }
            let canonical = if canonical.is_empty() { name } else { canonical };
            // The last byte stays zero.
            for (to, from) in found.canonical.iter_mut().take(255).zip(canonical) {
                *to = *from;
            }
            if found.count == 0 { Err(NameError::NoData) } else { Ok(found) }
        }
        Answer::NameError(error) => Err(error),
        _ => Err(NameError::Failed),
    }
}

/// The host name of an address, into `name`; returns its length.
pub(crate) fn reverse(context: &Context, address: IpAddr, name: &mut [u8; 256]) -> Result<usize, NameError> {
    let mut reply = [0; 512];
    match context.door.ask(Question::Reverse { address }, Patience::Uninterrupted(LIMIT_MS), &mut reply) {
        Ok(Answer::Name(found)) => {
            let len = found.len().min(name.len() - 1);
            name[..len].copy_from_slice(&found[..len]);
            name[len] = 0;
            Ok(len)
        }
        Ok(Answer::NameError(error)) => Err(error),
        Ok(_) => Err(NameError::Failed),
        Err(_) => Err(NameError::Again),
    }
}

/// A DNS question; the answer packet is copied into `out` as far as it fits. Returns the packet's length.
pub(crate) fn query(context: &Context, question: Question<'_>, out: &mut [u8]) -> Result<usize, NameError> {
    let mut pages = Pages::new(MAX_MESSAGE).map_err(|_| NameError::Failed)?;
    let len = question.encode(pages.bytes()).map_err(|_| NameError::Failed)?;
    let line = context.door.open().map_err(|_| NameError::Again)?;
    match line.ask_in_place(len, Patience::Uninterrupted(LIMIT_MS), pages.bytes()) {
        Ok(Answer::Packet(packet)) => {
            let len = packet.len().min(out.len());
            out[..len].copy_from_slice(&packet[..len]);
            Ok(packet.len())
        }
        Ok(Answer::NameError(error)) => Err(error),
        Ok(_) => Err(NameError::Failed),
        Err(_) => Err(NameError::Again),
    }
}

/// Writes the address's text and a zero.
pub(crate) struct NumericText {
    bytes: [u8; 64],
    len: usize,
}

impl NumericText {
    pub(crate) fn of(address: IpAddr) -> NumericText {
        let mut text = NumericText { bytes: [0; 64], len: 0 };
        // The longest address has 45 characters.
        let _ = write!(text, "{address}");
        text
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

impl Write for NumericText {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len + text.len();
        if end >= self.bytes.len() {
            return Err(core::fmt::Error);
        }
        self.bytes[self.len..end].copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// `getaddrinfo`'s error for a name without an answer.
pub(crate) fn eai(error: NameError) -> c_int {
    match error {
        NameError::NotFound => libc::EAI_NONAME,
        NameError::NoData => libc::EAI_NODATA,
        NameError::Again => libc::EAI_AGAIN,
        NameError::Failed => libc::EAI_FAIL,
    }
}

/// `h_errno` for a name without an answer.
pub(crate) fn h_errno(error: NameError) -> c_int {
    match error {
        NameError::NotFound => 1,
        NameError::Again => 2,
        NameError::Failed => 3,
        NameError::NoData => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_no_names() {
        for text in ["10.0.0.1", "::1", "fe80::1%eth0", "0x7f.1", "127.1"] {
            assert!(is_numeric(text.as_bytes()), "{text}");
        }
        for text in ["web", "10.0.0.a", "web.shop.", "1.2.3.in-addr.arpa", "0xzz"] {
            assert!(!is_numeric(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn addresses_become_text() {
        let address = "fd00:1111:2222:3333:4444:5555:6666:7777".parse().unwrap();
        assert_eq!(NumericText::of(address).as_c_str(), c"fd00:1111:2222:3333:4444:5555:6666:7777");
    }
}
