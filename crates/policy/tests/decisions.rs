//! Decisions as a reader of the configuration's documentation expects them.

use std::net::SocketAddr;

use mirrord_policy::compile::compile;
use mirrord_policy::files::Intent;
use mirrord_policy::settings::{FileMode, IncomingMode, Settings};
use mirrord_policy::{Facts, Image, Reason, Route, dns, files, incoming, outgoing, process};
use proptest::prelude::*;

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.files.mode = FileMode::Read;
    settings.outgoing.tcp = true;
    settings.dns.enabled = true;
    settings.incoming.mode = IncomingMode::Steal;
    settings.hostname = true;
    settings.process.cwd = "/code/project/".into();
    settings.process.home = "/root".into();
    settings.process.temp = "/scratch/tmp".into();
    settings.process.program_prefixes = vec!["/srv/venv".into()];
    settings.process.skip = vec!["gcc".into()];
    settings
}

fn facts() -> Facts<'static> {
    Facts {
        remote_root: b"/proc/7/root",
        remote_device: 0x1_0000_0042,
        shown_uid: Some(1000),
        shown_gid: Some(1001),
        hostname: b"shop-1",
        library: b"/x/layer.so",
        listener_v4: "127.9.8.7:4000".parse().unwrap(),
        listener_v6: Some("[::1]:4001".parse().unwrap()),
    }
}

fn with<T>(settings: &Settings, check: impl FnOnce(&Image<'_>) -> T) -> T {
    let bytes = compile(settings, &facts()).unwrap();
    check(&Image::open(&bytes).unwrap())
}

fn route(settings: &Settings, path: &str) -> (Route, Reason) {
    with(settings, |image| {
        let verdict = files::decide(image, path.as_bytes(), Intent::Read);
        (verdict.route, verdict.reason)
    })
}

#[test]
fn facts_survive_the_image() {
    with(&settings(), |image| {
        let seen = image.facts();
        let sent = facts();
        assert_eq!(seen.remote_root, sent.remote_root);
        assert_eq!(seen.remote_device, sent.remote_device);
        assert_eq!((seen.shown_uid, seen.shown_gid), (sent.shown_uid, sent.shown_gid));
        assert_eq!(seen.hostname, sent.hostname);
        assert_eq!(seen.library, sent.library);
        assert_eq!((seen.listener_v4, seen.listener_v6), (sent.listener_v4, sent.listener_v6));
    });
}

#[test]
fn default_file_rules() {
    let settings = settings();
    for (path, expected) in [
        ("/app/settings.json", (Route::Remote, Reason::ModeRead)),
        ("/etc/hosts", (Route::Remote, Reason::PodIdentity)),
        ("/etc/ssl/certs/ca.pem", (Route::Remote, Reason::PodIdentity)),
        ("/etc/passwd", (Route::Local, Reason::LocalFolder)),
        ("/USR/lib/x", (Route::Local, Reason::LocalFolder)),
        ("/usrlocal/x", (Route::Remote, Reason::ModeRead)),
        ("/", (Route::Local, Reason::LocalFolder)),
        ("/app/main.py", (Route::Local, Reason::LocalEnding)),
        ("/app/node_modules/x/data", (Route::Local, Reason::LocalFolder)),
        ("/code/project/data.csv", (Route::Local, Reason::WorkingDirectory)),
        ("/code", (Route::Local, Reason::AboveLocalFolder)),
        ("/code/other", (Route::Remote, Reason::ModeRead)),
        ("/srv/venv/lib/x", (Route::Local, Reason::ProgramFile)),
        ("/srv/data", (Route::Remote, Reason::ModeRead)),
        ("/root/.pyenv/x", (Route::Local, Reason::UserDotFile)),
        ("/root/.kube/config", (Route::NotFound, Reason::LocalCredentials)),
        ("/root/data", (Route::Remote, Reason::ModeRead)),
    ] {
        assert_eq!(route(&settings, path), expected, "{path}");
    }
}

#[test]
fn writes_stay_local() {
    with(&settings(), |image| {
        assert_eq!(files::decide(image, b"/app/out", Intent::Write).reason, Reason::ModeReadWritesLocal);
    });
}

#[test]
fn user_lists_come_first() {
    let mut settings = settings();
    settings.files.not_found = vec!["^/app/secret".into()];
    settings.files.read_only = vec![r"^/usr/share/pod/".into()];
    settings.files.local = vec![r"\.csv$".into(), "cache".into()];
    assert_eq!(route(&settings, "/app/SECRET/x").0, Route::NotFound);
    assert_eq!(route(&settings, "/usr/share/pod/x").1, Reason::ListedReadOnly);
    assert_eq!(route(&settings, "/app/x.csv").1, Reason::ListedLocal);
    assert_eq!(route(&settings, "/app/Cache/x").1, Reason::ListedLocal);
    assert_eq!(route(&settings, "/app/x").1, Reason::ModeRead);
}

#[test]
fn pattern_that_cannot_be_linear_is_refused_with_its_key() {
    let mut settings = settings();
    settings.files.local = vec!["(?=x)".into()];
    let error = compile(&settings, &facts()).unwrap_err().to_string();
    assert!(error.contains("feature.fs.local"), "{error}");
}

#[test]
fn addresses() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    with(&settings(), |image| {
        for (text, reason) in [
            ("10.1.2.3:80", Reason::TargetNetwork),
            ("[::ffff:10.1.2.3]:80", Reason::TargetNetwork),
            ("[fd00::1]:80", Reason::TargetNetwork),
            ("127.0.0.1:80", Reason::TargetLoopback),
            ("0.0.0.0:80", Reason::TargetLoopback),
            ("127.9.8.7:80", Reason::SessionAddress),
            ("224.0.0.1:80", Reason::NotRoutable),
            ("[fe80::1]:80", Reason::NotRoutable),
        ] {
            assert_eq!(outgoing::decide(image, address(text)).reason, reason, "{text}");
        }
    });
}

