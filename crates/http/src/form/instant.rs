//! RFC 3339 instants, as `Timestamp::to_rfc3339` writes them and as clients write them.

use portcullis_core::time::Timestamp;

/// Reads `2026-11-20T15:59:59Z`, with up to nine digits of a second's fraction (milliseconds count) and `Z` or
/// an offset `+09:00`. `None` for anything else, and for dates that do not exist.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let bytes = text.as_bytes();
    if bytes.len() > 40 || !text.is_ascii() {
        return None;
    }
    let (date, rest) = text.split_once(['T', 't'])?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let (clock, fraction) = time.split_once('.').map_or((time, None), |(c, f)| (c, Some(f)));
    let day = parse_date(date)?;
    let [hours, minutes, seconds] = split_numbers::<3>(clock, ':', [2, 2, 2])?;
    if hours > 23 || minutes > 59 || seconds > 59 {
        return None;
    }
    let millis = match fraction {
        None => 0,
        Some(digits) => parse_fraction(digits)?,
    };
    let seconds_of_day = hours * 3_600 + minutes * 60 + seconds;
    let offset_seconds = parse_zone(zone)?;
    let seconds = day * 86_400 + seconds_of_day - offset_seconds;
    Some(Timestamp::from_millis(seconds * 1_000 + millis))
}

fn parse_fraction(digits: &str) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    format!("{digits:0<3}")[..3].parse().ok()
}

/// Seconds that the zone is ahead of UTC.
fn parse_zone(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let [hours, minutes] = split_numbers::<2>(digits, ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

/// Days since the Unix epoch.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn parse_date(date: &str) -> Option<i64> {
    let [year, month, day] = split_numbers::<3>(date, '-', [4, 2, 2])?;
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    if day < 1 || day > days_of_month {
        return None;
    }
    let shifted_year = if month <= 2 { year - 1 } else { year };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let shifted_month = (month + 9) % 12;
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Splits into exactly `N` numbers of exactly these widths.
fn split_numbers<const N: usize>(
    text: &str,
    separator: char,
    widths: [usize; N],
) -> Option<[i64; N]> {
    let mut numbers = [0_i64; N];
    let mut parts = text.split(separator);
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next()?;
        if part.len() != width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_instants_are_read() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T00:00:00.123Z", 951_782_400_123),
            ("2026-11-20T15:59:59.999Z", 1_795_190_399_999),
            ("2026-11-21T00:59:59.9999+09:00", 1_795_190_399_999),
            ("1969-12-31T23:59:59.9Z", -100),
        ] {
            assert_eq!(parse_rfc3339(text), Some(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_refused() {
        for text in [
            "",
            "2026-11-20",
            "2026-11-20T15:59:59",
            "2026-11-20 15:59:59Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-00T00:00:00Z",
            "2026-11-20T24:00:00Z",
            "1795190399999",
            "2026-11-20T15:59:59.Z",
            "2026-11-20T15:59:59+9",
            "2026-11-20T15:59:5éZ",
            "T",
            "TZ",
            "+2026-11-20T15:59:59Z",
            "2026-11-20T15:59:59Zz",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_core_writes_reads_back(millis in -62_167_219_200_000_i64..253_402_300_800_000) {
            let instant = Timestamp::from_millis(millis);
            prop_assert_eq!(parse_rfc3339(&instant.to_rfc3339()), Some(instant));
        }

        #[test]
        fn no_text_panics(text in ".{0,50}") {
            let _outcome = parse_rfc3339(&text);
        }
    }
}
