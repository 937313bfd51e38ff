//! Times and durations as people write and read them.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

/// The last moment that RFC 3339 can write, in Unix milliseconds.
const LAST_MS: i64 = 253_402_300_799_999;
/// The first one.
const FIRST_MS: i64 = -62_167_219_200_000;

/// RFC 3339 in UTC with milliseconds: the same text on every machine. Times beyond the years 0 to 9999
/// become the nearest.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    moment(unix_ms)
        .format(&format)
        .expect("the moment is within the years 0 to 9999")
}

/// For people: to the minute, in UTC.
pub(crate) fn short(unix_ms: i64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]");
    moment(unix_ms)
        .format(&format)
        .expect("the moment is within the years 0 to 9999")
}

fn moment(unix_ms: i64) -> OffsetDateTime {
    let nanoseconds = i128::from(unix_ms.clamp(FIRST_MS, LAST_MS)) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).expect("clamped")
}

/// Reads RFC 3339 into Unix milliseconds.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// Reads a span such as `30m`, `12h`, `7d` or `4w` into milliseconds.
///
/// # Errors
/// Says how a span is written.
pub(crate) fn span(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' isn't a span of time: write 30m, 12h, 7d or 4w");
    let unit_at = text.len() - text.chars().next_back().map_or(0, char::len_utf8);
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let unit: u64 = match unit {
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(wrong()),
    };
    // Ten thousand weeks keep every sum far below 2^53.
    match number.checked_mul(unit) {
        Some(span) if (1..=6_048_000_000_000).contains(&span) => Ok(span),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_survive() {
        assert_eq!(rfc3339(1_700_000_000_007), "2023-11-14T22:13:20.007Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(parse("2023-11-14T22:13:20.007Z"), Some(1_700_000_000_007));
        assert_eq!(parse("1969-12-31T23:59:59.999Z"), Some(-1));
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn spans() {
        assert_eq!(span("7d"), Ok(604_800_000));
        assert_eq!(span("90s"), Ok(90_000));
        for wrong in [
            "",
            "7",
            "d",
            "0d",
            "-1d",
            "7 d",
            "7y",
            "99999999999w",
            "7日",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
