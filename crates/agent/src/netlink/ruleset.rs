//! The redirect as nf_tables messages. What `nft list ruleset` shows for it:
//!
//! ```text
//!  table inet mirrord-4711 {                    # flags owner: dies with our netlink socket
//!      set ports { type inet_service; elements = { 80 } }
//!      chain incoming { type nat hook prerouting priority -150;
//!          meta l4proto tcp  tcp flags & (fin|syn|rst|ack) == syn  tcp dport @ports  redirect to :40001 }
//!      chain inside { type nat hook output priority -150;
//!          oifname "lo"  meta mark != 0x6d697200  meta l4proto tcp  tcp flags …  tcp dport @ports  redirect to :40001 }
//!  }
//! ```
//!
//! Only SYNs match: a fresh NAT chain makes the kernel see established connections as new ones, and redirecting their
//! packets would reset them. The chains run before those of service meshes (-100), whose rules no longer apply to a
//! connection that has been translated once. Pure; used by `netlink`.

use super::message::{ACK, APPEND, Batch, CREATE, EXCLUSIVE};
use crate::namespace::MARK;

/// `NFNL_SUBSYS_NFTABLES`, in the upper byte of a message's type.
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = (SUBSYSTEM << 8) | 3;
const NEW_RULE: u16 = (SUBSYSTEM << 8) | 6;
const NEW_SET: u16 = (SUBSYSTEM << 8) | 9;
const NEW_ELEMENT: u16 = (SUBSYSTEM << 8) | 12;
const DELETE_ELEMENT: u16 = (SUBSYSTEM << 8) | 14;

/// `NFPROTO_INET`: IPv4 and IPv6.
const INET: u8 = 1;
/// `NFT_TABLE_F_OWNER`
const OWNER: u32 = 2;
/// `NF_INET_PRE_ROUTING` and `NF_INET_LOCAL_OUT`
const PREROUTING: u32 = 0;
const OUTPUT: u32 = 3;
/// Before `NF_IP_PRI_NAT_DST` (-100), after connection tracking (-200).
const PRIORITY: i32 = -150;
/// `NFT_REG_1`
const REGISTER: u32 = 1;

const SET: &str = "ports";
const INCOMING: &str = "incoming";
const INSIDE: &str = "inside";
/// Number of the set within the batch that creates it.
const SET_ID: u32 = 1;
/// What nft calls `inet_service`, so that it can show the set.
const TYPE_INET_SERVICE: u32 = 13;

