//! Host name to verdict.

use core::net::IpAddr;

use crate::image::flag;
use crate::{Image, Reason, Verdict};

/// Decides for a host name as a program gives it to its resolver.
pub fn decide(image: &Image<'_>, name: &[u8]) -> Verdict {
    if !image.has(flag::DNS) {
        return Verdict::local(Reason::FeatureOff);
    }
    let bare = name.strip_suffix(b".").unwrap_or(name);
    if bare.is_empty() || is_localhost(bare) {
        return Verdict::local(Reason::LocalHostName);
    }
    if core::str::from_utf8(bare).is_ok_and(|text| text.parse::<IpAddr>().is_ok()) {
        return Verdict::local(Reason::NumericName);
    }
    Verdict::remote(Reason::TargetResolver)
}

/// `localhost` and names below it (RFC 6761 section 6.3).
fn is_localhost(name: &[u8]) -> bool {
    const NAME: &[u8] = b"localhost";
    match name.len().checked_sub(NAME.len()) {
        Some(start) => name[start..].eq_ignore_ascii_case(NAME) && (start == 0 || name[start - 1] == b'.'),
        None => false,
    }
}
