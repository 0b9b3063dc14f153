//! The lines of `FCA.HELP`, in the style of Redis's own `HELP` subcommands.

use crate::resp::encode;

const LINES: [&str; 29] = [
    "FCA.<command> [<arg> [value] [opt] ...]. Commands are:",
    "GET <namespace> <query> [PARAMS]",
    "    Return the value that is cached for <query>, or nil. Queries that differ",
    "    only in case, spacing or final question marks are one entry. With PARAMS",
    "    the query is JSON; the order of its members does not matter.",
    "SET <namespace> <query> <value> [EX <seconds>|PX <milliseconds>] [PARAMS]",
    "    Cache <value> for <query>. Return OK, or nil when it could not be stored.",
    "    No entry lives without a TTL, nor longer than the namespace allows.",
    "MGET <namespace> <query> [<query> ...]",
    "    Return the values of several queries, nil for each that is absent.",
    "MSET <namespace> <query> <value> [<query> <value> ...]",
    "    Cache several values. Return the number of values stored.",
    "DEL <namespace> <query> [<query> ...] [PARAMS]",
    "    Remove entries. Return the number of entries removed.",
    "TTL <namespace> <query> [PARAMS]",
    "    Return the remaining life of an entry in seconds, or -2 if it is absent.",
    "PTTL <namespace> <query> [PARAMS]",
    "    As TTL, in milliseconds.",
    "KEY <namespace> <query> [PARAMS]",
    "    Return the key under which the upstream keeps the entry. Touches nothing.",
    "FLUSH <namespace> [MATCH <pattern>]",
    "    Remove all entries of a namespace, or those whose digest matches <pattern>.",
    "    Return the number of keys removed.",
    "AVAILABLE",
    "    Return 1 when the upstream answers, else 0.",
    "STATS [<namespace>]",
    "    Return counters of hits, misses, sets and more.",
    "HELP",
    "    Prints this help.",
];

/// Appends the reply of `FCA.HELP`: an array of simple strings in either protocol.
pub fn append_help(out: &mut Vec<u8>) {
    encode::header(out, b'*', LINES.len() as u64);
    for line in LINES {
        encode::simple(out, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command;
    use crate::resp;

    #[test]
    fn every_command_of_the_family_has_its_line_in_order() {
        let names: Vec<String> = LINES[1..]
            .iter()
            .filter(|line| !line.starts_with(' '))
            .map(|line| format!("FCA.{}", line.split(' ').next().unwrap()))
            .collect();
        assert_eq!(names, command::fca().iter().map(|command| command.name).collect::<Vec<_>>());
    }

    #[test]
    fn the_reply_is_one_array_of_lines_that_fit_a_terminal() {
        let mut out = Vec::new();
        append_help(&mut out);
        let lines = resp::elements(&out).unwrap();
        assert_eq!(lines.len(), LINES.len());
        assert!(lines.iter().all(|line| line.starts_with(b"+") && line.len() <= "+\r\n".len() + 79));
    }
}
