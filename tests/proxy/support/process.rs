//! A child process that cannot outlive its test.
//!
//! Killed by its id and reaped when dropped, also while a panic unwinds. CPU time and resident memory are read from
//! /proc, so those two need Linux.

use super::wait::wait_until;
use rustix::process::{Pid, Signal};
use std::fs;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// A running child.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Takes charge of a child.
    pub(crate) fn guard(child: Child) -> Self {
        Self { child }
    }

    /// The child itself, for its pipes.
    pub(crate) fn child_mut(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends a signal, unless the child is gone.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process(Pid::from_child(&self.child), signal);
    }

    /// SIGKILL, and waits for the end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit status, if it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child is ours")
    }

    /// Waits for the end and says how it ended.
    #[track_caller]
    pub(crate) fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        wait_until(deadline, "the process ends", || {
            status = self.ended();
            status.is_some()
        });
        status.expect("the wait above ends with a status")
    }

    /// User and system time so far, in the kernel's ticks of 10 ms.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process runs");
        // The second field is the name in parentheses, which may hold spaces; utime and stime are fields 14 and 15.
        let behind_name = stat.rsplit(')').next().expect("a line of /proc/PID/stat");
        let ticks: u64 = behind_name
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("a number of ticks"))
            .sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Whether SIGSTOP has taken hold.
    pub(crate) fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the process runs");
        stat.rsplit(')').next().is_some_and(|fields| fields.trim_start().starts_with('T'))
    }

    /// Resident memory now, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a VmRSS line");
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB");
        kibibytes * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
