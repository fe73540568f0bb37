//! An HTTP error instead of the upgrade: finds the sentence that a user can act on.
//!
//! The API server sends a JSON `Status`; a load balancer, proxy or login page sends HTML or plain text.

use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::handshake::client::Response;
use tokio_tungstenite::tungstenite::http::header;

use super::{PortForwardError, Stream};

const BODY_LIMIT: usize = 64 * 1024;
/// What is shown of a body that is no `Status`.
const SHOWN_LIMIT: usize = 300;
/// A server that keeps the connection open without saying how long the body is must not delay the error.
const BODY_WAIT: Duration = Duration::from_secs(2);

/// Reads the rest of the body, of which `body` came with the head, and makes the error.
pub(super) async fn read(response: &Response, mut body: Vec<u8>, stream: &mut Box<dyn Stream>) -> PortForwardError {
    let chunked = header_text(response, header::TRANSFER_ENCODING).is_some_and(|value| value.contains("chunked"));
    let length: Option<usize> = header_text(response, header::CONTENT_LENGTH).and_then(|text| text.parse().ok());
    let is_whole = |body: &[u8]| match length {
        _ if body.len() >= BODY_LIMIT => true,
        _ if chunked => body.ends_with(b"0\r\n\r\n"),
        Some(length) => body.len() >= length,
        None => false,
    };
    let reading = async {
        while !is_whole(&body) {
            // An error here only shortens the message; the status is what matters.
            match stream.read_buf(&mut body).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
    };
    let _is_cut_short = tokio::time::timeout(BODY_WAIT, reading).await.is_err();
    body.truncate(BODY_LIMIT);
    let body = if chunked { unchunked(&body) } else { body };
    let message = status_message(&body).or_else(|| plain_text(&body)).unwrap_or_else(|| reason_phrase(response));
    // It will be shown on a terminal.
    let message = message.chars().filter(|character| !character.is_control() || *character == '\n').collect();
    PortForwardError::Refused { status: response.status().as_u16(), message }
}

/// The standard words for the response's status.
pub(super) fn reason_phrase(response: &Response) -> String {
    response.status().canonical_reason().unwrap_or("no reason given").to_string()
}

fn header_text(response: &Response, name: header::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(body.len());
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = String::from_utf8_lossy(&body[..end]);
        let digits = size.split(';').next().unwrap_or_default().trim();
        let rest = &body[end + 2..];
        match usize::from_str_radix(digits, 16) {
            Ok(0) | Err(_) => break,
            Ok(size) => whole.extend_from_slice(&rest[..size.min(rest.len())]),
        }
        let Some(next) = whole_chunk_end(digits, rest) else { break };
        body = next;
    }
    whole
}

fn whole_chunk_end<'a>(digits: &str, rest: &'a [u8]) -> Option<&'a [u8]> {
    let size = usize::from_str_radix(digits, 16).ok()?;
    rest.get(size.checked_add(2)?..)
}

/// HTML without its tags, or plain text; white space folded, cut to a readable length.
fn plain_text(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let mut visible = String::new();
    let mut in_tag = false;
    for character in text.chars() {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                visible.push(' ');
            }
            character if in_tag || character.is_control() && !character.is_whitespace() => {}
            character => visible.push(character),
        }
    }
    let folded = visible.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = folded.chars().take(SHOWN_LIMIT).collect();
    (!short.is_empty()).then_some(short)
}

/// The top-level `message` of a JSON object.
///
/// One string of one known object is all that is needed of JSON here, so this is a scanner, not a parser: it follows
/// strings and nesting and gives up on anything else.
fn status_message(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?.trim_start();
    let mut rest = text.strip_prefix('{')?;
    let mut depth = 1usize;
    let mut is_key = true;
    let mut key = String::new();
    while let Some(character) = rest.chars().next() {
        if character == '"' {
            let (string, after) = json_string(&rest[1..])?;
            if depth == 1 && is_key {
                key = string;
            } else if depth == 1 && key == "message" {
                return (!string.is_empty()).then_some(string);
            }
            rest = after;
            continue;
        }
        match character {
            '{' | '[' => depth += 1,
            '}' | ']' => depth = depth.checked_sub(1)?,
            ':' if depth == 1 => is_key = false,
            ',' if depth == 1 => is_key = true,
            _ => {}
        }
        rest = &rest[character.len_utf8()..];
    }
    None
}

/// Decodes a JSON string whose opening quote has been taken; gives it and what follows the closing quote.
fn json_string(text: &str) -> Option<(String, &str)> {
    let mut decoded = String::new();
    let mut units = Vec::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let unit = match character {
            '"' => {
                decoded.push_str(&String::from_utf16_lossy(&units));
                return Some((decoded, &text[at + 1..]));
            }
            '\\' => match characters.next()?.1 {
                'u' => {
                    let code = u16::from_str_radix(text.get(at + 2..at + 6)?, 16).ok()?;
                    characters.nth(3)?;
                    units.push(code);
                    continue;
                }
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' | 'f' => ' ',
                other => other,
            },
            other => other,
        };
        decoded.push_str(&String::from_utf16_lossy(&units));
        units.clear();
        decoded.push(unit);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_message_is_taken_from_the_top_level_only() {
        let body = br#"{"kind":"Status","metadata":{"message":"no"},"list":["message","x"],
            "message":"pods \"a\" is forbidden: \u00e9\ud83d\ude00\n","code":403}"#;
        assert_eq!(status_message(body).as_deref(), Some("pods \"a\" is forbidden: é😀\n"));
        for other in [&b"{}"[..], b"[]", b"{\"message\":1}", b"{\"message", b"{\"message\":\"\\u12", b"}", b"{}}}"] {
            assert_eq!(status_message(other), None, "{other:?}");
        }
    }

    #[test]
    fn html_becomes_one_line() {
        let body = b"<html><head><title>502 Bad Gateway</title></head>\n<body>\n<p>nginx</p></body></html>";
        assert_eq!(plain_text(body).as_deref(), Some("502 Bad Gateway nginx"));
        assert_eq!(plain_text(b" \n\x1b"), None);
    }

    #[test]
    fn chunks_are_joined_also_when_cut() {
        assert_eq!(unchunked(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(unchunked(b"5\r\nabc"), b"abc");
        assert_eq!(unchunked(b"ffffffffffffffff\r\nabc"), b"abc");
        assert_eq!(unchunked(b"zz\r\nabc"), b"");
    }
}
