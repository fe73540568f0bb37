//! Why a name is local or remote, without a session: `mirrord explain`.

use std::net::SocketAddr;

use mirrord_policy::files::Intent;
use mirrord_policy::settings::Settings;
use mirrord_policy::{Facts, Image, Route, Verdict, dns, files, incoming, outgoing};

use crate::error::Error;

/// The verdict on a path, `ADDRESS:PORT`, `:PORT` (listening) or host name, and its reason.
///
/// # Errors
/// [`Error::Settings`] when the settings cannot be compiled.
pub fn explain(settings: &str, name: &str) -> Result<(&'static str, &'static str), Error> {
    let unusable = |error: &dyn std::fmt::Display| Error::Settings(error.to_string());
    let settings: Settings = serde_json::from_str(settings).map_err(|error| unusable(&error))?;
    let facts = Facts {
        remote_root: b"/",
        remote_device: 0,
        shown_uid: None,
        shown_gid: None,
        hostname: b"",
        library: b"",
        listener_v4: std::net::SocketAddrV4::new(std::net::Ipv4Addr::new(127, 64, 0, 1), 1),
        listener_v6: None,
    };
    let image = mirrord_policy::compile::compile(&settings, &facts).map_err(|error| unusable(&error))?;
    let image = Image::open(&image).map_err(|error| unusable(&error))?;
    let verdict = decide(&image, name);
    let route = match verdict.route {
        Route::Local => "local",
        Route::Remote => "remote",
        Route::NotFound => "not found",
    };
    Ok((route, verdict.reason.text()))
}

fn decide(image: &Image<'_>, name: &str) -> Verdict {
    if name.starts_with('/') {
        return files::decide(image, name.as_bytes(), Intent::Read);
    }
    if let Some(port) = name.strip_prefix(':').and_then(|port| port.parse::<u16>().ok()) {
        return incoming::decide(image, SocketAddr::from(([0, 0, 0, 0], port)));
    }
    match name.parse::<SocketAddr>() {
        Ok(address) => outgoing::decide(image, address),
        Err(_) => dns::decide(image, name.split(':').next().unwrap_or(name).as_bytes()),
    }
}
