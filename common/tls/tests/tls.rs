//! Who is let in and who is not, and what both sides say then; and files that are of no use.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use phalanx_tls::{FileProblem, Role, Tls, TlsFailure, TlsFile, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::{ClientConfig, ClientConnection, ConfigBuilder, RootCertStore, ServerConnection, pki_types};

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, in PEM.
    fn sign(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let issuer: &Issuer<'_, KeyPair> = &self.0;
        [params.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem()]
    }

    fn tls(&self, role: Role) -> Tls {
        let [certificate, key] = self.sign(role.name(), |_| ());
        Tls::new(role, self.pem().as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap()
    }
}

fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2001, 1, 1);
}

fn not_begun(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(4001, 1, 1);
    params.not_after = date_time_ymd(4002, 1, 1);
}

/// What `Tls::new` makes of a worker's files.
fn refused(ca: &str, certificate: &str, key: &str) -> (TlsFile, FileProblem) {
    let error = Tls::new(Role::Worker, ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap_err();
    (error.file, error.problem)
}

/// A stranger's settings, that trust `ca` and present what they like.
fn stranger(ca: &Ca) -> ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots.add(ca.0.der().clone()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
}

fn presenting(ca: &Ca, [certificate, key]: [String; 2]) -> Arc<ClientConfig> {
    use pki_types::pem::PemObject as _;
    let certificate = pki_types::CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    Arc::new(stranger(ca).with_client_auth_cert(vec![certificate], key).unwrap())
}

/// How a handshake ends for the client and for the server.
fn shake(client: Arc<ClientConfig>, server: &Tls, name: Role) -> [Result<(), TlsFailure>; 2] {
    let mut client = ClientConnection::new(client, name.server_name()).unwrap();
    let mut server = ServerConnection::new(server.server()).unwrap();
    let mut ends = [Ok(()), Ok(())];
    for _ in 0..4 {
        let mut words = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut words).unwrap();
        }
        let mut words = &words[..];
        while !words.is_empty() && ends[1].is_ok() {
            server.read_tls(&mut words).unwrap();
            ends[1] = server.process_new_packets().map(|_| ()).map_err(TlsFailure::from);
        }
        let mut words = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut words).unwrap();
        }
        let mut words = &words[..];
        while !words.is_empty() && ends[0].is_ok() {
            client.read_tls(&mut words).unwrap();
            ends[0] = client.process_new_packets().map(|_| ()).map_err(TlsFailure::from);
        }
    }
    let both = !client.is_handshaking() && !server.is_handshaking();
    assert!(both || ends.iter().any(Result::is_err), "it comes to an end");
    if ends.iter().all(Result::is_ok) {
        assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
    ends
}

#[test]
fn members_of_a_cluster_let_each_other_in() {
    let ca = Ca::new();
    let (worker, coordinator) = (ca.tls(Role::Worker), ca.tls(Role::Coordinator));
    assert_eq!(shake(worker.client(), &ca.tls(Role::Worker), Role::Worker), [Ok(()), Ok(())]);
    assert_eq!(shake(worker.client(), &coordinator, Role::Coordinator), [Ok(()), Ok(())]);
}

#[test]
fn who_has_no_certificate_of_a_worker_is_refused_and_told_why() {
    let (ca, other) = (Ca::new(), Ca::new());
    let server = ca.tls(Role::Worker);
    let told = |certificate: Option<[String; 2]>| {
        let config = match certificate {
            Some(certificate) => presenting(&ca, certificate),
            None => Arc::new(stranger(&ca).with_no_client_auth()),
        };
        shake(config, &server, Role::Worker).map(Result::unwrap_err)
    };
    let worker = Role::Worker.name();
    let [client, server] = told(None);
    assert_eq!((client, server), (TlsFailure::Refused("there was none"), TlsFailure::NoCertificate));
    let [client, server] = told(Some(other.sign(worker, |_| ())));
    assert_eq!((client, server), (TlsFailure::Refused("it has another CA"), TlsFailure::Issuer));
    let [client, server] = told(Some(ca.sign(worker, expired)));
    assert!(matches!(client, TlsFailure::Refused(_)), "{client}");
    assert_eq!(server, TlsFailure::Expired);
    let [_, server] = told(Some(ca.sign(worker, not_begun)));
    assert_eq!(server, TlsFailure::NotYetValid);
    let [client, server] = told(Some(ca.sign(Role::Coordinator.name(), |_| ())));
    assert_eq!(client, TlsFailure::Refused("it is for another name, or damaged"));
    assert_eq!(server, TlsFailure::Name { expected: worker.to_owned() });
}

#[test]
fn a_worker_refuses_who_is_not_what_it_looks_for() {
    let (ca, other) = (Ca::new(), Ca::new());
    let client = || ca.tls(Role::Worker).client();
    let [client_end, server_end] = shake(client(), &ca.tls(Role::Worker), Role::Coordinator);
    assert_eq!(client_end, Err(TlsFailure::Name { expected: Role::Coordinator.name().to_owned() }));
    assert!(matches!(server_end, Err(TlsFailure::Refused(_))), "{server_end:?}");
    let [client_end, server_end] = shake(client(), &other.tls(Role::Worker), Role::Worker);
    assert_eq!(client_end, Err(TlsFailure::Issuer));
    assert_eq!(server_end, Err(TlsFailure::Refused("it has another CA")));
}

#[test]
fn files_that_cannot_work_are_named_at_the_start() {
    let (ca, other) = (Ca::new(), Ca::new());
    let [certificate, key] = ca.sign(Role::Worker.name(), |_| ());
    let check = |ca: &str, certificate: &str, key: &str, file: TlsFile, wanted: &str| {
        let (found, problem) = refused(ca, certificate, key);
        assert_eq!(found, file, "{problem}");
        assert!(problem.to_string().contains(wanted), "{problem}");
    };
    let pem = ca.pem();
    check("", &certificate, &key, TlsFile::Ca, "none in it");
    check(&pem, &key, &key, TlsFile::Certificate, "none in it");
    check(&pem, &certificate, &certificate, TlsFile::Key, "none in it");
    check(&pem, &certificate[..200], &key, TlsFile::Certificate, "damaged");
    check(&pem, &certificate, &key.replace("PRIVATE", "WRONG"), TlsFile::Key, "none in it");
    check(&pem, &certificate, &KeyPair::generate().unwrap().serialize_pem(), TlsFile::Key, "another");
    check(&other.pem(), &certificate, &key, TlsFile::Certificate, "not signed by this cluster's CA");
    let sign = |name: &str, change: fn(&mut CertificateParams)| ca.sign(name, change);
    for ([certificate, key], wanted) in [
        (sign(Role::Worker.name(), expired), "has expired"),
        (sign(Role::Worker.name(), not_begun), "not valid yet"),
        (sign(Role::Coordinator.name(), |_| ()), "name phalanx-worker"),
    ] {
        check(&pem, &certificate, &key, TlsFile::Certificate, wanted);
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let nowhere = |name: &str| std::path::Path::new("/nowhere").join(name);
    let files =
        TlsFiles { ca: nowhere("ca.pem"), certificate: nowhere("worker.pem"), key: nowhere("worker.key") };
    let error = files.load(Role::Worker).unwrap_err();
    assert!(
        error.to_string().starts_with("/nowhere/ca.pem cannot be used as the CA's certificate"),
        "{error}"
    );
}
