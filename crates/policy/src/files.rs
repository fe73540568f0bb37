//! Path to verdict. The order of decision and the built-in lists are those of the configuration's documentation
//! (`feature.fs`): user lists first, then the lists below, then the mode.

use crate::image::{Section, flag};
use crate::{Image, Reason, Route, Verdict};

/// What a call wants of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Look at it or read it.
    Read,
    /// Create, change or remove it.
    Write,
}

/// Below the user's home: credentials that must not lead a program in the target's context to the user's own clusters.
const NOT_FOUND_IN_HOME: &[&[u8]] = &[b"/.config/gcloud", b"/.kube", b"/.azure"];

/// Files that say who the pod is; read from the target although `/etc` is local.
const POD_IDENTITY: &[&[u8]] = &[b"/etc/resolv.conf", b"/etc/hosts", b"/etc/hostname", b"/etc/ssl/certs"];

const LOCAL_ENDINGS: &[&[u8]] = &[
    b".so",
    b".sh",
    b".rb",
    b".d",
    b".pyc",
    b".py",
    b".jar",
    b".class",
    b".js",
    b".pth",
    b".plist",
    b".pdb",
    b".dll",
    b"venv.cfg",
    b"jvm.cfg",
    b"package.json",
    b".yarnrc",
    b".yarnrc.yml",
    b".yarnrc.json",
    b".tool-versions",
];

const LOCAL_FOLDERS: &[&[u8]] = &[
    b"/proc",
    b"/sys",
    b"/lib",
    b"/lib32",
    b"/lib64",
    b"/libx32",
    b"/etc",
    b"/usr",
    b"/home",
    b"/bin",
    b"/sbin",
    b"/dev",
    b"/opt",
    b"/tmp",
    b"/var/tmp",
    b"/var/db/timezone/zoneinfo",
    b"/snap",
    b"/run",
    b"/selinux",
    b"/nix",
    b"/program files",
];

/// Decides for `path`, which is absolute and lexically normalised (no `.`, `..`, `//` or trailing slash).
pub fn decide(image: &Image<'_>, path: &[u8], intent: Intent) -> Verdict {
    let read = image.has(flag::FILES_READ);
    if !read && !image.has(flag::FILES_OVERRIDES) {
        let off = image.section(Section::RemoteRoot).is_empty();
        return Verdict::local(if off { Reason::NoRemoteRoot } else { Reason::FeatureOff });
    }
    let for_reads = |reason| match intent {
        Intent::Read => Verdict::remote(reason),
        Intent::Write => Verdict::local(Reason::ModeReadWritesLocal),
    };
    if image.not_found.matches(path) {
        return Verdict { route: Route::NotFound, reason: Reason::ListedNotFound };
    }
    if image.read_only.matches(path) {
        return for_reads(Reason::ListedReadOnly);
    }
    if image.local.matches(path) {
        return Verdict::local(Reason::ListedLocal);
    }
    let home = image.section(Section::Home);
    if let Some(rest) = below(path, home)
        && NOT_FOUND_IN_HOME.iter().any(|folder| is_in(rest, folder))
    {
        return Verdict { route: Route::NotFound, reason: Reason::LocalCredentials };
    }
    if is_in_one(path, POD_IDENTITY) {
        return for_reads(Reason::PodIdentity);
    }
    if let Some(reason) = built_in_local(image, path, home) {
        return Verdict::local(reason);
    }
    if read { for_reads(Reason::ModeRead) } else { Verdict::local(Reason::ModeLocalWithOverrides) }
}

fn built_in_local(image: &Image<'_>, path: &[u8], home: &[u8]) -> Option<Reason> {
    if path == b"/" || is_in_one(path, LOCAL_FOLDERS) {
        return Some(Reason::LocalFolder);
    }
    if has_local_ending(path) {
        return Some(Reason::LocalEnding);
    }
    if has_local_part(path) {
        return Some(Reason::LocalFolder);
    }
    if below(path, home).is_some_and(|rest| rest.starts_with(b"/.")) {
        return Some(Reason::UserDotFile);
    }
    let own = [
        (image.section(Section::Cwd), Reason::WorkingDirectory),
        (image.section(Section::Temp), Reason::TemporaryFile),
    ];
    let prefixes = || image.strings(Section::Prefixes).map(|prefix| (prefix, Reason::ProgramFile));
    let inside = |(folder, _): &(&[u8], Reason)| !folder.is_empty() && is_in(path, folder);
    if let Some((_, reason)) = own.into_iter().chain(prefixes()).find(inside) {
        return Some(reason);
    }
    // Programs walk down to their own files component by component (`realpath`), so the way there must exist.
    let above = |(folder, _): &(&[u8], Reason)| !folder.is_empty() && is_in(folder, path);
    own.into_iter().chain(prefixes()).any(|entry| above(&entry)).then_some(Reason::AboveLocalFolder)
}

/// What follows `folder` in `path`, when it lies in it (on a component's border).
fn below<'a>(path: &'a [u8], folder: &[u8]) -> Option<&'a [u8]> {
    if folder.is_empty() || !is_in(path, folder) {
        return None;
    }
    path.get(folder.len()..)
}

/// True when `path` is `folder` or lies below it; letters of either case.
fn is_in(path: &[u8], folder: &[u8]) -> bool {
    match path.split_at_checked(folder.len()) {
        Some((head, tail)) => (tail.is_empty() || tail[0] == b'/') && head.eq_ignore_ascii_case(folder),
        None => false,
    }
}

/// True when `path` lies in one of `folders`. Most of them differ from it in the first letter already: this runs for
/// every path call of the program.
#[inline]
fn is_in_one(path: &[u8], folders: &[&[u8]]) -> bool {
    let first = path.get(1).map(u8::to_ascii_lowercase);
    folders.iter().any(|folder| folder.get(1).copied() == first && is_in(path, folder))
}

fn has_local_ending(path: &[u8]) -> bool {
    let last = path.last().map(u8::to_ascii_lowercase);
    LOCAL_ENDINGS.iter().any(|ending| ending.last().copied() == last && ends_with(path, ending))
}

fn ends_with(path: &[u8], ending: &[u8]) -> bool {
    path.len() >= ending.len() && path[path.len() - ending.len()..].eq_ignore_ascii_case(ending)
}

/// Packages of Node and versions of asdf, wherever they lie.
fn has_local_part(path: &[u8]) -> bool {
    let begins =
        |at: usize, part: &[u8]| path.get(at..at + part.len()).is_some_and(|found| found.eq_ignore_ascii_case(part));
    path.iter().enumerate().any(|(at, byte)| match byte {
        b'/' => begins(at, b"/node_modules"),
        b'.' => begins(at, b".asdf/"),
        _ => false,
    })
}
