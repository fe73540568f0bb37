//! The one exception that leaves this module.

use proxy_core::error::Error;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

pyo3::create_exception!(mirrord.proxy, ProxyError, PyException, "A failed operation: `args == (kind, message)`.");

/// For `map_err`. The parts are attributes too, since stable ABIs older than 3.12 cannot define them on the class.
pub fn raise(error: Error) -> PyErr {
    let (kind, message) = (error.kind(), error.to_string());
    Python::attach(|py| {
        let raised = ProxyError::new_err((kind, message.clone()));
        let value = raised.value(py);
        match value.setattr("kind", kind).and_then(|()| value.setattr("message", message)) {
            Ok(()) => raised,
            Err(broken) => broken,
        }
    })
}
