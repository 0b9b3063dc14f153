//! Which server a connection is to: the `run_id` of its INFO.
//!
//! Redis makes one up whenever it starts, of random digits (`server.runid`, `initServerConfig` in `server.c`), so two
//! connections that were told the same one are to the same process. Guarantees that nothing else is taken for one: a
//! service that hides it may say the same, `0` say, for all of its servers.

use crate::resp::payload;
use std::num::NonZeroU64;

/// How many hexadecimal digits it has (`CONFIG_RUN_ID_SIZE` in `server.h`).
const DIGITS_COUNT: usize = 40;

/// How many of them are looked at: as random as all for as many servers as anybody has.
const DIGITS_TAKEN: usize = 16;

/// A server, as long as its process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunId(NonZeroU64);

impl RunId {
    /// What a reply to INFO says; none where it does not.
    pub(super) fn from_info(reply: &[u8]) -> Option<Self> {
        let line = payload(reply)?.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"run_id:"))?;
        let digits = std::str::from_utf8(line.trim_ascii_end()).ok()?;
        let first = digits.chars().next()?;
        let is_random = digits.len() == DIGITS_COUNT
            && digits.chars().all(|digit| digit.is_ascii_hexdigit())
            && digits.chars().any(|digit| digit != first);
        let number = u64::from_str_radix(digits.get(..DIGITS_TAKEN)?, 16).ok().filter(|_| is_random)?;
        NonZeroU64::new(number).map(Self)
    }

    /// The same as a number.
    #[inline]
    pub fn number(self) -> NonZeroU64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef01234567";

    fn told(info: &str) -> Option<u64> {
        let frames = [format!("${}\r\n{info}\r\n", info.len()), format!("={}\r\ntxt:{info}\r\n", info.len() + 4)];
        let [bulk, verbatim] = frames.map(|frame| RunId::from_info(frame.as_bytes()));
        assert_eq!(bulk, verbatim, "{info}");
        bulk.map(|id| id.number().get())
    }

    #[test]
    fn it_is_the_line_of_its_name() {
        let line = format!("run_id:{DIGITS}");
        for info in [
            line.clone(),
            format!("# Server\r\nredis_version:7.0.15\r\n{line}\r\ntcp_port:6379\r\n"),
            format!("# Server\n{line}\n"),
        ] {
            assert_eq!(told(&info), Some(0x0123_4567_89ab_cdef), "{info}");
        }
    }

    #[test]
    fn what_is_not_made_up_at_random_tells_servers_apart_no_better_than_nothing() {
        for wrong in [
            "",
            "0",
            &"0".repeat(40),
            &"a".repeat(40),
            &DIGITS[1..],
            &DIGITS.replace('7', "x"),
            &format!("{DIGITS}0"),
            &format!("{}1", "0".repeat(39)),
            &"é".repeat(20),
        ] {
            assert_eq!(told(&format!("run_id:{wrong}\r\n")), None, "{wrong}");
        }
        for other in ["", "# Server\r\n", &format!("master_run_id:{DIGITS}"), &format!("run_id {DIGITS}")] {
            assert_eq!(told(other), None, "{other}");
        }
        for reply in
            ["-NOPERM this user has no permissions to run the 'info' command\r\n", "+OK\r\n", "_\r\n", "*0\r\n"]
        {
            assert_eq!(RunId::from_info(reply.as_bytes()), None, "{reply}");
        }
    }
}
