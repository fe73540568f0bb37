//! The classes: values are copied out once, sessions are shared and thread-safe.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use proxy_core::SessionKeys;
use proxy_core::error::Error;
use proxy_core::port_forward::Endpoint;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::raise;

/// A session's keys.
#[pyclass(frozen, module = "mirrord.proxy")]
pub struct Keys(SessionKeys);

/// What the agent told of the target.
#[pyclass(frozen, module = "mirrord.proxy")]
pub struct Target(proxy_core::session::Target);

/// What an executable file is.
#[pyclass(frozen, get_all, module = "mirrord.proxy")]
pub struct Program {
    kind: &'static str,
    interpreter: Option<Vec<u8>>,
    detail: &'static str,
}

/// Something that happened in the session.
#[pyclass(frozen, get_all, module = "mirrord.proxy")]
pub struct Event {
    kind: &'static str,
    text: String,
    port: u16,
    pid: u32,
}

/// One session.
#[pyclass(frozen, module = "mirrord.proxy")]
pub struct Session(Mutex<Option<Arc<proxy_core::session::Session>>>);

#[pymethods]
impl Keys {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Keys> {
        py.detach(SessionKeys::generate).map(Keys).map_err(|error| raise(error.into()))
    }

    fn agent_secret(&self) -> &str {
        self.0.agent_pem()
    }
}

#[pymethods]
impl Target {
    #[getter]
    fn pid(&self) -> u32 {
        self.0.welcome.pid
    }

    #[getter]
    fn hostname<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.welcome.hostname)
    }

    #[getter]
    fn uid(&self) -> u32 {
        self.0.welcome.uid
    }

    #[getter]
    fn gid(&self) -> u32 {
        self.0.welcome.gid
    }

    #[getter]
    fn cwd<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.welcome.cwd)
    }

    #[getter]
    fn environment<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.environment)
    }

    #[getter]
    fn agent_version(&self) -> &str {
        &self.0.welcome.version
    }
}

#[pymethods]
impl Session {
    #[new]
    fn new(py: Python<'_>, settings: &str, keys: &Keys, directory: PathBuf, holder: String) -> PyResult<Session> {
        let keys = keys.0.clone();
        py.detach(|| proxy_core::session::Session::new(settings, keys, &directory, holder))
            .map(|session| Session(Mutex::new(Some(Arc::new(session)))))
            .map_err(raise)
    }

    #[getter]
    fn files_provider(&self) -> PyResult<&'static str> {
        Ok(self.open()?.files_provider())
    }

    #[getter]
    fn files_problem(&self) -> PyResult<Option<String>> {
        Ok(self.open()?.files_problem().map(str::to_owned))
    }

    fn connect_fd(&self, py: Python<'_>, fd: RawFd, timeout: f64) -> PyResult<Target> {
        let session = self.open()?;
        if fd < 0 {
            return Err(raise(Error::Order("a negative number is no file descriptor")));
        }
        // SAFETY: the caller hands the descriptor over, as the interface says; nobody else closes or uses it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        py.detach(|| session.connect_fd(socket, seconds(timeout))).map(Target).map_err(raise)
    }

    #[pyo3(signature = (url, port, headers, timeout, ca=None, certificate=None, key=None, insecure=false, server_name=None, proxy=None))]
    #[expect(clippy::too_many_arguments, reason = "keyword arguments of the Python interface")]
    fn connect_port_forward(
        &self,
        py: Python<'_>,
        url: String,
        port: u16,
        headers: Py<PyAny>,
        timeout: f64,
        ca: Option<Vec<u8>>,
        certificate: Option<Vec<u8>>,
        key: Option<Vec<u8>>,
        insecure: bool,
        server_name: Option<String>,
        proxy: Option<String>,
    ) -> PyResult<Target> {
        let session = self.open()?;
        let headers: Vec<(String, String)> = headers.call0(py)?.extract(py)?;
        let endpoint = Endpoint { url, port, ca, certificate, key, insecure, server_name, proxy };
        py.detach(|| session.connect_port_forward(&endpoint, &headers, seconds(timeout))).map(Target).map_err(raise)
    }

    fn start(&self, py: Python<'_>, layer: &str) -> PyResult<HashMap<&'static str, String>> {
        let session = self.open()?;
        py.detach(|| session.start(layer)).map(|environment| environment.into_iter().collect()).map_err(raise)
    }

    fn next_event(&self, py: Python<'_>, timeout: f64) -> PyResult<Option<Event>> {
        let session = self.open()?;
        Ok(py.detach(|| session.next_event(seconds(timeout))).map(Event::from))
    }

    fn wake(&self) -> PyResult<()> {
        self.open()?.wake();
        Ok(())
    }

    fn summary(&self) -> PyResult<HashMap<&'static str, u64>> {
        Ok(self.open()?.summary().into_iter().collect())
    }

    fn close(&self, py: Python<'_>) {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last holder of the session ends it; a thread that waits for an event holds it until its timeout.
        py.detach(|| {
            if let Some(session) = session {
                session.close();
            }
        });
    }
}

impl Session {
    fn open(&self) -> PyResult<Arc<proxy_core::session::Session>> {
        let session = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        session.ok_or_else(|| raise(Error::Order("the session is closed")))
    }
}

impl From<proxy_core::events::Event> for Event {
    fn from(event: proxy_core::events::Event) -> Event {
        use proxy_core::events::Event as Core;
        let make = |kind, text, port, pid| Event { kind, text, port, pid };
        match event {
            Core::Hello { pid, program } => make("hello", program, 0, pid),
            Core::Listening { port } => make("listening", String::new(), port, 0),
            Core::Released { port } => make("released", String::new(), port, 0),
            Core::Notice(text) => make("notice", text, 0, 0),
            Core::Lost(text) => make("lost", text, 0, 0),
        }
    }
}

/// Seconds of a Python caller; what is no duration counts as none.
fn seconds(timeout: f64) -> Duration {
    Duration::try_from_secs_f64(timeout).unwrap_or_default()
}

/// What the executable at `path` is.
#[pyfunction]
pub fn inspect_program(path: Vec<u8>) -> PyResult<Program> {
    let path = PathBuf::from(OsString::from_vec(path));
    let program = proxy_core::program::inspect_program(&path).map_err(raise)?;
    Ok(Program { kind: program.kind, interpreter: program.interpreter, detail: program.detail })
}

/// Local or remote, and why.
#[pyfunction]
pub fn explain(settings: &str, name: &str) -> PyResult<(&'static str, &'static str)> {
    proxy_core::explain::explain(settings, name).map_err(raise)
}
