//! Reads `/proc` (proc(5)). On systems without `/proc` every function returns `None`.

use std::fs::read_to_string;
use std::path::Path;
use std::time::Duration;

/// `USER_HZ`, the unit of times in `/proc`; 100 on all architectures of Linux.
pub const TICKS_PER_SECOND: u64 = 100;

/// Reads a file by its path below `/proc`.
pub fn read(name: &str) -> Option<String> {
    read_to_string(Path::new("/proc").join(name)).ok()
}

/// The first number of the line that begins with this label; infinity for `unlimited`.
pub fn number_after(text: &str, label: &str) -> Option<f64> {
    match text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// The `stat` of a process or of a thread.
pub struct Stat(String);

impl Stat {
    pub fn of_self() -> Option<Self> {
        Self::read(Path::new("/proc/self/stat"))
    }

    pub fn read(path: &Path) -> Option<Self> {
        read_to_string(path).ok().map(Self)
    }

    /// A numeric field, counted from 1 as in proc(5). The second field, the name, may contain spaces and brackets.
    pub fn field(&self, number: usize) -> Option<u64> {
        self.after_name()?.split(' ').nth(number.checked_sub(3)?)?.trim().parse().ok()
    }

    pub fn state(&self) -> Option<char> {
        self.after_name()?.chars().next()
    }

    /// User and system time.
    pub fn cpu_ticks(&self) -> Option<u64> {
        Some(self.field(14)? + self.field(15)?)
    }

    /// User and system time.
    pub fn cpu_time(&self) -> Option<Duration> {
        self.cpu_ticks().map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
    }

    fn after_name(&self) -> Option<&str> {
        self.0.rsplit_once(") ").map(|(_, rest)| rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_name_with_spaces_and_brackets_keeps_field_positions() {
        let stat = Stat("7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 140 150 16 17 20 0 5 0 2200 23\n".into());
        assert_eq!((stat.field(14), stat.field(15), stat.field(22)), (Some(140), Some(150), Some(2200)));
        assert_eq!((stat.field(2), stat.field(24), stat.field(23)), (None, None, Some(23)));
        assert_eq!((stat.state(), stat.cpu_time()), (Some('S'), Some(Duration::from_millis(2900))));
    }

    #[test]
    fn number_after_label_is_parsed() {
        let text =
            "Max open files            1024                 4096                 files\nVmRSS:\t    1096 kB\nMax x  unlimited\nVmSwap:\n";
        let number = |label| number_after(text, label);
        assert_eq!((number("Max open files"), number("VmRSS:"), number("Max x")), (Some(1024.0), Some(1096.0), Some(f64::INFINITY)));
        assert_eq!((number("RSS:"), number("VmSwap:")), (None, None));
    }
}
