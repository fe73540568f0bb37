//! The layer's only words to the user: why it could not work in this process. Everything else is the proxy's to say.

use crate::sys;

/// Writes `mirrord: PARTS` as one line to standard error, cut at 512 bytes.
pub(crate) fn complain(parts: &[&[u8]]) {
    let mut line = [0u8; 512];
    let mut len = 0;
    for part in [&b"mirrord: "[..]].iter().chain(parts) {
        let room = line.len() - 1 - len;
        let part = &part[..part.len().min(room)];
        line[len..len + part.len()].copy_from_slice(part);
        len += part.len();
    }
    line[len] = b'\n';
    // With standard error closed there is nobody to tell.
    let _ = sys::write(libc::STDERR_FILENO, &line[..=len]);
}
