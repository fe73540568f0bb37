//! Per-session keys: a CA that signs exactly two leaves and is forgotten.
//!
//! The CLI makes them in memory ([`SessionKeys::generate`]), keeps the client's leaf and gives the agent's leaf away as
//! PEM ([`SessionKeys::agent_pem`]), in a Secret or a child's environment. Each side trusts the session's CA only, and
//! the leaves carry different extended key usages, so an agent's key cannot pose as a client. TLS 1.3 only.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::LinkError;

/// Name in the agent's certificate.
const AGENT_NAME: &str = "agent.mirrord";
const CLIENT_NAME: &str = "client.mirrord";

/// Certificates are valid from a day ago, for clocks that differ, ...
const BACKDATE: Duration = Duration::from_secs(24 * 3600);
/// ... for a week: longer than a session's first connection can wait, shorter than a forgotten Secret is dangerous.
const VALIDITY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The client's half, and what the agent needs.
#[derive(Clone)]
pub struct SessionKeys {
    client: Arc<ClientConfig>,
    agent_pem: Arc<str>,
}

/// The agent's half.
#[derive(Clone)]
pub struct AgentKeys {
    server: Arc<ServerConfig>,
}

// === impl SessionKeys ===

impl SessionKeys {
    /// Makes a fresh CA and both leaves.
    ///
    /// # Errors
    /// [`LinkError::Keys`] when the system's random source or the certificate encoder fails.
    pub fn generate() -> Result<SessionKeys, LinkError> {
        let ca = issuer()?;
        let (client_cert, client_key) = leaf(&ca, CLIENT_NAME, ExtendedKeyUsagePurpose::ClientAuth)?;
        let (agent_cert, agent_key) = leaf(&ca, AGENT_NAME, ExtendedKeyUsagePurpose::ServerAuth)?;
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots(ca.der().clone())?)
            .with_client_auth_cert(vec![client_cert.der().clone()], private(&client_key))?;
        // A session is one connection: there is nothing to resume.
        config.resumption = rustls::client::Resumption::disabled();
        let agent_pem = format!("{}{}{}", ca.pem(), agent_cert.pem(), agent_key.serialize_pem());
        Ok(SessionKeys { client: Arc::new(config), agent_pem: agent_pem.into() })
    }

    /// CA certificate, agent certificate and agent key as PEM: a secret, the value of `MIRRORD_AGENT_KEYS`.
    pub fn agent_pem(&self) -> &str {
        &self.agent_pem
    }

    pub(crate) fn connector(&self) -> (TlsConnector, ServerName<'static>) {
        let name = ServerName::try_from(AGENT_NAME).expect("a constant DNS name is valid");
        (TlsConnector::from(self.client.clone()), name)
    }
}

impl std::fmt::Debug for SessionKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("SessionKeys(secret)")
    }
}

// === impl AgentKeys ===

impl AgentKeys {
    /// Reads what [`SessionKeys::agent_pem`] wrote.
    ///
    /// # Errors
    /// [`LinkError::Keys`] when the text does not hold two certificates and a key that belong together.
    pub fn from_pem(pem: &str) -> Result<AgentKeys, LinkError> {
        let unusable = |error: &dyn std::fmt::Display| LinkError::Keys(error.to_string());
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| unusable(&e))?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|e| unusable(&e))?;
        let [ca, leaf] = <[_; 2]>::try_from(certificates)
            .map_err(|found| LinkError::Keys(format!("expected 2 certificates, found {}", found.len())))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider())
            .build()
            .map_err(|e| unusable(&e))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![leaf], key)?;
        config.send_tls13_tickets = 0;
        Ok(AgentKeys { server: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }
}

impl std::fmt::Debug for AgentKeys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("AgentKeys(secret)")
    }
}

/// ring with the two suites whose records are cheapest: one with AES instructions, one without.
fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    use rustls::crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = vec![TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(provider)
}

fn roots(ca: CertificateDer<'static>) -> Result<RootCertStore, LinkError> {
    let mut roots = RootCertStore::empty();
    roots.add(ca)?;
    Ok(roots)
}

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = SystemTime::now();
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + VALIDITY).into();
    params
}

fn unusable(error: rcgen::Error) -> LinkError {
    LinkError::Keys(error.to_string())
}

fn issuer() -> Result<CertifiedIssuer<'static, KeyPair>, LinkError> {
    let mut params = params("mirrord session");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(unusable)?).map_err(unusable)
}

fn leaf(
    ca: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    usage: ExtendedKeyUsagePurpose,
) -> Result<(rcgen::Certificate, KeyPair), LinkError> {
    let mut params = params(name);
    params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().map_err(unusable)?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().map_err(unusable)?;
    let certificate = params.signed_by(&key, ca).map_err(unusable)?;
    Ok((certificate, key))
}
