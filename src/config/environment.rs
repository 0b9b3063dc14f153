//! The `FCA_PROXY_*` variables, which override the file.
//!
//! A variable names a key by its path in capitals, tables joined by two underscores: `FCA_PROXY_LIMITS__CLIENTS_MAX`.
//! A few have short names ([`SHORT_NAMES`]). An empty variable counts as not set, since that is what an unset one
//! becomes in a compose file. One that names no key is a fault, but for those that Kubernetes sets by itself for a
//! service called `fca-proxy`.
//!
//! Namespaces: in the name of a variable, a namespace stands in capitals, with `_` for `-` and `.`. It means the
//! namespace of the file that reads the same way, in whatever case that is written; where none does, a new one in
//! lower case. Two that read the same way are a fault, as the file alone can tell them apart.

use super::fault::Origin;
use super::report::Report;
use super::written::{Entry, Table, Value, find, put};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Environment variables by name.
pub type Environment = BTreeMap<OsString, OsString>;

/// What all of the program's variables begin with.
pub(super) const PREFIX: &str = "FCA_PROXY_";

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "FCA_PROXY_CONFIG";

/// Names without the prefix that stand for a path of another name.
const SHORT_NAMES: [(&str, &[&str]); 4] = [
    ("UPSTREAM", &["upstream", "url"]),
    ("UPSTREAM_PASSWORD", &["upstream", "password"]),
    ("LOG_LEVEL", &["log", "level"]),
    ("LOG_FORMAT", &["log", "format"]),
];

/// Puts what the environment says into the document.
pub(super) fn overlay(environment: &Environment, document: &mut Table, report: &mut Report) {
    for (variable, value) in environment {
        let Some(name) = variable.to_str().and_then(|variable| variable.strip_prefix(PREFIX)) else { continue };
        if value.is_empty() || is_service_link(name, value) || variable.to_str() == Some(FILE_VARIABLE) {
            continue;
        }
        let origin = Origin::Environment(format!("{PREFIX}{name}"));
        let Some(value) = value.to_str() else {
            report.fault(origin, "", "expected UTF-8 text".to_owned());
            continue;
        };
        match path(name, document) {
            Ok(path) => set(document, &path, Entry::text(value, origin), report),
            Err(text) => report.fault(origin, "", text),
        }
    }
}

fn set(document: &mut Table, path: &[String], entry: Entry, report: &mut Report) {
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    if let Some(Origin::Environment(other)) = find(document, &path).map(|entry| &entry.origin) {
        report.fault(entry.origin, &path.join("."), format!("{other} gives it already; leave one of them"));
    } else if put(document, &path, entry).is_err() {
        // A value stands where a table is expected, which is reported when that table is read.
    }
}

/// The path of the key that a variable means.
fn path(name: &str, document: &Table) -> Result<Vec<String>, String> {
    if let Some((_, path)) = SHORT_NAMES.iter().find(|(short, _)| *short == name) {
        return Ok(path.iter().map(|&key| key.to_owned()).collect());
    }
    let words: Vec<&str> = name.split("__").collect();
    match words.as_slice() {
        [table, middle @ .., key] if table.eq_ignore_ascii_case("namespaces") && !middle.is_empty() => {
            Ok(vec![table.to_ascii_lowercase(), namespace(&middle.join("__"), document)?, key.to_ascii_lowercase()])
        }
        words => Ok(words.iter().map(|word| word.to_ascii_lowercase()).collect()),
    }
}

/// The name of the namespace that a part of a variable's name means.
fn namespace(word: &str, document: &Table) -> Result<String, String> {
    let in_capitals = |name: &str| name.to_ascii_uppercase().replace(['-', '.'], "_");
    let named = match document.get("namespaces").map(|entry| &entry.value) {
        Some(Value::Table(named)) => named,
        _ => &Table::new(),
    };
    let meant: Vec<&String> = named.keys().filter(|name| in_capitals(name) == in_capitals(word)).collect();
    match meant.as_slice() {
        [] => Ok(word.to_ascii_lowercase()),
        [name] => Ok((*name).clone()),
        names if names.iter().any(|name| *name == word) => Ok(word.to_owned()),
        [first, second, ..] => {
            Err(format!("the namespaces {first} and {second} read the same in capitals; set this in the file"))
        }
    }
}

/// Whether Kubernetes sets a variable of this name (without the prefix) for services called `fca-proxy` or
/// `fca-proxy-*`: "Discovering services" in its documentation. A pod beside such a service must start all the same.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let words: Vec<&str> = name.split('_').collect();
    let is_address =
        |port: &str, protocol: &str| port.parse::<u16>().is_ok() && matches!(protocol, "TCP" | "UDP" | "SCTP");
    match words.as_slice() {
        [.., "SERVICE", "HOST" | "PORT"] => true,
        [.., "PORT", port, protocol, "PROTO" | "PORT" | "ADDR"] | [.., "PORT", port, protocol]
            if is_address(port, protocol) =>
        {
            true
        }
        // A person may well try `FCA_PROXY_PORT=6380`, and is to hear that there is no such key.
        [.., "PORT"] => value.to_str().is_some_and(|value| value.contains("://")),
        words => words.windows(2).any(|pair| pair == ["SERVICE", "PORT"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_kubernetes_sets_are_none_of_ours() {
        let links = [
            ("SERVICE_HOST", "10.0.0.1"),
            ("SERVICE_PORT", "6380"),
            ("SERVICE_PORT_REDIS", "6380"),
            ("PORT", "tcp://10.0.0.1:6380"),
            ("PORT_6380_TCP", "tcp://10.0.0.1:6380"),
            ("PORT_6380_TCP_PROTO", "tcp"),
            ("PORT_6380_TCP_PORT", "6380"),
            ("PORT_6380_TCP_ADDR", "10.0.0.1"),
            ("ADMIN_SERVICE_HOST", "10.0.0.1"),
            ("ADMIN_PORT", "udp://10.0.0.1:9180"),
            ("ADMIN_PORT_9180_TCP_ADDR", "10.0.0.1"),
        ];
        for (name, value) in links {
            assert!(is_service_link(name, OsStr::new(value)), "{name}");
        }
        for name in ["PORT", "PORT_X_TCP", "PORT_6380_HTTP", "LISTEN", "UPSTREAM", ""] {
            assert!(!is_service_link(name, OsStr::new("6380")), "{name}");
        }
    }

    #[test]
    fn no_key_of_ours_is_taken_for_one_of_kubernetes() {
        let keys = super::super::Config::keys();
        assert!(keys.len() > 30, "{keys:?}");
        for key in keys {
            let name = key.to_uppercase().replace('.', "__");
            assert!(!is_service_link(&name, OsStr::new("tcp://10.0.0.1:6380")), "{name}");
        }
    }
}