#[test]
fn names() {
    with(&settings(), |image| {
        for (name, reason) in [
            ("web.shop", Reason::TargetResolver),
            ("localhost", Reason::LocalHostName),
            ("a.LOCALHOST.", Reason::LocalHostName),
            ("notlocalhost", Reason::TargetResolver),
            ("10.0.0.1", Reason::NumericName),
            ("::1", Reason::NumericName),
            ("", Reason::LocalHostName),
        ] {
            assert_eq!(dns::decide(image, name.as_bytes()).reason, reason, "{name}");
        }
    });
}

#[test]
fn listening_ports() {
    let mut settings = settings();
    settings.incoming.ignore_ports = vec![9000];
    settings.incoming.ports = Some(vec![80, 443]);
    settings.incoming.port_mapping = vec![(8080, 80)];
    settings.incoming.listen_ports = vec![(80, 18080)];
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    with(&settings, |image| {
        for (text, reason) in [
            ("0.0.0.0:80", Reason::StolenPort),
            ("0.0.0.0:8080", Reason::StolenPort),
            ("[::]:9000", Reason::IgnoredPort),
            ("0.0.0.0:81", Reason::UnlistedPort),
            ("0.0.0.0:0", Reason::EphemeralPort),
        ] {
            assert_eq!(incoming::decide(image, address(text)).reason, reason, "{text}");
        }
        assert_eq!(incoming::remote_port(image, 8080), 80);
        assert_eq!(incoming::listen_port(image, 80), Some(18080));
        assert_eq!(incoming::listen_port(image, 81), None);
    });
}

#[test]
fn skipped_programs() {
    with(&settings(), |image| {
        assert!(process::skipped(image, b"/usr/bin/gcc"));
        assert!(!process::skipped(image, b"/usr/bin/gcc-12"));
    });
}

#[test]
fn the_test_binary_itself_is_dynamic() {
    let bytes = std::fs::read("/proc/self/exe").unwrap();
    let mut read = |offset: u64, buffer: &mut [u8]| {
        let from = bytes.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(buffer.len());
        buffer[..len].copy_from_slice(&from[..len]);
        len
    };
    assert_eq!(process::inspect(&mut read), process::Kind::Dynamic);
}

proptest! {
    #[test]
    fn opening_a_damaged_image_never_panics(at in 0usize..2000, value in any::<u8>(), cut in 0usize..2000) {
        let mut settings = settings();
        settings.files.local = vec!["x".into()];
        let mut bytes = compile(&settings, &facts()).unwrap();
        let at = at % bytes.len();
        bytes[at] = value;
        bytes.truncate(bytes.len().max(cut) - cut / 2);
        if let Ok(image) = Image::open(&bytes) {
            let _ = files::decide(&image, b"/app/x", Intent::Read);
            let _ = incoming::decide(&image, "0.0.0.0:80".parse().unwrap());
        }
    }

    #[test]
    fn inspecting_garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), elf in any::<bool>()) {
        if elf && bytes.len() > 20 {
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            bytes[18..20].copy_from_slice(&62u16.to_le_bytes());
        }
        let mut read = |offset: u64, buffer: &mut [u8]| {
            let from = usize::try_from(offset).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
            let len = from.len().min(buffer.len());
            buffer[..len].copy_from_slice(&from[..len]);
            len
        };
        process::inspect(&mut read);
    }
}
