//! What an executable file is: [`mirrord_policy::process::inspect`] on a path, for the CLI.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use mirrord_policy::process::{Kind, inspect};

use crate::error::Error;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// `dynamic`, `static`, `go`, `script`, `privileged`, `foreign` or `unknown`.
    pub kind: &'static str,
    /// The program of a script's first line.
    pub interpreter: Option<Vec<u8>>,
    /// How it was recognised, as one sentence.
    pub detail: &'static str,
}

/// Longest first line of a script that is read (the kernel's own limit, `BINPRM_BUF_SIZE`).
const SHEBANG: usize = 256;

/// Inspects the executable at `path`.
///
/// # Errors
/// [`Error::Program`] when it cannot be read.
pub fn inspect_program(path: &Path) -> Result<Program, Error> {
    let failed = |cause| Error::Program { path: path.display().to_string(), cause };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let kind = inspect(&mut |offset, buffer| read_up_to(&file, offset, buffer));
    let changes_user = metadata.mode() & 0o4000 != 0 || metadata.mode() & 0o2010 == 0o2010;
    let privileged = kind != Kind::Script && (changes_user || has_capabilities(path));
    Ok(match kind {
        _ if privileged => found("privileged", "it is set-user-id, set-group-id or has file capabilities"),
        Kind::Dynamic => found("dynamic", "it is dynamically linked"),
        Kind::Static => found("static", "it has no dynamic loader (no PT_INTERP in its ELF header)"),
        Kind::Go => found("go", "it was built by Go (its ELF notes hold a Go build id)"),
        Kind::Foreign => found("foreign", "it is for another architecture or C library"),
        Kind::Unknown => found("unknown", "it is neither an ELF executable nor a script"),
        Kind::Script => Program { interpreter: shebang(&file), ..found("script", "it begins with `#!`") },
    })
}

fn found(kind: &'static str, detail: &'static str) -> Program {
    Program { kind, interpreter: None, detail }
}

fn read_up_to(file: &File, offset: u64, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    filled
}

fn has_capabilities(path: &Path) -> bool {
    rustix::fs::getxattr(path, "security.capability", &mut [0u8; 64]).is_ok_and(|length| length > 0)
}

/// The interpreter's path, of `#! /usr/bin/env python3` the first word.
fn shebang(file: &File) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    file.take(SHEBANG as u64).read_to_end(&mut line).ok()?;
    let line = line.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let word = line.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty())?;
    Some(std::ffi::OsStr::from_bytes(word).as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_this_machine() {
        assert_eq!(inspect_program(Path::new("/proc/self/exe")).unwrap().kind, "dynamic");
        assert!(inspect_program(Path::new("/nowhere")).unwrap_err().to_string().contains("`/nowhere`"));
    }
}
