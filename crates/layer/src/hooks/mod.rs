//! The C border: one entry per exported symbol, grouped by what it names. Decisions live in `place` and `ops`.

mod change;
mod cwd;
mod directory;
mod hostent;
mod launch;
mod link;
mod names;
mod open;
mod resolver;
mod socket;
mod stat;
mod stream;
mod syscall;
