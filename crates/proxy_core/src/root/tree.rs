//! The inode table: what the numbers that the kernel holds stand for.
//!
//! The kernel takes a reference with every answer that names a node and gives it back with `forget`; a node lives as
//! long as it is referenced or open. Nodes are told apart as the pod does it:
//!
//! - a file is its (device, inode, type), so two hard links are one node with one `st_ino`, by whichever name it was
//!   seen last;
//! - a directory or symbolic link is its path as well: bind mounts show one directory at two places, which a kernel tree
//!   cannot, and where an absolute link leads depends on where the link lies;
//! - a path that has got another inode gets another node. The old one stays while it is open or referenced.
//!
//! The number is [`stable_number`], unless another node has it; numbers of one's own are never used twice.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use mirrord_protocol::agent::Attributes;

use super::attributes::{Identity, Version, identity, is_directory, is_link, stable_number, synthetic_root};

/// The kernel's number for the root.
pub(super) const ROOT: u64 = 1;
/// Above this many nodes closed files are evicted.
const MANY_NODES: usize = 1 << 17;
/// Directories and open files alone; more than any program touches at once.
const MOST_NODES: usize = 1 << 20;
/// Closed files that one eviction takes.
const MOST_VICTIMS: usize = MANY_NODES / 2;
/// First number of one's own, above all stable ones.
const FIRST_OWN: u64 = 1 << 62;
/// `PATH_MAX` without its NUL.
const LONGEST_PATH: usize = 4095;

/// Path in the target's root, absolute, without trailing slash (but `/` for the root).
pub(super) type RemotePath = Arc<[u8]>;

struct Node {
    path: RemotePath,
    attributes: Attributes,
    references: u64,
    opens: u32,
    cached: Option<Version>,
}

pub(super) struct Tree {
    nodes: HashMap<u64, Node>,
    by_path: HashMap<RemotePath, u64>,
    by_identity: HashMap<Identity, u64>,
    next_own: u64,
    evict_at: usize,
}

// === impl Tree ===

impl Tree {
    pub(super) fn new() -> Tree {
        let path: RemotePath = Arc::from(&b"/"[..]);
        let root = Node { path: path.clone(), attributes: synthetic_root(), references: 1, opens: 0, cached: None };
        Tree {
            nodes: HashMap::from([(ROOT, root)]),
            by_path: HashMap::from([(path, ROOT)]),
            by_identity: HashMap::new(),
            next_own: FIRST_OWN,
            evict_at: MANY_NODES,
        }
    }

    /// Takes a reference on the node of `path`, which now has these attributes. Returns its number.
    pub(super) fn enter(&mut self, path: &RemotePath, attributes: &Attributes) -> Result<u64, i32> {
        let number = match self.find(path, attributes) {
            Some(number) => number,
            None if self.nodes.len() >= MOST_NODES => return Err(libc::ENFILE),
            None => self.insert(path, attributes),
        };
        if let Some(node) = self.nodes.get_mut(&number) {
            node.references = node.references.saturating_add(1);
            node.attributes = *attributes;
            if node.path != *path {
                let before = std::mem::replace(&mut node.path, path.clone());
                if self.by_path.get(&before) == Some(&number) {
                    self.by_path.remove(&before);
                }
            }
            self.by_path.insert(path.clone(), number);
        }
        Ok(number)
    }

