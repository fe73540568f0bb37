//! TLS to the API server: whom to trust, and who we are.
//!
//! Only the ring provider is compiled in, so it is named explicitly everywhere and no process-wide default is needed.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::dial::Address;
use super::{Endpoint, PortForwardError};

/// Where distributions keep their bundle of trusted roots, in Go's order, which `kubectl` follows.
const SYSTEM_BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// The largest bundles in use are a quarter of a MiB.
const BUNDLE_LIMIT: u64 = 8 << 20;

pub(super) struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    /// Prepares the handshake; reads the system's bundle when `endpoint` brings no CA.
    pub(super) async fn new(endpoint: &Endpoint, address: &Address) -> Result<Self, PortForwardError> {
        let name = endpoint.server_name.as_deref().unwrap_or(&address.host);
        let name = ServerName::try_from(name.to_string()).map_err(|error| PortForwardError::Invalid {
            what: "server name",
            value: name.to_string(),
            reason: error.to_string(),
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("TLS settings", error))?;
        let builder = if endpoint.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny(provider)))
        } else {
            builder.with_root_certificates(roots(endpoint.ca.as_deref()).await?)
        };
        let mut config = match (&endpoint.certificate, &endpoint.key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable("client key", error))?;
                builder
                    .with_client_auth_cert(certificates("client certificate", certificate)?, key)
                    .map_err(|error| unusable("client certificate", error))?
            }
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(unusable("client certificate", "it has no key")),
            (None, Some(_)) => return Err(unusable("client key", "it has no certificate")),
        };
        // Upgrades exist in HTTP/1.1 only; without this a front end may pick h2.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), name })
    }

    pub(super) async fn handshake(
        self,
        address: &Address,
        socket: TcpStream,
    ) -> Result<TlsStream<TcpStream>, PortForwardError> {
        TlsConnector::from(self.config)
            .connect(self.name, socket)
            .await
            .map_err(|source| PortForwardError::Tls { address: address.shown(), source })
    }
}

async fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, PortForwardError> {
    let mut store = RootCertStore::empty();
    match ca {
        // Given by name, so each one must be usable.
        Some(pem) => {
            for certificate in certificates("CA certificate", pem)? {
                store.add(certificate).map_err(|error| unusable("CA certificate", error))?;
            }
        }
        // A bundle may hold roots in forms that rustls does not know; they are skipped as other clients do.
        None => {
            let (_, _ignored) = store.add_parsable_certificates(certificates("system CA bundle", &bundle().await?)?);
        }
    }
    if store.is_empty() {
        return Err(unusable("CA certificate", "there is none in it"));
    }
    Ok(store)
}

async fn bundle() -> Result<Vec<u8>, PortForwardError> {
    for path in SYSTEM_BUNDLES.map(Path::new) {
        match tokio::fs::metadata(path).await {
            Ok(found) if found.is_file() && found.len() <= BUNDLE_LIMIT => {
                return tokio::fs::read(path).await.map_err(|error| unusable("system CA bundle", error));
            }
            _ => {}
        }
    }
    Err(unusable("system CA bundle", format!("none of {} exists", SYSTEM_BUNDLES.join(", "))))
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PortForwardError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| unusable(what, error))?;
    if found.is_empty() {
        return Err(unusable(what, "there is no certificate in it"));
    }
    Ok(found)
}

fn unusable(what: &'static str, reason: impl ToString) -> PortForwardError {
    PortForwardError::Credentials { what, reason: reason.to_string() }
}

/// A danger place: trusts whoever answers. Only for `insecure-skip-tls-verify` in the user's own kubeconfig.
///
/// Signatures are still checked, so the peer holds the key of the certificate it shows; the session's own TLS inside
/// the carrier is pinned to both ends in any case, so what a man in the middle gains is the bearer token.
#[derive(Debug)]
struct AcceptAny(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
