//! The bytes of the Redis protocol, both ways.
//!
//! Two scanners find where a request or a reply ends without building anything; what is forwarded is the bytes that
//! came. They are iterative (nesting costs no stack), resumable (a frame that arrives in a thousand pieces is looked
//! at once) and allocate nothing for a length that is only declared. A frame that is passed on while it arrives is
//! followed to its end by one of the two tails. [`encode`] writes the few frames that the proxy
//! itself says.
//!
//! The rules are those of Redis's protocol specification (<https://redis.io/docs/latest/develop/reference/protocol-spec/>)
//! and, for requests, of `networking.c` in Redis 7.0.

pub mod encode;
pub mod error;
mod inline;
mod number;
mod reply;
mod request;
mod tail;

pub use error::ReplyError;
pub use inline::{UnbalancedQuotes, split_inline};
pub use number::strict_number;
pub use reply::{BadReply, ReplyScanner, elements, error_words, payload};
pub use request::{Arguments, ProtocolError, Request, RequestLimits, RequestScanner};
pub use tail::{ReplyTail, RequestTail};

/// The two versions of the protocol that a connection can speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RESP2, which every connection starts with.
    #[default]
    Resp2,
    /// RESP3, asked for with `HELLO 3`.
    Resp3,
}

#[cfg(test)]
mod tests;
