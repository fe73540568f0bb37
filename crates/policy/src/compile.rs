//! Settings and session facts to image bytes; once per session, in the proxy.

use regex_automata::MatchKind;
use regex_automata::dfa::StartKind;
use regex_automata::dfa::dense;
use regex_automata::util::syntax;

use crate::image::{Facts, MAGIC, SCALARS_LEN, Section, flag};
use crate::settings::{FileMode, IncomingMode, Settings};

/// Largest automaton of one pattern list, in bytes: a list that needs more is refused, since every process maps it.
pub const PATTERN_LIMIT: usize = 4 << 20;

/// A setting that cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// Not a regular expression of the linear-time dialect, or too large.
    #[error("`{key}` holds a pattern that cannot be used: {cause}")]
    Pattern {
        /// Key path in the configuration.
        key: &'static str,
        /// What the compiler said.
        cause: String,
    },
    /// A path longer than 65,535 bytes.
    #[error("a path of {0} bytes is too long")]
    TooLong(usize),
}

/// Compiles an image.
///
/// # Errors
/// [`CompileError`] naming the key that cannot be used.
pub fn compile(settings: &Settings, facts: &Facts<'_>) -> Result<Vec<u8>, CompileError> {
    let mut sections: Vec<Vec<u8>> = vec![Vec::new(); Section::COUNT];
    let mut set = |section: Section, bytes: Vec<u8>| sections[section as usize] = bytes;
    let process = &settings.process;
    let incoming = &settings.incoming;
    set(Section::Scalars, scalars(settings, facts));
    set(Section::RemoteRoot, facts.remote_root.to_vec());
    set(Section::Hostname, if settings.hostname { facts.hostname.to_vec() } else { Vec::new() });
    set(Section::Library, facts.library.to_vec());
    set(Section::Cwd, folder(&process.cwd));
    set(Section::Home, folder(&process.home));
    set(Section::Temp, folder(&process.temp));
    set(Section::Prefixes, strings(process.program_prefixes.iter().map(|path| folder(path)))?);
    set(Section::Skip, strings(process.skip.iter().map(|name| name.clone().into_bytes()))?);
    set(Section::Ports, ports(incoming.ports.iter().flatten()));
    set(Section::IgnorePorts, ports(&incoming.ignore_ports));
    set(Section::PortMapping, ports(incoming.port_mapping.iter().flat_map(|(local, remote)| [local, remote])));
    set(Section::ListenPorts, ports(incoming.listen_ports.iter().flat_map(|(asked, actual)| [asked, actual])));
    set(Section::NotFound, pattern("feature.fs.not_found", &settings.files.not_found)?);
    set(Section::ReadOnly, pattern("feature.fs.read_only", &settings.files.read_only)?);
    set(Section::Local, pattern("feature.fs.local", &settings.files.local)?);
    Ok(assemble(&sections))
}

fn scalars(settings: &Settings, facts: &Facts<'_>) -> Vec<u8> {
    let remote_files = !facts.remote_root.is_empty();
    let flags = [
        (flag::FILES_READ, remote_files && settings.files.mode == FileMode::Read),
        (flag::FILES_OVERRIDES, remote_files && settings.files.mode == FileMode::LocalWithOverrides),
        (flag::OUTGOING_TCP, settings.outgoing.tcp),
        (flag::OUTGOING_IGNORE_LOCALHOST, settings.outgoing.ignore_localhost),
        (flag::DNS, settings.dns.enabled),
        (flag::STEAL, settings.incoming.mode == IncomingMode::Steal),
        (flag::INCOMING_IGNORE_LOCALHOST, settings.incoming.ignore_localhost),
        (flag::PORTS_LISTED, settings.incoming.ports.is_some()),
        (flag::SHOWN_IDS, facts.shown_uid.is_some()),
        (flag::LISTENER_V6, facts.listener_v6.is_some()),
    ];
    let flags = flags.into_iter().filter(|(_, on)| *on).fold(0u32, |all, (bit, _)| all | bit);
    let mut out = Vec::with_capacity(SCALARS_LEN);
    out.extend(flags.to_le_bytes());
    out.extend(facts.remote_device.to_le_bytes());
    out.extend(facts.shown_uid.unwrap_or(0).to_le_bytes());
    out.extend(facts.shown_gid.unwrap_or(0).to_le_bytes());
    out.extend(facts.listener_v4.ip().octets());
    out.extend(facts.listener_v4.port().to_le_bytes());
    out.extend(facts.listener_v6.map_or(0, |listener| listener.port()).to_le_bytes());
    out
}

/// A folder without trailing slash; `/` and the empty path become empty, which never matches.
fn folder(path: &str) -> Vec<u8> {
    path.trim_end_matches('/').as_bytes().to_vec()
}

fn strings(items: impl Iterator<Item = Vec<u8>>) -> Result<Vec<u8>, CompileError> {
    let mut out = Vec::new();
    for item in items {
        let length = u16::try_from(item.len()).map_err(|_| CompileError::TooLong(item.len()))?;
        out.extend(length.to_le_bytes());
        out.extend(item);
    }
    Ok(out)
}

fn ports<'a>(ports: impl IntoIterator<Item = &'a u16>) -> Vec<u8> {
    ports.into_iter().flat_map(|port| port.to_le_bytes()).collect()
}

fn pattern(key: &'static str, patterns: &[String]) -> Result<Vec<u8>, CompileError> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let dfa = dense::Builder::new()
        .configure(
            dense::Config::new()
                .match_kind(MatchKind::All)
                .start_kind(StartKind::Unanchored)
                .dfa_size_limit(Some(PATTERN_LIMIT))
                .determinize_size_limit(Some(4 * PATTERN_LIMIT)),
        )
        // Paths are bytes, and a byte-wise automaton is small and has no quit bytes.
        .syntax(syntax::Config::new().unicode(false).utf8(false).case_insensitive(true))
        .thompson(regex_automata::nfa::thompson::Config::new().utf8(false))
        .build_many(patterns)
        .map_err(|error| CompileError::Pattern { key, cause: cause_chain(&error) })?;
    let (bytes, padding) = dfa.to_bytes_native_endian();
    Ok(bytes[padding..].to_vec())
}

fn cause_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn assemble(sections: &[Vec<u8>]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend((sections.len() as u32).to_le_bytes());
    out.extend(0u32.to_le_bytes());
    let mut offset = (16 + 8 * sections.len()).next_multiple_of(8);
    for section in sections {
        out.extend((offset as u32).to_le_bytes());
        out.extend((section.len() as u32).to_le_bytes());
        offset = (offset + section.len()).next_multiple_of(8);
    }
    for section in sections {
        out.resize(out.len().next_multiple_of(8), 0);
        out.extend(section);
    }
    out
}
