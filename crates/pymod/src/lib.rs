//! `mirrord.proxy`: the Python door to `proxy_core`. Converts and releases the interpreter; no logic.
//!
//! The types are described for Python in `python/mirrord/proxy.pyi`.

use pyo3::prelude::*;

mod error;
mod session;

/// The data path, in Rust.
#[pymodule]
mod proxy {
    use super::*;

    #[pymodule_export]
    use crate::error::ProxyError;
    #[pymodule_export]
    use crate::session::{Event, Keys, Program, Session, Target, explain, inspect_program};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
