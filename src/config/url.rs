//! The URL of an upstream.
//!
//! Reads what Redis's own tools and client libraries read: `redis://[user:password@]host[:port][/database]` and
//! `rediss://` as registered with IANA, `valkey://` and `valkeys://` as their synonyms, `unix:///path[?db=number]` as
//! redis-py has it, and the words `embedded` and `disabled`. Guarantees that no error repeats any part of the URL,
//! which may hold a password, and that escapes (`%40`) are decoded.

use super::secret::Secret;
use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// The port of Redis when the URL names none.
const PORT_DEFAULT: u16 = 6379;

/// The highest database: `SELECT` in Redis's `db.c` takes a C `int`.
const DATABASE_MAX: u32 = i32::MAX.unsigned_abs();

/// The longest host: a domain name of RFC 1035.
const HOST_BYTES_MAX: usize = 253;

/// The longest path of a Unix socket: `sun_path` on Linux, without its NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What an error ends with when the form as a whole is not understood.
const FORMS: &str =
    "redis://host:6379, redis://user:password@host:6379/0, rediss://host:6380, unix:///path, embedded or disabled";

/// Which Redis the proxy stands before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTarget {
    /// The store inside the process.
    Embedded,
    /// Nothing: every get is a miss.
    Disabled,
    /// A Redis over TCP.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
    /// A Redis over a Unix socket.
    Unix {
        /// Absolute, at most 107 bytes.
        path: PathBuf,
    },
    /// A Redis over TCP with TLS.
    Tls {
        /// A name, an IPv4 address, or an IPv6 address without brackets.
        host: String,
        /// From 1.
        port: u16,
    },
}

impl fmt::Display for UpstreamTarget {
    /// The URL without user, password and database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match self {
            Self::Embedded => return f.write_str("embedded"),
            Self::Disabled => return f.write_str("disabled"),
            Self::Unix { path } => return write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port } => ("redis", host, port),
            Self::Tls { host, port } => ("rediss", host, port),
        };
        if host.contains(':') { write!(f, "{scheme}://[{host}]:{port}") } else { write!(f, "{scheme}://{host}:{port}") }
    }
}

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct UpstreamUrl {
    pub(super) target: UpstreamTarget,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
}

/// Reads a URL; the error is what was expected in its place.
pub(super) fn parse(text: &str) -> Result<UpstreamUrl, String> {
    let bare = |target| Ok(UpstreamUrl { target, username: None, password: None, database: 0 });
    let Some((scheme, rest)) = text.split_once("://") else {
        return match text {
            "embedded" => bare(UpstreamTarget::Embedded),
            "disabled" => bare(UpstreamTarget::Disabled),
            _ => Err(format!("expected one of {FORMS}")),
        };
    };
    match scheme.to_ascii_lowercase().as_str() {
        "redis" | "valkey" => server(rest, |host, port| UpstreamTarget::Tcp { host, port }),
        "rediss" | "valkeys" => server(rest, |host, port| UpstreamTarget::Tls { host, port }),
        "unix" => socket(rest),
        "redis+sentinel" => Err(unsupported("redis+sentinel://")),
        "redis+cluster" => Err(unsupported("redis+cluster://")),
        _ => Err(format!("the scheme is not known; expected one of {FORMS}")),
    }
}

fn unsupported(scheme: &str) -> String {
    format!("{scheme} is not supported yet; expected one of {FORMS}")
}

/// What stands behind `redis://`.
fn server(rest: &str, target: impl FnOnce(String, u16) -> UpstreamTarget) -> Result<UpstreamUrl, String> {
    if rest.contains(['?', '#']) {
        return Err("expected nothing behind the database; a ? or # in a password is written %3F or %23".to_owned());
    }
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    // The last one, since it can't stand in a host: passwords with a bare @ are common.
    let (user_info, address) = match authority.rsplit_once('@') {
        Some((user_info, address)) => (Some(user_info), address),
        None => (None, authority),
    };
    let (host, port) = address_of(address)?;
    let (username, password) = user_info.map_or(Ok((None, None)), credentials)?;
    Ok(UpstreamUrl { target: target(host, port), username, password, database: database_of(database)? })
}

