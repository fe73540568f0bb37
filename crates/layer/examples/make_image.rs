//! Writes a policy image for trying the layer without a session: `make_image OUT key=value…`.
//!
//! Keys: `root`, `device`, `library`, `listener` (ADDRESS:PORT), `listener6` ([::1]:PORT), `hostname`, `uid`, `gid`, `cwd`,
//! `mode` (`read`, `local`, `overrides`), `read_only`, `local`, `not_found` (patterns, repeatable), `skip`, `prefix` (repeatable), `tcp`, `dns`,
//! `steal`, `ignore_localhost` (`1`), `listen_port` (ASKED:ACTUAL).

#![allow(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a program of its own, not part of the guest")]

use std::collections::HashMap;
use std::process::ExitCode;

use mirrord_policy::Facts;
use mirrord_policy::compile::compile;
use mirrord_policy::settings::{FileMode, IncomingMode, Settings};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(out) = arguments.next() else {
        eprintln!("usage: make_image OUT key=value…");
        return ExitCode::from(2);
    };
    let mut given: HashMap<String, Vec<String>> = HashMap::new();
    for argument in arguments {
        let (key, value) = argument.split_once('=').unwrap_or((&argument, "1"));
        given.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    let one = |key: &str| given.get(key).and_then(|values| values.last()).map(String::as_str);
    let all = |key: &str| given.get(key).cloned().unwrap_or_default();
    let number = |key: &str| one(key).and_then(|value| value.parse().ok());
    let mut settings = Settings::default();
    settings.files.mode = match one("mode") {
        Some("read") => FileMode::Read,
        Some("overrides") => FileMode::LocalWithOverrides,
        _ => FileMode::Local,
    };
    settings.files.read_only = all("read_only");
    settings.files.local = all("local");
    settings.files.not_found = all("not_found");
    settings.outgoing.tcp = one("tcp").is_some();
    settings.outgoing.ignore_localhost = one("ignore_localhost").is_some();
    settings.dns.enabled = one("dns").is_some();
    settings.incoming.mode = if one("steal").is_some() { IncomingMode::Steal } else { IncomingMode::Off };
    settings.incoming.listen_ports = all("listen_port")
        .iter()
        .filter_map(|pair| pair.split_once(':'))
        .filter_map(|(asked, actual)| Some((asked.parse().ok()?, actual.parse().ok()?)))
        .collect();
    settings.process.cwd = one("cwd").unwrap_or_default().to_owned();
    settings.process.program_prefixes = all("prefix");
    settings.process.skip = all("skip");
    settings.hostname = one("hostname").is_some();
    let facts = Facts {
        remote_root: one("root").unwrap_or_default().as_bytes(),
        remote_device: one("device").and_then(|value| value.parse().ok()).unwrap_or(0),
        shown_uid: number("uid"),
        shown_gid: number("gid"),
        hostname: one("hostname").unwrap_or_default().as_bytes(),
        library: one("library").unwrap_or_default().as_bytes(),
        listener_v4: one("listener")
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| "127.64.1.1:1".parse().expect("an address")),
        listener_v6: one("listener6").and_then(|value| value.parse().ok()),
    };
    let written = compile(&settings, &facts).map_err(|error| error.to_string());
    match written.and_then(|image| std::fs::write(&out, image).map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write `{out}`: {error}");
            ExitCode::FAILURE
        }
    }
}
