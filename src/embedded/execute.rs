//! Carries out one command.
//!
//! Guarantees exactly one complete reply for every input, whatever it is: a command either replies or is refused, and
//! what it had begun to say before it was refused is taken back.

use super::call::{Call, Outcome};
use super::commands;
use super::refusal::Refusal;
use super::store::Store;
use crate::resp::Protocol;

impl Store {
    /// Carries out one command and appends exactly one complete reply.
    ///
    /// `command[0]` is the name, in any case; `unix_ms` the wall clock in milliseconds. A command that the store does
    /// not serve gets Redis's `ERR unknown command`, a database past [`super::StoreOptions::databases`] an error too,
    /// and an entry that alone exceeds [`super::StoreOptions::bytes_max`] Redis's `OOM`.
    pub fn execute(&mut self, unix_ms: u64, database: u32, protocol: Protocol, command: &[&[u8]], reply: &mut Vec<u8>) {
        let start = reply.len();
        if let Err(refusal) = self.run(unix_ms, database, protocol, command, reply) {
            reply.truncate(start);
            refusal.append_to(reply);
        }
    }

    fn run(
        &mut self,
        unix_ms: u64,
        database: u32,
        protocol: Protocol,
        arguments: &[&[u8]],
        reply: &mut Vec<u8>,
    ) -> Outcome {
        let Some(command) = arguments.first().and_then(|name| commands::find(name)) else {
            return Err(Refusal::unknown_command(arguments));
        };
        if !command.takes(arguments.len()) {
            return Err(Refusal::wrong_arity(command.name));
        }
        if database >= self.databases {
            return Err(Refusal::DATABASE);
        }
        (command.run)(&mut Call { store: self, unix_ms, database, protocol, name: command.name, arguments, reply })
    }
}
