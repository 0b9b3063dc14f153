//! The table of commands as the server itself documents it: COMMAND DOCS, read into a tree of arguments.
//!
//! Every command and every subcommand is one [`Command`]. What a documented syntax does not say (how many keys follow
//! `numkeys`, what a score looks like) is known to the sample next door.

use crate::support::client::Client;
use crate::support::value::Value;
use std::collections::HashMap;

/// A command or subcommand.
pub(super) struct Command {
    /// As it is sent: `CLIENT GETNAME`.
    pub(super) name: String,
    /// What it is about: `list`, `server` …
    pub(super) group: String,
    /// In the order in which they are sent.
    pub(super) arguments: Vec<Argument>,
}

/// One documented argument.
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// The word before it.
    pub(super) token: Option<String>,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    /// Whether the token is said again before each.
    pub(super) multiple_token: bool,
}

/// What an argument is made of.
pub(super) enum Kind {
    /// The token alone.
    Token,
    Key,
    Text,
    Integer,
    Double,
    UnixTime,
    Pattern,
    /// One of these.
    OneOf(Vec<Argument>),
    /// All of these.
    Block(Vec<Argument>),
}

/// The whole table, sorted by name. A container is listed itself too: its bare name is a request as well.
pub(super) fn table(client: &mut Client) -> Vec<Command> {
    let docs = client.command(["COMMAND", "DOCS"]);
    let mut commands = Vec::new();
    for (name, doc) in pairs(&docs) {
        let doc = fields(doc);
        let group = doc["group"].text().to_owned();
        commands.push(command(name.to_uppercase(), &group, &doc));
        for (name, doc) in doc.get("subcommands").map(|docs| pairs(docs)).unwrap_or_default() {
            commands.push(command(name.to_uppercase().replace('|', " "), &group, &fields(doc)));
        }
    }
    commands.sort_by(|one, other| one.name.cmp(&other.name));
    commands
}

fn command(name: String, group: &str, doc: &HashMap<&str, &Value>) -> Command {
    let arguments = doc.get("arguments").map(|arguments| list(arguments)).unwrap_or_default();
    Command { name, group: group.to_owned(), arguments }
}

fn list(arguments: &Value) -> Vec<Argument> {
    arguments.items().iter().map(argument).collect()
}

fn argument(doc: &Value) -> Argument {
    let doc = fields(doc);
    let flag = |name: &str| doc.get("flags").is_some_and(|flags| flags.items().iter().any(|flag| flag.text() == name));
    Argument {
        name: doc["name"].text().to_owned(),
        kind: match doc["type"].text() {
            "pure-token" => Kind::Token,
            "key" => Kind::Key,
            "string" => Kind::Text,
            "integer" => Kind::Integer,
            "double" => Kind::Double,
            "unix-time" => Kind::UnixTime,
            "pattern" => Kind::Pattern,
            "oneof" => Kind::OneOf(list(doc["arguments"])),
            "block" => Kind::Block(list(doc["arguments"])),
            other => panic!("a type of argument that nobody told us of: {other}"),
        },
        token: doc.get("token").map(|token| token.text().to_owned()),
        optional: flag("optional"),
        multiple: flag("multiple"),
        multiple_token: flag("multiple_token"),
    }
}

fn fields(doc: &Value) -> HashMap<&str, &Value> {
    pairs(doc).into_iter().collect()
}

/// A map as RESP2 sends it.
fn pairs(flat: &Value) -> Vec<(&str, &Value)> {
    flat.items().chunks_exact(2).map(|pair| (pair[0].text(), &pair[1])).collect()
}