/// What stands behind `unix://`.
fn socket(rest: &str) -> Result<UpstreamUrl, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let database = match query {
        "" => 0,
        query => {
            let database = query.strip_prefix("db=").filter(|database| !database.is_empty());
            database_of(database.ok_or("expected nothing behind the path but ?db=number")?)?
        }
    };
    let path = decoded_text(path)?;
    if !path.starts_with('/') || path.contains('\0') || path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!(
            "expected an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, for example unix:///run/redis.sock"
        ));
    }
    let target = UpstreamTarget::Unix { path: PathBuf::from(path) };
    Ok(UpstreamUrl { target, username: None, password: None, database })
}

/// The user and the password, of which either may be absent.
fn credentials(user_info: &str) -> Result<(Option<String>, Option<Secret>), String> {
    let (username, password) = match user_info.split_once(':') {
        Some((username, password)) => (username, Some(password)),
        None => (user_info, None),
    };
    let username = Some(decoded_text(username)?).filter(|name| !name.is_empty());
    let password = password.map(decoded).transpose()?.filter(|password| !password.is_empty());
    Ok((username, password.map(Secret::new)))
}

/// The host and the port; IPv6 in brackets, and without them afterwards.
fn address_of(address: &str) -> Result<(String, u16), String> {
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, behind) = bracketed.split_once(']').ok_or("expected a ] behind the IPv6 address")?;
            if host.parse::<Ipv6Addr>().is_err() {
                return Err("expected an IPv6 address between the brackets, for example [::1]".to_owned());
            }
            let port = behind.strip_prefix(':').or_else(|| behind.is_empty().then_some(""));
            (host, port.ok_or("expected : and a port behind the brackets")?)
        }
        None => {
            let (host, port) = address.split_once(':').unwrap_or((address, ""));
            if !is_host(host) {
                return Err("expected a host name or an address, for example redis://cache.internal:6379; in a \
                            password / is written %2F, and an IPv6 address stands in brackets"
                    .to_owned());
            }
            (host, port)
        }
    };
    let port = match port {
        "" => PORT_DEFAULT,
        port => {
            let number = port.parse().ok().filter(|number| *number != 0 && !port.starts_with('+'));
            number.ok_or("expected a port from 1 to 65535 behind the host")?
        }
    };
    Ok((host.to_owned(), port))
}

/// Whether this can be a host name or an IPv4 address. Underscores are no part of a host name by RFC 1123, but
/// container networks have them.
pub(super) fn is_host(text: &str) -> bool {
    let is_host_byte = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(is_host_byte)
}

fn database_of(text: &str) -> Result<u32, String> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    match text {
        "" => Ok(0),
        text => text.parse().ok().filter(|database| is_number && *database <= DATABASE_MAX).ok_or_else(|| {
            format!("expected a database from 0 to {DATABASE_MAX} behind the host; in a password / is written %2F")
        }),
    }
}

fn decoded_text(text: &str) -> Result<String, String> {
    String::from_utf8(decoded(text)?).map_err(|_| "expected UTF-8 behind its escapes".to_owned())
}

