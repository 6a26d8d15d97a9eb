//! Formats a file as a line of `ls -l`, for listings of disks and initramfs files.

use rustix::fs::FileType;

/// One file of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The path from the root, with a leading slash.
    pub path: Vec<u8>,
    /// Type and permissions, as in `st_mode`.
    pub mode: u16,
    /// The number of hard links; `None` if unknown.
    pub links: Option<u16>,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Size in bytes.
    pub size: u64,
    /// Major and minor number of a device; `None` if unknown.
    pub device: Option<(u32, u32)>,
    /// The modification time, in seconds since 1970.
    pub seconds: i64,
    /// A symbolic link's target.
    pub target: Option<Vec<u8>>,
}

impl Entry {
    /// Returns the line as `ls -l` prints it, with the time in UTC.
    pub fn line(&self) -> String {
        let links = self.links.map_or_else(|| "?".to_owned(), |links| links.to_string());
        let size = match self.device {
            Some((major, minor)) => format!("{major},{minor}"),
            None => self.size.to_string(),
        };
        let target = self.target.as_ref().map_or_else(String::new, |target| format!(" -> {}", shown(target)));
        let owner = format!("{}:{}", self.owner.0, self.owner.1);
        let time = utc(self.seconds);
        format!("{} {links:>3} {owner:>11} {size:>11} {time} {}{target}", self.permissions(), shown(&self.path))
    }

    /// Formats the type and permissions, as `drwxr-xr-t`.
    fn permissions(&self) -> String {
        let kind = match FileType::from_raw_mode(self.mode.into()) {
            FileType::Fifo => 'p',
            FileType::CharacterDevice => 'c',
            FileType::Directory => 'd',
            FileType::BlockDevice => 'b',
            FileType::Symlink => 'l',
            FileType::Socket => 's',
            _ => '-',
        };
        let mut text = String::from(kind);
        for (shift, special, on, off) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
            let bits = self.mode >> shift;
            text.push(if bits & 4 != 0 { 'r' } else { '-' });
            text.push(if bits & 2 != 0 { 'w' } else { '-' });
            text.push(match (self.mode & special != 0, bits & 1 != 0) {
                (true, true) => on,
                (true, false) => off,
                (false, true) => 'x',
                (false, false) => '-',
            });
        }
        text
    }
}

/// Returns printable text unchanged, and other bytes with escapes.
pub(crate) fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.escape_ascii().to_string(),
    }
}

/// Formats a time in UTC, as `2026-11-25 22:33:52`.
pub fn utc(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Converts days to a date of the Gregorian calendar, with years that begin in March and eras of 400 years.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_equal_those_of_date() {
        // date --utc --date=@N '+%F %T'
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (-2_147_483_648, "1901-12-13 20:45:52"),
            (15_032_385_535, "2446-05-10 22:38:55"),
        ] {
            assert_eq!(utc(seconds), text);
        }
    }

    #[test]
    fn lines_have_the_format_of_ls() {
        let entry = Entry { path: b"/a\xff".to_vec(), mode: 0o104_755, links: Some(2), size: 5, ..Entry::default() };
        assert_eq!(entry.line(), "-rwsr-xr-x   2         0:0           5 1970-01-01 00:00:00 /a\\xff");
        let entry = Entry { mode: 0o041_776, owner: (1, 2), target: Some("é".into()), ..entry };
        assert_eq!(entry.line(), "drwxrwxrwT   2         1:2           5 1970-01-01 00:00:00 /a\\xff -> é");
        let entry = Entry { mode: 0o020_000, device: Some((5, 1)), target: None, links: None, ..entry };
        assert_eq!(entry.line(), "c---------   ?         1:2         5,1 1970-01-01 00:00:00 /a\\xff");
    }
}
