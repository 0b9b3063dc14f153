//! The proxy as its users meet it: one process, real sockets, a real Redis.
//!
//! One module for each capability; what a rule of the protocol says is tested beside that rule, here is shown that the
//! parts are wired together. Needs `redis-server` on the PATH and Linux's /proc.

#![cfg(test)]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the tests are the proxy's clients: they may block, and they measure time"
)]

// How each client library opens a connection, word for word, whatever becomes of the upstream.
mod dialogues;
// Logging in to the upstream: ACL users, one connection never for two of them.
mod authentication;
// Commands that wait in the server.
mod blocking;
// The near cache: nobody reads what has been written over.
mod coherence;
// Every command of the table beside a Redis.
mod command_table;
// What one client asks about the others: CLIENT LIST, KILL, UNBLOCK, PAUSE.
mod clients;
// Random dialogues beside a Redis, and random FCA commands beside a map.
mod differential;
// The FCA family, over a real Redis and over the embedded store.
mod fca;
// Every other command: byte by byte as Redis answers.
mod forwarding;
// Commands that are not for every client.
mod gates;
// Input and clients that do not behave.
mod hostile;
// Start, reload, health, end.
mod lifecycle;
// What clients cost while they are idle, and what is left of them.
mod memory;
// The FCA family against a model of it.
mod model;
// What the near cache must not answer.
mod near_cache;
// The near cache's link: up, lost, silent, refused.
mod near_link;
// Redis gone, frozen, slow, or talking nonsense.
mod outage;
// What the server says unasked, and what silences it.
mod pubsub;
// Large requests and replies, and long pipelines.
mod streaming;
mod support;
// TLS towards Redis.
mod tls;
// Commands that the table lacks.
mod unknown;
// The bench that all of these stand on.
mod support_works;
