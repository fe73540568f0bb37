//! How an absolute symbolic link travels through the remote root.
//!
//! Programs reach the remote tree through `/proc/<holder>/root`, so the kernel would resolve an absolute link target
//! against the *program's* root and escape into the local tree. The remote root therefore serves it relative, marked
//! so that the layer can give a program's own `readlink` the text that the pod has:
//!
//! ```text
//!  in the pod                      served                           readlink shows
//!  /etc/alternatives/java          .//../../etc/alternatives/java   /etc/alternatives/java
//!  ../lib/x                        ../lib/x                         ../lib/x
//!  .//odd                          .///.//odd                       .//odd
//! ```
//!
//! Called by `proxy_core::root` (encode) and by the layer's `readlink` family (decode).

/// Begins every text that is not served as it is; `.//` resolves to the link's own folder, so it changes nothing.
const MARK: &[u8] = b".//";

/// Writes into `out` what the remote root serves for `target`, the text of a link that lies `depth` folders below the
/// root (`/x` has depth 0). Returns the length, or `None` when `out` is too small.
pub fn encode(target: &[u8], depth: usize, out: &mut [u8]) -> Option<usize> {
    let mut writer = Writer { out, len: 0 };
    if target.first() == Some(&b'/') {
        writer.put(MARK)?;
        for _ in 0..depth {
            writer.put(b"../")?;
        }
        let body = &target[target.iter().take_while(|&&byte| byte == b'/').count()..];
        writer.put(if body.is_empty() { b"." } else { body })?;
    } else if target.starts_with(MARK) {
        writer.put(MARK)?;
        writer.put(b"/")?;
        writer.put(target)?;
    } else {
        writer.put(target)?;
    }
    Some(writer.len)
}

/// Restores, in place, the text that the pod has from what the remote root served; returns its length in `text`.
/// A link to `/` alone comes back as `/`; repeated leading slashes come back as one.
pub fn decode(text: &mut [u8]) -> usize {
    if !text.starts_with(MARK) {
        return text.len();
    }
    if text.get(MARK.len()) == Some(&b'/') {
        let skip = MARK.len() + 1;
        text.copy_within(skip.., 0);
        return text.len() - skip;
    }
    let mut skip = MARK.len();
    while text[skip..].starts_with(b"../") {
        skip += 3;
    }
    if &text[skip..] == b"." {
        text[0] = b'/';
        return 1;
    }
    text[0] = b'/';
    text.copy_within(skip.., 1);
    text.len() - skip + 1
}

struct Writer<'a> {
    out: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(target: &[u8], depth: usize) -> Vec<u8> {
        let mut buffer = vec![0; target.len() + 3 * depth + 8];
        let len = encode(target, depth, &mut buffer).unwrap();
        buffer.truncate(len);
        let len = decode(&mut buffer);
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn absolute_target_is_served_relative() {
        let mut buffer = [0; 64];
        let len = encode(b"/etc/x", 2, &mut buffer).unwrap();
        assert_eq!(&buffer[..len], b".//../../etc/x");
        assert_eq!(round_trip(b"/etc/x", 2), b"/etc/x");
        assert_eq!(round_trip(b"/", 3), b"/");
    }

    #[test]
    fn too_small_buffer_is_refused() {
        assert_eq!(encode(b"/etc/x", 2, &mut [0; 10]), None);
    }

    proptest! {
        #[test]
        fn relative_targets_come_back_unchanged(target in "[./a-c]{1,40}", depth in 0usize..9) {
            prop_assume!(!target.starts_with('/'));
            prop_assert_eq!(round_trip(target.as_bytes(), depth), target.as_bytes());
        }

        #[test]
        fn absolute_targets_come_back_unchanged(target in "/[a-c][./a-c]{0,40}", depth in 0usize..9) {
            prop_assert_eq!(round_trip(target.as_bytes(), depth), target.as_bytes());
        }
    }
}
