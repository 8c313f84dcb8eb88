//! Why a connection over TLS was not made, or ended. Each reads after the name of the
//! other side: "rank 1: …".

use std::io;

use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};

/// Why a connection over TLS was not made, or ended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsFailure {
    /// Another CA has signed its certificate.
    #[error("its certificate is not signed by this cluster's CA")]
    Issuer,
    /// Its certificate is over.
    #[error("its certificate has expired")]
    Expired,
    /// Its certificate has not begun.
    #[error("its certificate is not valid yet: compare the clocks")]
    NotYetValid,
    /// Its certificate is for something else.
    #[error("its certificate is not for the name {expected}")]
    Name {
        /// The name that it should have.
        expected: String,
    },
    /// It has none.
    #[error("it presents no certificate")]
    NoCertificate,
    /// It does not let this side in.
    #[error("it refuses this side's certificate: {0}")]
    Refused(&'static str),
    /// It says something else than TLS.
    #[error("it does not speak TLS: give both sides certificates of one CA, or neither")]
    Plain,
    /// It has closed the connection before it said anything.
    #[error(
        "it closed the connection during the TLS handshake: does it speak TLS? \
         Give both sides certificates of one CA, or neither"
    )]
    Closed,
    /// Anything else: damaged bytes, a certificate for another purpose.
    #[error("{0}")]
    Other(Error),
}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(problem) => certificate(problem),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::Plain,
            Error::AlertReceived(alert) => alert_received(alert),
            other => Self::Other(other),
        }
    }
}

impl From<TlsFailure> for io::Error {
    fn from(failure: TlsFailure) -> Self {
        Self::new(io::ErrorKind::InvalidData, failure)
    }
}

impl TlsFailure {
    /// The failure that an error of a driver's holds, if it does.
    pub fn of(error: &io::Error) -> Option<Self> {
        let held = error.get_ref()?;
        let own = held.downcast_ref::<Self>().cloned();
        own.or_else(|| held.downcast_ref::<Error>().cloned().map(Self::from))
    }

    /// Why a handshake has failed, where its driver says so.
    pub fn of_handshake(error: io::Error) -> io::Error {
        match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::Closed.into()
            }
            _ => Self::of(&error).map_or(error, io::Error::from),
        }
    }
}

fn certificate(problem: CertificateError) -> TlsFailure {
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFailure::Issuer,
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsFailure::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            TlsFailure::NotYetValid
        }
        CertificateError::NotValidForNameContext { expected, .. } => {
            TlsFailure::Name { expected: expected.to_str().into_owned() }
        }
        other => TlsFailure::Other(Error::InvalidCertificate(other)),
    }
}

fn alert_received(alert: AlertDescription) -> TlsFailure {
    TlsFailure::Refused(match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "it has another CA",
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet there",
        AlertDescription::CertificateRequired => "there was none",
        AlertDescription::BadCertificate => "it is for another name, or damaged",
        AlertDescription::UnsupportedCertificate => "it is for another purpose",
        other => return TlsFailure::Other(Error::AlertReceived(other)),
    })
}