    /// Gives references back.
    pub(super) fn forget(&mut self, number: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.references = node.references.saturating_sub(count);
            self.remove_if_unused(number);
        }
    }

    pub(super) fn path(&self, number: u64) -> Result<RemotePath, i32> {
        self.nodes.get(&number).map(|node| node.path.clone()).ok_or(libc::ESTALE)
    }

    /// Whether `attributes`, found at the node's path, belong to the node; if so the node remembers them.
    pub(super) fn refresh(&mut self, number: u64, attributes: &Attributes) -> bool {
        match self.nodes.get_mut(&number) {
            Some(node) if number == ROOT || identity(&node.attributes) == identity(attributes) => {
                node.attributes = *attributes;
                true
            }
            _ => false,
        }
    }

    /// What is known of a node that its path does not lead to any more, if it is open.
    pub(super) fn unlinked(&self, number: u64) -> Option<Attributes> {
        let node = self.nodes.get(&number).filter(|node| node.opens > 0)?;
        Some(Attributes { nlink: 0, ..node.attributes })
    }

    /// The version of a node's content that the proxy knows of.
    pub(super) fn known_version(&self, number: u64) -> Option<Version> {
        self.nodes.get(&number).map(|node| super::attributes::version(&node.attributes))
    }

    /// Notes an open file. Returns whether the pages that the kernel has of it are of this version still.
    pub(super) fn opened(&mut self, number: u64, version: Version) -> bool {
        match self.nodes.get_mut(&number) {
            Some(node) => {
                node.opens = node.opens.saturating_add(1);
                node.cached.replace(version) == Some(version)
            }
            None => false,
        }
    }

    /// The file was closed.
    pub(super) fn closed(&mut self, number: u64) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.opens = node.opens.saturating_sub(1);
            self.remove_if_unused(number);
        }
    }

    /// Whether it is time to evict, and nobody does so already.
    pub(super) fn begin_eviction(&mut self) -> bool {
        let is_due = self.nodes.len() >= self.evict_at;
        if is_due {
            self.evict_at = usize::MAX;
        }
        is_due
    }

    /// The eviction is over; where it did not help, the next one is some way off.
    pub(super) fn end_eviction(&mut self) {
        self.evict_at = MANY_NODES.max(self.nodes.len() + MANY_NODES / 4);
    }

    /// Folder and name of files that the kernel holds for no better reason than that it once met them.
    pub(super) fn closed_files(&self) -> Vec<(u64, Vec<u8>)> {
        let closed = self.nodes.values().filter(|node| node.opens == 0 && !is_directory(&node.attributes));
        let place = |node: &Node| {
            let folder = parent(&node.path)?;
            let name = node.path.rsplit(|&byte| byte == b'/').next()?;
            Some((self.number_at(folder)?, name.to_vec()))
        };
        closed.filter_map(place).take(MOST_VICTIMS).collect()
    }

    /// The node that has this path now.
    pub(super) fn number_at(&self, path: &[u8]) -> Option<u64> {
        self.by_path.get(path).copied()
    }

    /// The number under which a directory entry is listed, without taking a reference.
    pub(super) fn number(&self, path: &RemotePath, attributes: &Attributes) -> u64 {
        self.find(path, attributes).unwrap_or_else(|| stable_number(attributes))
    }

    fn find(&self, path: &RemotePath, attributes: &Attributes) -> Option<u64> {
        if !(is_directory(attributes) || is_link(attributes)) {
            return self.by_identity.get(&identity(attributes)).copied();
        }
        let number = *self.by_path.get(path)?;
        let node = self.nodes.get(&number)?;
        // The kernel keeps a link's text as long as the node: a link made anew may have got the old one's number.
        let is_same_link = !is_link(attributes) || node.attributes.mtime == attributes.mtime;
        (number == ROOT || identity(&node.attributes) == identity(attributes) && is_same_link).then_some(number)
    }

    fn insert(&mut self, path: &RemotePath, attributes: &Attributes) -> u64 {
        let stable = stable_number(attributes);
        let number = if self.nodes.contains_key(&stable) {
            self.next_own += 1;
            self.next_own
        } else {
            stable
        };
        let node = Node { path: path.clone(), attributes: *attributes, references: 0, opens: 0, cached: None };
        self.nodes.insert(number, node);
        if !(is_directory(attributes) || is_link(attributes)) {
            self.by_identity.insert(identity(attributes), number);
        }
        number
    }

    fn remove_if_unused(&mut self, number: u64) {
        let Entry::Occupied(entry) = self.nodes.entry(number) else { return };
        if number == ROOT || entry.get().references > 0 || entry.get().opens > 0 {
            return;
        }
        let node = entry.remove();
        if let Entry::Occupied(entry) = self.by_identity.entry(identity(&node.attributes))
            && *entry.get() == number
        {
            entry.remove();
        }
        if self.by_path.get(&node.path) == Some(&number) {
            self.by_path.remove(&node.path);
        }
    }
}