/// The bytes behind the escapes of RFC 3986, section 2.1. A percent sign that starts none is an error, since the
/// password would silently be another.
fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digit = |at: usize| behind.get(at).and_then(|&b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err("expected two hexadecimal digits behind every %; a % itself is written %25".to_owned());
        };
        bytes.extend(u8::try_from(high * 16 + low));
        rest = &behind[2..];
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(host: &str, port: u16) -> UpstreamTarget {
        UpstreamTarget::Tcp { host: host.to_owned(), port }
    }

    fn tls(host: &str, port: u16) -> UpstreamTarget {
        UpstreamTarget::Tls { host: host.to_owned(), port }
    }

    #[test]
    fn every_form_names_its_target_and_database() {
        let unix = |path: &str| UpstreamTarget::Unix { path: path.into() };
        let cases = [
            ("embedded", UpstreamTarget::Embedded, 0),
            ("disabled", UpstreamTarget::Disabled, 0),
            ("redis://cache", tcp("cache", 6379), 0),
            ("redis://cache/", tcp("cache", 6379), 0),
            ("REDIS://cache:7000/15", tcp("cache", 7000), 15),
            ("valkey://10.0.0.1:1", tcp("10.0.0.1", 1), 0),
            ("redis://[::1]", tcp("::1", 6379), 0),
            ("redis://[::1]:65535/2", tcp("::1", 65535), 2),
            ("rediss://redis_1.internal:6380/3", tls("redis_1.internal", 6380), 3),
            ("valkeys://cache", tls("cache", 6379), 0),
            ("unix:///run/redis.sock", unix("/run/redis.sock"), 0),
            ("unix:///run/redis%20a.sock?db=4", unix("/run/redis a.sock"), 4),
        ];
        for (text, target, database) in cases {
            let expected = UpstreamUrl { target, username: None, password: None, database };
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn user_and_password_are_decoded_and_end_at_the_last_at() {
        let cases = [
            ("redis://:pw@cache", None, Some("pw")),
            ("redis://app:pw@cache", Some("app"), Some("pw")),
            ("redis://app@cache", Some("app"), None),
            ("redis://app:@cache", Some("app"), None),
            ("redis://@cache", None, None),
            ("redis://a%3Ab:p%40%2F%25@cache", Some("a:b"), Some("p@/%")),
            ("redis://app:p@ss:w@cache", Some("app"), Some("p@ss:w")),
        ];
        for (text, username, password) in cases {
            let url = parse(text).unwrap();
            let exposed = url.password.as_ref().map(Secret::expose);
            assert_eq!((url.username.as_deref(), exposed), (username, password.map(str::as_bytes)), "{text}");
            assert_eq!(url.target, tcp("cache", 6379), "{text}");
        }
    }

    #[test]
    fn what_is_no_url_says_what_was_expected() {
        let cases = [
            ("", "expected one of"),
            ("cache:6379", "expected one of"),
            ("Embedded", "expected one of"),
            ("http://cache", "the scheme is not known"),
            ("redis+sentinel://a:26379,b:26379/primary", "not supported yet"),
            ("redis+cluster://a:6379,b:6379", "not supported yet"),
            ("redis://", "expected a host name"),
            ("redis://:6379", "expected a host name"),
            ("redis://a b", "expected a host name"),
            ("redis://::1", "expected a host name"),
            ("redis://[::1", "expected a ]"),
            ("redis://[::g]", "expected an IPv6 address"),
            ("redis://[::1]6379", "expected : and a port"),
            ("redis://cache:0", "expected a port"),
            ("redis://cache:65536", "expected a port"),
            ("redis://cache:+1", "expected a port"),
            ("redis://cache/x", "expected a database"),
            ("redis://cache/+1", "expected a database"),
            ("redis://cache/2147483648", "expected a database"),
            ("redis://cache/0/1", "expected a database"),
            ("redis://cache?db=1", "expected nothing behind"),
            ("redis://:100%@cache", "two hexadecimal digits"),
            ("redis://%ff:x@cache", "UTF-8"),
            ("unix://run/redis.sock", "expected an absolute path"),
            ("unix://", "expected an absolute path"),
            ("unix:///a%00b", "expected an absolute path"),
            ("unix:///a?database=1", "?db="),
            ("unix:///a?db=", "?db="),
        ];
        for (text, part) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_error_repeats_a_password(before in "[a-z:/@?#%\\[\\]]{0,12}", after in "[a-z0-9:/@?#%\\[\\] ]{0,12}") {
            const PASSWORD: &str = "Xq7ZkW";
            for scheme in ["redis://", "rediss://", "unix://", "http://", "redis+cluster://", ""] {
                if let Err(error) = parse(&format!("{scheme}{before}{PASSWORD}{after}")) {
                    prop_assert!(!error.contains(PASSWORD), "{error}");
                }
            }
        }

        #[test]
        fn an_escaped_password_is_read_as_it_was(password in "\\PC{1,20}") {
            let escaped: String = password.bytes().map(|b| format!("%{b:02x}")).collect();
            let url = parse(&format!("redis://:{escaped}@cache/7")).unwrap();
            prop_assert_eq!(url.password.as_ref().map(Secret::expose), Some(password.as_bytes()));
            prop_assert_eq!(url.target, tcp("cache", 6379));
        }
    }
}
