//! The tables `[limits]` and `[embedded]`: what clients and entries may take.
//!
//! Guarantees that every bound is there and is one that the program can keep.

use super::quantity::show_bytes;
use super::section::Section;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Bounds on clients and their requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Clients that are connected at one time. Past it: `-ERR max number of clients reached`. 10 000.
    pub clients_max: usize,
    /// Arguments of one request, its name included. 1 048 576, as Redis has it.
    pub request_args_max: usize,
    /// Bytes of one request. 512 MiB.
    pub request_bytes_max: usize,
    /// Bytes of one query of the FCA family. 1 MiB.
    pub query_bytes_max: usize,
    /// Bytes of one value of the FCA family. 16 MiB.
    pub value_bytes_max: usize,
    /// Requests of one client that are in flight; with more the proxy stops reading from it. 1024.
    pub pipeline_max: usize,
    /// Bytes of replies that a client has not taken, from which on the proxy stops reading from it. 64 MiB.
    pub output_bytes_pause: usize,
    /// Bytes of replies that a client has not taken, from which on it is disconnected. Never below
    /// `output_bytes_pause`. 1 GiB.
    pub output_bytes_max: usize,
    /// How long a client may be silent; none: for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a client may take to finish a request that it has begun. 30 s.
    pub frame_timeout: Duration,
    /// How long a client may take nothing of what waits for it. 60 s.
    pub write_timeout: Duration,
}

/// The store inside the process, used when the upstream is `embedded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// Bytes of all entries, their overhead included; past it entries are evicted. 64 MiB.
    pub memory: u64,
    /// How many databases `SELECT` can choose from. 16, as Redis has it.
    pub databases: u32,
}

/// A client takes a file descriptor; more than this many is beyond what an operating system is set up for.
const CLIENTS: RangeInclusive<usize> = 1..=1_000_000;

/// Redis takes a C `int`; commands of ordinary clients have up to eight.
const REQUEST_ARGS: RangeInclusive<usize> = 8..=i32::MAX.unsigned_abs() as usize;

/// From a handshake's longest command up to what the scanner counts in 32 bits.
const REQUEST_BYTES: RangeInclusive<u64> = 1 << 10..=2 << 30;

/// From a short question up to the longest string of Redis.
const QUERY_BYTES: RangeInclusive<u64> = 16..=512 << 20;

/// From one byte up to the longest string of Redis.
const VALUE_BYTES: RangeInclusive<u64> = 1..=512 << 20;

/// A slot for each is kept while it is in flight.
const PIPELINE: RangeInclusive<usize> = 1..=1_000_000;

/// From one packet up to what a large machine has in all.
const OUTPUT_BYTES: RangeInclusive<u64> = 1 << 10..=64 << 30;

/// Clients' own keep-alives come every few seconds to minutes; below a second they would be cut off between them.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 30);

/// From the round trip of a slow network up to the upload of the longest value over one.
const FRAME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// From a pause of a busy client up to one of a person at a debugger.
const WRITE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// From a few entries up to the largest machines.
const MEMORY: RangeInclusive<u64> = 1 << 20..=1 << 40;

/// Each costs a table, once it is used.
const DATABASES: RangeInclusive<u32> = 1..=1024;

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_max: 10_000,
            request_args_max: 1 << 20,
            request_bytes_max: 512 << 20,
            query_bytes_max: 1 << 20,
            value_bytes_max: 16 << 20,
            pipeline_max: 1024,
            output_bytes_pause: 64 << 20,
            output_bytes_max: 1 << 30,
            idle_timeout: None,
            frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
        }
    }
}

impl Limits {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        let limits = Self {
            clients_max: section.count("clients_max", default.clients_max, CLIENTS),
            request_args_max: section.count("request_args_max", default.request_args_max, REQUEST_ARGS),
            request_bytes_max: section.memory("request_bytes_max", default.request_bytes_max, REQUEST_BYTES),
            query_bytes_max: section.memory("query_bytes_max", default.query_bytes_max, QUERY_BYTES),
            value_bytes_max: section.memory("value_bytes_max", default.value_bytes_max, VALUE_BYTES),
            pipeline_max: section.count("pipeline_max", default.pipeline_max, PIPELINE),
            output_bytes_pause: section.memory("output_bytes_pause", default.output_bytes_pause, OUTPUT_BYTES),
            output_bytes_max: section.memory("output_bytes_max", default.output_bytes_max, OUTPUT_BYTES),
            idle_timeout: section.duration_or_off("idle_timeout", default.idle_timeout, IDLE),
            frame_timeout: section.duration("frame_timeout", default.frame_timeout, FRAME),
            write_timeout: section.duration("write_timeout", default.write_timeout, WRITE),
        };
        let (pause, max) = (limits.output_bytes_pause, limits.output_bytes_max);
        let show = |bytes| show_bytes(bytes as u64);
        section.in_order(("output_bytes_pause", pause), ("output_bytes_max", max), show);
        limits
    }
}

impl Default for Embedded {
    fn default() -> Self {
        Self { memory: 64 << 20, databases: 16 }
    }
}

impl Embedded {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Self::default();
        Self {
            memory: section.bytes("memory", default.memory, MEMORY),
            databases: section.count("databases", default.databases, DATABASES),
        }
    }
}
