//! A cluster's CA, and certificates that it signs.

use std::sync::OnceLock;

use phalanx_collective::{Role, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair};

/// A CA.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("ring makes keys");
        Self(CertifiedIssuer::self_signed(params, key).expect("it signs itself"))
    }

    /// The cluster of all tests that need one only.
    pub(crate) fn of_the_tests() -> &'static Self {
        static CA: OnceLock<Ca> = OnceLock::new();
        CA.get_or_init(Self::new)
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A worker's certificate and its key in one file.
    pub(crate) fn worker_pem(&self, change: impl FnOnce(&mut CertificateParams)) -> String {
        let key = KeyPair::generate().expect("ring makes keys");
        let mut params = CertificateParams::new(vec![Role::Worker.name().to_owned()]).expect("a name");
        change(&mut params);
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        params.signed_by(&key, issuer).expect("it signs").pem() + &key.serialize_pem()
    }

    /// The settings of a worker of this cluster.
    pub(crate) fn worker(&self) -> Tls {
        worker(&self.pem(), &self.worker_pem(|_| ()))
    }
}

/// The settings of a worker with these files.
pub(crate) fn worker(ca: &str, own: &str) -> Tls {
    Tls::new(Role::Worker, ca.as_bytes(), own.as_bytes(), own.as_bytes()).expect("they fit")
}
