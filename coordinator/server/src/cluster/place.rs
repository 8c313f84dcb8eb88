//! Where etcd is: the URL of the state, and the files and names that open it.

use std::{fmt, fs, path::Path};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

use crate::{
    config::{EtcdAccess, Password},
    server::ETCD,
    state::StateError,
};

/// The port of etcd where the URL has none.
const PORT: u16 = 2379;

/// The most endpoints.
const ENDPOINTS_MAX: usize = 16;

/// What keys begin with where the URL says nothing.
const PREFIX: &str = "/phalanx";

/// Where the state is in etcd. Its user's password is not printed.
#[derive(Clone)]
pub(crate) struct Place {
    /// The URL, as errors name it.
    pub(crate) url: String,
    /// URLs of etcd's members.
    pub(crate) endpoints: Vec<String>,
    /// What the keys begin with, `/` at the end included.
    pub(crate) prefix: String,
    /// How connections are made, without the user.
    pub(crate) options: ConnectOptions,
    pub(crate) user: Option<(String, Password)>,
}

impl Place {
    /// The place that `url` names: `etcd://HOST:PORT,HOST:PORT/PREFIX`.
    pub(crate) fn new(url: &str, access: &EtcdAccess) -> Result<Self, StateError> {
        let (endpoints, prefix) = parse(url).map_err(|expected| {
            // A password in it was a mistake already; it is not printed on top.
            let url =
                url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, rest)| format!("{ETCD}…@{rest}"));
            StateError::Url { url, expected }
        })?;
        let scheme = if access.ca.is_some() { "https" } else { "http" };
        let endpoints = endpoints.into_iter().map(|endpoint| format!("{scheme}://{endpoint}")).collect();
        let (options, user) = (options(url, access)?, access.user.clone());
        Ok(Self { url: url.to_owned(), endpoints, prefix, options, user })
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.url).finish()
    }
}

/// The endpoints as `host:port`, and the prefix with its `/` at the end; or what was expected.
fn parse(url: &str) -> Result<(Vec<String>, String), &'static str> {
    let rest = url.strip_prefix(ETCD).ok_or("expected etcd://HOST:PORT,…/PREFIX")?;
    if rest.contains('@') {
        return Err(
            "user and password go elsewhere: --etcd-user, and PHALANX_ETCD_PASSWORD or --etcd-password-file",
        );
    }
    let (hosts, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let endpoints: Option<Vec<String>> = hosts.split(',').map(endpoint).collect();
    let endpoints = endpoints.ok_or("expected etcd://HOST:PORT,…/PREFIX, each host a name or an address")?;
    if endpoints.len() > ENDPOINTS_MAX {
        return Err("expected 16 endpoints at most");
    }
    let prefix = prefix.trim_matches('/');
    if !prefix.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) {
        return Err("expected a prefix of letters, digits, `-`, `_`, `.` and `/`");
    }
    let prefix = if prefix.is_empty() { format!("{PREFIX}/") } else { format!("/{prefix}/") };
    Ok((endpoints, prefix))
}

/// `host:port` of one endpoint.
fn endpoint(text: &str) -> Option<String> {
    // The port of an address of IPv6 stands behind its bracket.
    let has_port = text.rfind(':') > text.rfind(']');
    let (host, port) = if has_port { text.rsplit_once(':')? } else { (text, "") };
    let port = if has_port { port.parse().ok().filter(|port| *port > 0)? } else { PORT };
    let in_brackets = host.starts_with('[') && host.ends_with(']') && host.len() > 2;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let inner = if in_brackets { &host[1..host.len() - 1] } else { host };
    let fits = inner.chars().all(|c| is_name(c) || (in_brackets && c == ':'));
    (!inner.is_empty() && fits).then(|| format!("{host}:{port}"))
}

fn options(url: &str, access: &EtcdAccess) -> Result<ConnectOptions, StateError> {
    let read = |path: &Path| {
        fs::read(path).map_err(|error| StateError::Refused {
            place: url.to_owned(),
            reason: format!("{} cannot be read: {error}", path.display()),
        })
    };
    let mut options = ConnectOptions::new().with_auto_token_refresh(true).with_require_leader(true);
    if let Some(ca) = &access.ca {
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca)?));
        if let Some((certificate, key)) = &access.certificate {
            tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
        }
        options = options.with_tls(tls);
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_endpoints_and_a_prefix() {
        let check = |url: &str, endpoints: &[&str], prefix: &str| {
            let place = Place::new(url, &EtcdAccess::default()).expect(url);
            assert_eq!(
                (place.endpoints, place.prefix),
                (endpoints.iter().map(|e| format!("http://{e}")).collect(), prefix.to_owned())
            );
        };
        check("etcd://host", &["host:2379"], "/phalanx/");
        check("etcd://a:1,b.c:2/", &["a:1", "b.c:2"], "/phalanx/");
        check(
            "etcd://10.0.0.1:2379,[::1]:5,[::2]/teams/vision/",
            &["10.0.0.1:2379", "[::1]:5", "[::2]:2379"],
            "/teams/vision/",
        );
    }

    #[test]
    fn what_is_no_such_url_says_what_is_expected() {
        for wrong in [
            "etcd://",
            "etcd:///x",
            "etcd://a,,b",
            "etcd://a:0",
            "etcd://a:x",
            "etcd://a b",
            "etcd://::1",
            "etcd://a/p?q",
        ] {
            let error = Place::new(wrong, &EtcdAccess::default()).expect_err(wrong);
            assert!(error.to_string().contains("expected"), "{error}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_refused_and_not_printed() {
        let error = Place::new("etcd://me:secret@host/p", &EtcdAccess::default()).expect_err("refused");
        let said = format!("{error} {error:?}");
        assert!(said.contains("--etcd-user") && !said.contains("secret"), "{said}");
        let user = Some(("me".to_owned(), Password::new("secret")));
        assert!(!format!("{:?}", EtcdAccess { user, ..EtcdAccess::default() }).contains("secret"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let ca = Some("/nowhere/ca.pem".into());
        let error =
            Place::new("etcd://host", &EtcdAccess { ca, ..EtcdAccess::default() }).expect_err("refused");
        assert!(error.to_string().contains("/nowhere/ca.pem"), "{error}");
    }
}
