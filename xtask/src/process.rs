//! What a process has taken so far: its time on the processors, and its memory. From `/proc`, so on Linux alone.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use anyhow::{Context, Result};

/// One tick of the times in `/proc/PID/stat`: `USER_HZ` is 100 on every platform of Linux that Rust knows.
const TICK_MS: u64 = 10;
/// Fields of `/proc/PID/stat` after the name in brackets, counted from 0: proc(5) calls them 14 and 15.
const USER_FIELD: usize = 11;
const SYSTEM_FIELD: usize = 12;

/// Time on the processors, of all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In the program.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

impl CpuTime {
    /// What the process has taken since its start; exact to 10 ms.
    ///
    /// # Errors
    /// The process is gone, or this system has no `/proc`.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/stat");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        cpu_time(&text).with_context(|| format!("{path} does not tell the times"))
    }

    /// Both together.
    #[must_use]
    pub fn total(self) -> Duration {
        self.user.saturating_add(self.system)
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// A figure of `/proc/PID/status` in KiB, such as `VmRSS` (resident now) or `VmHWM` (resident at most so far).
///
/// # Errors
/// The process is gone, or this system has no `/proc`.
pub fn memory_kib(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    status_kib(&text, name).with_context(|| format!("{path} has no {name}"))
}

/// The name of the program may hold anything, brackets too.
fn cpu_time(stat: &str) -> Option<CpuTime> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = |place: usize| fields.split(' ').nth(place)?.parse::<u64>().ok();
    let time = |place| Some(Duration::from_millis(ticks(place)?.saturating_mul(TICK_MS)));
    Some(CpuTime { user: time(USER_FIELD)?, system: time(SYSTEM_FIELD)? })
}

/// The number in `VmRSS:     1234 kB`.
fn status_kib(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_the_status_file() {
        let status = "Name:\tportcullis\nVmHWM:\t  999 kB\nVmRSS:\t   38400 kB\nThreads:\t5\n";
        assert_eq!(status_kib(status, "VmRSS"), Some(38_400));
        assert_eq!(status_kib(status, "VmHWM"), Some(999));
        assert_eq!(status_kib("Name:\tportcullis\n", "VmRSS"), None);
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 9 0 55 1 2 3";
        let time = cpu_time(stat).unwrap();
        assert_eq!(
            time,
            CpuTime { user: Duration::from_millis(1_230), system: Duration::from_millis(450) }
        );
        assert_eq!((time - time).total(), Duration::ZERO);
        assert_eq!(cpu_time("7 (a) S 1 7"), None);
    }

    #[test]
    fn this_process_has_taken_something() {
        let pid = std::process::id();
        assert!(memory_kib(pid, "VmHWM").unwrap() >= memory_kib(pid, "VmRSS").unwrap() / 2);
        assert!(CpuTime::of(pid).is_ok());
    }
}
