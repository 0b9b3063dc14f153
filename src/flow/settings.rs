//! What a worker needs of the configuration for each request, in the form in which it needs it.
//!
//! Guarantees that a worker reads one consistent set: a reload swaps the whole. Leaves checking to `config`.

use super::namespace::Namespace;
use super::spellings::Spellings;
use crate::config::{Config, Limits, OnUnreachable, QuestionMark, UnknownNamespaces};
use crate::key::KeySecret;
use crate::metrics::{NamespaceLabel, Registry};
use crate::resp::{ReplyError, RequestLimits};
use hashbrown::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// One worker's copy of what can be reloaded, and of what it needs besides.
pub struct Settings {
    /// Bounds on clients and their requests.
    pub limits: Limits,
    /// The bounds that the request scanner keeps.
    pub request_limits: RequestLimits,
    /// How long a request may take in all.
    pub timeout: Duration,
    /// What forwarded commands are answered while the upstream is gone.
    pub on_unreachable: OnUnreachable,
    /// Operators' commands that clients may send, in upper case.
    pub admin_commands: Vec<&'static str>,
    /// How many databases the embedded store has.
    pub embedded_databases: u32,
    /// What each entry's key begins with.
    pub key_prefix: Box<[u8]>,
    /// Questions whose keys are known.
    pub(super) spellings: Spellings,
    unknown_namespaces: UnknownNamespaces,
    named: HashMap<Box<[u8]>, Rc<Namespace>, foldhash::fast::RandomState>,
    defaults: Rc<Namespace>,
}

impl Settings {
    /// The settings that a configuration amounts to.
    pub fn new(config: &Config, registry: &Registry) -> Self {
        let namespace = |label, written: &crate::config::Namespace| {
            Rc::new(Namespace {
                label,
                enabled: written.enabled,
                ttl: written.ttl,
                ttl_max: written.ttl_max,
                twins: written.question_mark == QuestionMark::Same,
                secret: written.key_secret.as_ref().map(|secret| KeySecret::new(secret.expose().to_vec())),
            })
        };
        let named = config
            .namespaces
            .named()
            .map(|(name, written)| (name.as_bytes().into(), namespace(registry.namespace(name), written)))
            .collect();
        let limits = config.limits.clone();
        Self {
            request_limits: RequestLimits { args_max: limits.request_args_max, bytes_max: limits.request_bytes_max },
            limits,
            timeout: config.upstream.timeout,
            on_unreachable: config.upstream.on_unreachable,
            admin_commands: config.upstream.admin_commands.clone(),
            embedded_databases: config.embedded.databases,
            key_prefix: config.key_prefix.as_bytes().into(),
            spellings: Spellings::default(),
            unknown_namespaces: config.unknown_namespaces,
            named,
            defaults: namespace(NamespaceLabel::OTHER, config.namespaces.defaults()),
        }
    }

    /// What holds for a namespace; its name was checked to be one.
    ///
    /// # Errors
    /// The configuration does not name it, and says to refuse such.
    pub fn namespace(&self, name: &[u8]) -> Result<&Rc<Namespace>, ReplyError> {
        match (self.named.get(name), self.unknown_namespaces) {
            (Some(namespace), _) => Ok(namespace),
            (None, UnknownNamespaces::Defaults) => Ok(&self.defaults),
            (None, UnknownNamespaces::Reject) => Err(ReplyError::new(format!(
                "ERR unknown namespace '{}': the configuration does not name it",
                String::from_utf8_lossy(name)
            ))),
        }
    }
}
