//! What the hooks of sockets, names and programs do: safe bodies behind the C border of `hooks/`.

pub(crate) mod bind;
pub(crate) mod connect;
pub(crate) mod ends;
pub(crate) mod launch;
pub(crate) mod resolve;
pub(crate) mod socket;
