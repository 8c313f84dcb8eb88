//! From certificates to the settings of connections. What cannot work is found here, when
//! a process starts, and not by its first peer.

use std::{fmt, io, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier as _},
    version::TLS13,
};

use crate::{failure::TlsFailure, workers_only::WorkersOnly};

/// What a process is in its cluster. Its certificate says so, by a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes workers' calls.
    Coordinator,
    /// It trains.
    Worker,
}

impl Role {
    /// The DNS name among the subject alternative names of its certificate.
    pub fn name(self) -> &'static str {
        match self {
            Self::Coordinator => "phalanx-coordinator",
            Self::Worker => "phalanx-worker",
        }
    }

    /// The name, as whoever dials asks for it.
    pub fn server_name(self) -> ServerName<'static> {
        ServerName::try_from(self.name()).expect("invariant: both are DNS names")
    }
}

/// One of the three files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// Certificates of the cluster's CA; two while one is replaced by another.
    Ca,
    /// This process' certificate, followed by those that lead to the CA, if there are any.
    Certificate,
    /// Its private key.
    Key,
}

impl fmt::Display for TlsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "the CA's certificate",
            Self::Certificate => "this process' certificate",
            Self::Key => "this process' private key",
        })
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// It cannot be read.
    #[error("{0}")]
    Unreadable(io::Error),
    /// It holds nothing of the kind.
    #[error("there is none in it, in PEM")]
    Missing,
    /// It is damaged.
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// The key does not fit the certificate.
    #[error("it is the key of another certificate")]
    OtherKey,
    /// The others would refuse it.
    #[error("the cluster would refuse it: {0}")]
    Refused(TlsFailure),
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct TlsError {
    /// Which file.
    pub file: TlsFile,
    /// What is wrong with it.
    pub problem: FileProblem,
}

/// What connections of a process are made with. Clones are the same settings.
#[derive(Clone)]
pub struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// From the content of three PEM files: the CA's certificates, this process' own with
    /// those that lead to the CA, and its key (PKCS#8, PKCS#1 or SEC1).
    ///
    /// # Errors
    ///
    /// Where one is damaged or does not fit the others, and where peers would refuse the
    /// certificate: it is signed by another CA, has expired, or is not for `role`.
    pub fn new(role: Role, ca: &[u8], certificate: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for ca in certificates(TlsFile::Ca, ca)? {
            roots.add(ca).map_err(|error| wrong(TlsFile::Ca, FileProblem::Damaged(error.to_string())))?;
        }
        let roots = Arc::new(roots);
        let chain = certificates(TlsFile::Certificate, certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| not_pem(TlsFile::Key, error))?;
        let provider = Arc::new(provider());
        let workers_only = workers_only(&roots, &provider)?;
        check_own(role, &roots, &chain, &provider, &workers_only)?;
        let key_refused = |error| match error {
            rustls::Error::InconsistentKeys(_) => wrong(TlsFile::Key, FileProblem::OtherKey),
            error => wrong(TlsFile::Key, FileProblem::Damaged(error.to_string())),
        };

        let mut client = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("invariant: the provider has suites for it")
            .with_root_certificates(Arc::clone(&roots))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(key_refused)?;
        client.resumption = Resumption::disabled();
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .expect("invariant: the provider has suites for it")
            .with_client_cert_verifier(Arc::new(workers_only))
            .with_single_cert(chain, key)
            .map_err(key_refused)?;
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self { client: Arc::new(client), server: Arc::new(server) })
    }

    /// For whoever dials.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// For whoever is dialed.
    pub fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }
}

/// ring, with the fastest cipher first.
fn provider() -> CryptoProvider {
    let cipher_suites = vec![
        ring::cipher_suite::TLS13_AES_128_GCM_SHA256,
        ring::cipher_suite::TLS13_AES_256_GCM_SHA384,
        ring::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    CryptoProvider { cipher_suites, ..ring::default_provider() }
}

fn workers_only(roots: &Arc<RootCertStore>, provider: &Arc<CryptoProvider>) -> Result<WorkersOnly, TlsError> {
    let signed = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
    let signed = signed.map_err(|error| wrong(TlsFile::Ca, FileProblem::Damaged(error.to_string())))?;
    Ok(WorkersOnly { signed, name: Role::Worker.server_name() })
}

/// That peers will let this process in, as far as can be seen from here.
fn check_own(
    role: Role,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    provider: &Arc<CryptoProvider>,
    workers_only: &WorkersOnly,
) -> Result<(), TlsError> {
    let refused = |error: rustls::Error| wrong(TlsFile::Certificate, FileProblem::Refused(error.into()));
    let (own, between) = chain.split_first().expect("invariant: a file without certificates is refused");
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| wrong(TlsFile::Ca, FileProblem::Damaged(error.to_string())))?;
    let now = UnixTime::now();
    verifier.verify_server_cert(own, between, &role.server_name(), &[], now).map_err(refused)?;
    if role == Role::Worker {
        workers_only.verify_client_cert(own, between, now).map_err(refused)?;
    }
    Ok(())
}

/// All certificates of a file, one at least.
fn certificates(file: TlsFile, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| not_pem(file, error))?;
    if found.is_empty() { Err(wrong(file, FileProblem::Missing)) } else { Ok(found) }
}

fn not_pem(file: TlsFile, error: rustls::pki_types::pem::Error) -> TlsError {
    match error {
        rustls::pki_types::pem::Error::NoItemsFound => wrong(file, FileProblem::Missing),
        error => wrong(file, FileProblem::Damaged(error.to_string())),
    }
}

fn wrong(file: TlsFile, problem: FileProblem) -> TlsError {
    TlsError { file, problem }
}
