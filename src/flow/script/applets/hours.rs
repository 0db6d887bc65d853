//! The applet `hours`: when it is open.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::de::DeValue;

use super::super::Hours;
use super::super::context::quoted;
use super::super::fields::{Fields, Value};

/// Most times that it opens on one day.
pub const SPANS_MAX: usize = 10;
/// Most holidays.
pub const HOLIDAYS_MAX: usize = 1_000;

/// As they are written, in the order of [`Hours::week`].
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

pub(super) fn hours(fields: &Fields<'_, '_>) -> Hours {
    let zone = fields.required("zone").and_then(|(name, value)| {
        let zone = TimeZone::get(name);
        if zone.is_err() {
            let why = format!(
                "{} is no time zone known here, as 'Asia/Kolkata' is",
                quoted(name)
            );
            fields.fail("zone", value, why);
        }
        zone.ok()
    });
    Hours {
        zone: zone.unwrap_or(TimeZone::UTC),
        week: week(fields),
        holidays: holidays(fields),
        open: fields.next("open"),
        closed: fields.next("closed"),
    }
}

fn week(fields: &Fields<'_, '_>) -> [Vec<(u16, u16)>; 7] {
    let mut week: [Vec<(u16, u16)>; 7] = Default::default();
    let Some(table) = fields.table("week") else {
        fields.missing("week");
        return week;
    };
    for (spans, day) in week.iter_mut().zip(DAYS) {
        for (text, value) in table.strings(day, SPANS_MAX).unwrap_or_default() {
            match span(text) {
                Ok(span) => spans.push(span),
                Err(why) => table.fail(day, value, format_args!("{} {why}", quoted(text))),
            }
        }
    }
    table.finish();
    week
}

/// Minutes of the day: `09:00-17:30`, until `24:00` at the latest.
fn span(text: &str) -> Result<(u16, u16), &'static str> {
    let shape = "is not like '09:00-17:30'";
    let (from, until) = text.split_once('-').ok_or(shape)?;
    let (from, until) = (minute(from.trim()), minute(until.trim()));
    let (from, until) = from.zip(until).ok_or(shape)?;
    match from < until {
        true => Ok((from, until)),
        false => Err("ends before it begins: what goes on after 24:00 belongs to the next day"),
    }
}

fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let is_two = |part: &str| part.len() == 2 && part.bytes().all(|c| c.is_ascii_digit());
    if !is_two(hour) || !is_two(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    let of_day = hour * 60 + minute;
    (minute < 60 && of_day <= 24 * 60).then_some(of_day)
}

fn holidays(fields: &Fields<'_, '_>) -> Vec<Date> {
    let Some(value) = fields.take("holidays") else {
        return Vec::new();
    };
    let DeValue::Array(list) = value.get_ref() else {
        fields.fail("holidays", value, "is no list of dates");
        return Vec::new();
    };
    if list.len() > HOLIDAYS_MAX {
        let why = format!(
            "has {} entries, at most {HOLIDAYS_MAX} are possible",
            list.len()
        );
        fields.fail("holidays", value, why);
        return Vec::new();
    }
    let each = |value: &Value<'_>| {
        let date = date(value.get_ref());
        if date.is_none() {
            fields.fail("holidays", value, "is no date like \"2026-12-25\"");
        }
        date
    };
    list.iter().filter_map(each).collect()
}

/// A date as TOML has them, or as a string.
fn date(value: &DeValue<'_>) -> Option<Date> {
    let text = match value {
        DeValue::String(text) => text.to_string(),
        DeValue::Datetime(at) if at.time.is_none() => at.to_string(),
        _ => return None,
    };
    let is_date = text.len() == "2026-12-25".len();
    text.parse().ok().filter(|_| is_date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_minutes_of_the_day() {
        assert_eq!(span("09:00-17:30"), Ok((540, 1_050)));
        assert_eq!(span("00:00 - 24:00"), Ok((0, 1_440)));
        assert_eq!(span("23:59-24:00"), Ok((1_439, 1_440)));
        for wrong in [
            "",
            "9-17",
            "9:00-17:00",
            "09:00",
            "09:60-10:00",
            "10:00-24:01",
            "10:00-10:00",
            "22:00-02:00",
            "+9:00-10:00",
            "09:00-25:00",
        ] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