/// A message of a batch and what it is for.
pub type Step = (u32, &'static str);

/// Creates the table and everything in it except elements.
pub fn create(batch: &mut Batch, table: &str, listener: u16) -> Vec<Step> {
    transaction(batch, |batch| {
        vec![
            (new_table(batch, table), "create the owner table"),
            (new_set(batch, table), "create the set of ports"),
            (new_chain(batch, table, INCOMING, PREROUTING), "create the prerouting chain"),
            (new_chain(batch, table, INSIDE, OUTPUT), "create the output chain"),
            (new_rule(batch, table, INCOMING, listener), "create the redirect rule"),
            (new_rule(batch, table, INSIDE, listener), "create the redirect rule for local callers"),
        ]
    })
}

/// Redirects one more port.
pub fn add_port(batch: &mut Batch, table: &str, port: u16) -> Vec<Step> {
    transaction(batch, |batch| {
        vec![(element(batch, NEW_ELEMENT, ACK | CREATE | EXCLUSIVE, table, port), "add the port")]
    })
}

/// Gives a port back.
pub fn remove_port(batch: &mut Batch, table: &str, port: u16) -> Vec<Step> {
    transaction(batch, |batch| vec![(element(batch, DELETE_ELEMENT, ACK, table, port), "remove the port")])
}

/// All or nothing: the kernel applies what stands between the two marks atomically.
fn transaction(batch: &mut Batch, fill: impl FnOnce(&mut Batch) -> Vec<Step>) -> Vec<Step> {
    batch.message(BATCH_BEGIN, 0, 0, SUBSYSTEM, |_| {});
    let steps = fill(batch);
    batch.message(BATCH_END, 0, 0, SUBSYSTEM, |_| {});
    steps
}

fn new_table(batch: &mut Batch, table: &str) -> u32 {
    batch.message(NEW_TABLE, ACK | CREATE | EXCLUSIVE, INET, 0, |batch| {
        batch.text(1, table);
        batch.number(2, OWNER);
    })
}

fn new_set(batch: &mut Batch, table: &str) -> u32 {
    batch.message(NEW_SET, ACK | CREATE | EXCLUSIVE, INET, 0, |batch| {
        batch.text(1, table);
        batch.text(2, SET);
        batch.number(3, 0);
        batch.number(4, TYPE_INET_SERVICE);
        batch.number(5, 2);
        batch.number(10, SET_ID);
    })
}

fn new_chain(batch: &mut Batch, table: &str, chain: &str, hook: u32) -> u32 {
    batch.message(NEW_CHAIN, ACK | CREATE | EXCLUSIVE, INET, 0, |batch| {
        batch.text(1, table);
        batch.text(3, chain);
        batch.nested(4, |batch| {
            batch.number(1, hook);
            batch.number(2, PRIORITY.cast_unsigned());
        });
        batch.text(7, "nat");
    })
}

fn new_rule(batch: &mut Batch, table: &str, chain: &str, listener: u16) -> u32 {
    batch.message(NEW_RULE, ACK | CREATE | APPEND, INET, 0, |batch| {
        batch.text(1, table);
        batch.text(2, chain);
        batch.nested(4, |batch| {
            if chain == INSIDE {
                interface_is_loopback(batch);
                is_not_ours(batch);
            }
            is_tcp_syn(batch);
            port_is_in_set(batch);
            redirect(batch, listener);
        });
    })
}

fn element(batch: &mut Batch, kind: u16, flags: u16, table: &str, port: u16) -> u32 {
    batch.message(kind, flags, INET, 0, |batch| {
        batch.text(1, table);
        batch.text(2, SET);
        batch.nested(3, |batch| {
            batch.nested(1, |batch| batch.nested(1, |batch| batch.raw(1, &port.to_be_bytes())));
        });
    })
}

// === expressions: {name, data} pairs of a rule ===

fn expression(batch: &mut Batch, name: &str, fill: impl FnOnce(&mut Batch)) {
    batch.nested(1, |batch| {
        batch.text(1, name);
        batch.nested(2, fill);
    });
}

fn load_meta(batch: &mut Batch, key: u32) {
    expression(batch, "meta", |batch| {
        batch.number(1, REGISTER);
        batch.number(2, key);
    });
}

fn load_transport(batch: &mut Batch, offset: u32, len: u32) {
    const TRANSPORT_HEADER: u32 = 2;
    expression(batch, "payload", |batch| {
        batch.number(1, REGISTER);
        batch.number(2, TRANSPORT_HEADER);
        batch.number(3, offset);
        batch.number(4, len);
    });
}

fn compare(batch: &mut Batch, operator: u32, value: &[u8]) {
    expression(batch, "cmp", |batch| {
        batch.number(1, REGISTER);
        batch.number(2, operator);
        batch.nested(3, |batch| batch.raw(1, value));
    });
}

const EQUAL: u32 = 0;
const DIFFERENT: u32 = 1;

fn interface_is_loopback(batch: &mut Batch) {
    const OUT_INTERFACE_NAME: u32 = 7;
    load_meta(batch, OUT_INTERFACE_NAME);
    let mut name = [0; 16];
    name[..2].copy_from_slice(b"lo");
    compare(batch, EQUAL, &name);
}

fn is_not_ours(batch: &mut Batch) {
    const PACKET_MARK: u32 = 3;
    load_meta(batch, PACKET_MARK);
    compare(batch, DIFFERENT, &MARK.to_ne_bytes());
}

fn is_tcp_syn(batch: &mut Batch) {
    const PROTOCOL: u32 = 16;
    const TCP: u8 = 6;
    const FLAGS_OFFSET: u32 = 13;
    const SYN: u8 = 0x02;
    const FIN_SYN_RST_ACK: u8 = 0x17;
    load_meta(batch, PROTOCOL);
    compare(batch, EQUAL, &[TCP]);
    load_transport(batch, FLAGS_OFFSET, 1);
    expression(batch, "bitwise", |batch| {
        batch.number(1, REGISTER);
        batch.number(2, REGISTER);
        batch.number(3, 1);
        batch.nested(4, |batch| batch.raw(1, &[FIN_SYN_RST_ACK]));
        batch.nested(5, |batch| batch.raw(1, &[0]));
    });
    compare(batch, EQUAL, &[SYN]);
}

fn port_is_in_set(batch: &mut Batch) {
    const DESTINATION_PORT_OFFSET: u32 = 2;
    load_transport(batch, DESTINATION_PORT_OFFSET, 2);
    expression(batch, "lookup", |batch| {
        batch.text(1, SET);
        batch.number(2, REGISTER);
        batch.number(4, SET_ID);
    });
}

fn redirect(batch: &mut Batch, listener: u16) {
    expression(batch, "immediate", |batch| {
        batch.number(1, REGISTER);
        batch.nested(2, |batch| batch.raw(1, &listener.to_be_bytes()));
    });
    expression(batch, "redir", |batch| batch.number(1, REGISTER));
}