/// `folder` and a name in it.
pub(super) fn join(folder: &[u8], name: &[u8]) -> Result<RemotePath, i32> {
    let slash = usize::from(folder != b"/");
    if folder.len() + slash + name.len() > LONGEST_PATH {
        return Err(libc::ENAMETOOLONG);
    }
    let mut path = Vec::with_capacity(folder.len() + slash + name.len());
    path.extend_from_slice(folder);
    if slash == 1 {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    Ok(path.into())
}

/// The folder that a path lies in; none for the root.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|&byte| byte == b'/')? {
        0 if path.len() == 1 => None,
        0 => Some(b"/"),
        at => Some(&path[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RemotePath {
        Arc::from(text.as_bytes())
    }

    fn file(ino: u64) -> Attributes {
        Attributes { dev: 1, ino, mode: libc::S_IFREG, ..Attributes::default() }
    }

    fn directory(ino: u64) -> Attributes {
        Attributes { mode: libc::S_IFDIR, ..file(ino) }
    }

    #[test]
    fn hard_links_are_one_node() {
        let mut tree = Tree::new();
        let first = tree.enter(&path("/a"), &file(9)).unwrap();
        assert_eq!(tree.enter(&path("/b"), &file(9)).unwrap(), first);
        assert_eq!(&*tree.path(first).unwrap(), b"/b");
    }

    #[test]
    fn one_directory_at_two_places_is_two_nodes() {
        let mut tree = Tree::new();
        let first = tree.enter(&path("/a"), &directory(9)).unwrap();
        let second = tree.enter(&path("/b"), &directory(9)).unwrap();
        assert_ne!(first, second);
        assert_eq!(&*tree.path(second).unwrap(), b"/b");
    }

    #[test]
    fn node_ends_with_its_last_reference() {
        let mut tree = Tree::new();
        let number = tree.enter(&path("/a"), &file(9)).unwrap();
        tree.enter(&path("/a"), &file(9)).unwrap();
        tree.opened(number, Version::default());
        tree.forget(number, 2);
        assert!(tree.path(number).is_ok());
        tree.closed(number);
        assert_eq!(tree.path(number), Err(libc::ESTALE));
        assert!(tree.number_at(b"/a").is_none() && tree.by_identity.is_empty());
    }

    #[test]
    fn replaced_file_gets_another_node_and_the_open_one_stays() {
        let mut tree = Tree::new();
        let old = tree.enter(&path("/a"), &file(9)).unwrap();
        tree.opened(old, Version::default());
        let new = tree.enter(&path("/a"), &file(10)).unwrap();
        assert_ne!(old, new);
        assert!(!tree.refresh(old, &file(10)));
        assert_eq!(tree.unlinked(old).map(|attributes| attributes.nlink), Some(0));
        assert!(tree.unlinked(new).is_none());
    }

    #[test]
    fn closed_files_are_evicted_and_nothing_else() {
        let mut tree = Tree::new();
        tree.enter(&path("/d"), &directory(8)).unwrap();
        let open = tree.enter(&path("/d/open"), &file(9)).unwrap();
        tree.opened(open, Version::default());
        assert!(tree.closed_files().is_empty() && !tree.begin_eviction());
        for ino in 10..10 + MANY_NODES as u64 {
            tree.enter(&path(&format!("/d/{ino}")), &file(ino)).unwrap();
        }
        assert_eq!(tree.closed_files().len(), MOST_VICTIMS);
        assert!(tree.begin_eviction() && !tree.begin_eviction());
        tree.end_eviction();
        assert!(!tree.begin_eviction());
    }

    #[test]
    fn root_is_never_forgotten() {
        let mut tree = Tree::new();
        tree.forget(ROOT, u64::MAX);
        assert_eq!(&*tree.path(ROOT).unwrap(), b"/");
    }

    #[test]
    fn pages_are_kept_for_the_same_version_only() {
        let mut tree = Tree::new();
        let number = tree.enter(&path("/a"), &file(9)).unwrap();
        let newer = super::super::attributes::version(&Attributes { size: 5, ..file(9) });
        assert!(!tree.opened(number, Version::default()));
        assert!(tree.opened(number, Version::default()));
        assert!(!tree.opened(number, newer));
    }

    #[test]
    fn names_join_and_part() {
        assert_eq!(&*join(b"/", b"x").unwrap(), b"/x");
        assert_eq!(&*join(b"/a", b"x").unwrap(), b"/a/x");
        assert_eq!((parent(b"/a/x"), parent(b"/a"), parent(b"/")), (Some(&b"/a"[..]), Some(&b"/"[..]), None));
        assert_eq!(join(&[b'a'; 4000], &[b'b'; 200]), Err(libc::ENAMETOOLONG));
    }
}
