//! What a configuration amounts to, in one line for people.
//!
//! Guarantees that no secret is in it, and that it is not longer for a thousand namespaces than for some.

use super::quantity::show_bytes;
use super::{Config, UnknownNamespaces, UpstreamTarget};
use std::net::SocketAddr;

/// The most namespaces that are named; beyond it their number is told.
const NAMESPACES_SHOWN_MAX: usize = 8;

impl Config {
    /// One line: where it listens, how many workers, which upstream, how much near it, which namespaces.
    pub fn summary(&self) -> String {
        let listen: Vec<String> = self.listen.iter().map(SocketAddr::to_string).collect();
        let admin = self.admin_listen.map_or_else(|| "off".to_owned(), |address| format!("on {address}"));
        let (workers, plural) = (self.workers, if self.workers.get() == 1 { "" } else { "s" });
        format!(
            "listen on {}; metrics {admin}; {workers} worker{plural}; upstream {}{}; namespaces {}",
            listen.join(" and "),
            self.upstream_summary(),
            self.near_cache_summary(),
            self.namespace_summary(),
        )
    }

    fn upstream_summary(&self) -> String {
        let upstream = &self.upstream;
        let login = match (&upstream.username, &upstream.password) {
            (Some(username), _) => format!(" as {username}"),
            (None, Some(_)) => " with a password".to_owned(),
            (None, None) => String::new(),
        };
        match &upstream.target {
            UpstreamTarget::Disabled => "disabled".to_owned(),
            UpstreamTarget::Embedded => format!("embedded, {}", show_bytes(self.embedded.memory)),
            server => format!("{server}, database {}{login}", upstream.database),
        }
    }

    /// Nothing where no server is behind the proxy, for there is no near cache either.
    fn near_cache_summary(&self) -> String {
        match (self.near_cache(), &self.upstream.target) {
            (Some(near_cache), _) => format!("; near cache {}", show_bytes(near_cache.memory)),
            (None, UpstreamTarget::Disabled | UpstreamTarget::Embedded) => String::new(),
            (None, _) => "; near cache off".to_owned(),
        }
    }

    fn namespace_summary(&self) -> String {
        let names: Vec<&str> = self.namespaces.named().map(|(name, _)| name).collect();
        let shown = names.len().min(NAMESPACES_SHOWN_MAX);
        let mut parts: Vec<String> = names[..shown].iter().map(|&name| name.to_owned()).collect();
        if names.len() > shown {
            parts.push(format!("{} more", names.len() - shown));
        }
        parts.push(match (self.unknown_namespaces, names.len()) {
            (UnknownNamespaces::Defaults, 0) => "any".to_owned(),
            (UnknownNamespaces::Defaults, _) => "any other".to_owned(),
            (UnknownNamespaces::Reject, 0) => "none at all".to_owned(),
            (UnknownNamespaces::Reject, _) => "no other".to_owned(),
        });
        parts.join(", ")
    }
}
