//! The session's clock. TIMESTAMPs are instants that the server shows on its session's clock, which must be the business
//! zone's, or a fixed one that we know and convert from.

use anyhow::{Context, Result};
use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone};

use super::{Flavor, Session, literal};
use crate::date::Zone;

/// On which clock a session shows TIMESTAMPs, and computes what mixes them with DATETIMEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionZone {
    /// The business zone's: the server knows it by name.
    Named,
    /// A fixed distance from UTC, today's of the business zone: the server has no tables of zones.
    Fixed {
        /// Seconds east of UTC.
        east_s: i32,
        /// The business zone.
        zone: Zone,
    },
}

impl SessionZone {
    /// A TIMESTAMP as the session shows it, on the business zone's clock; microseconds since 1970-01-01T00:00.
    pub fn on_business_clock(self, shown_micros: i64) -> i64 {
        let Self::Fixed { east_s, zone } = self else { return shown_micros };
        let instant = shown_micros - i64::from(east_s) * 1_000_000;
        let Some(utc) = DateTime::from_timestamp_micros(instant) else { return shown_micros };
        utc.with_timezone(&zone.tz()).naive_local().and_utc().timestamp_micros()
    }

    /// Whether the session's clock is the business zone's at all times, also in computations of the server.
    pub fn is_exact(self) -> bool {
        match self {
            Self::Named => true,
            Self::Fixed { zone, .. } => zone.has_one_offset(),
        }
    }
}

impl SessionZone {
    /// What is wrong with a clock that is not the business zone's at all times from 2000 on, and what to do; `None` where
    /// it is.
    pub fn oddity(self, flavor: Flavor) -> Option<(String, &'static str)> {
        let Self::Fixed { east_s, zone } = self else { return None };
        let text = format!(
            "the server does not know the zone {zone}: its clock stands at {}, and what it computes itself from TIMESTAMPs \
             (in `select` and `changed`) is off wherever {zone} has another distance from UTC",
            distance(east_s)
        );
        let hint = match flavor {
            Flavor::MariaDb => "load its tables of zones: mariadb-tzinfo-to-sql /usr/share/zoneinfo | mariadb mysql",
            Flavor::Mysql => "load its tables of zones: mysql_tzinfo_to_sql /usr/share/zoneinfo | mysql mysql",
        };
        (!zone.has_one_offset_these_days()).then_some((text, hint))
    }
}

/// Sets a session's clock.
pub(super) async fn set(session: &mut Session, zone: Zone) -> Result<SessionZone> {
    let named = session.execute(format!("set session time_zone = {}", literal(&zone.to_string()))).await;
    if named.is_ok() {
        return Ok(SessionZone::Named);
    }
    let now = session.first("select utc_timestamp()").await?;
    let now = now.into_iter().next().flatten().unwrap_or_default();
    let utc = NaiveDateTime::parse_from_str(&now, "%Y-%m-%d %H:%M:%S").with_context(|| format!("the time `{now}`"))?;
    let east_s = zone.tz().offset_from_utc_datetime(&utc).fix().local_minus_utc();
    session.execute(format!("set session time_zone = '{}'", distance(east_s))).await?;
    Ok(SessionZone::Fixed { east_s, zone })
}

fn distance(east_s: i32) -> String {
    let minutes = TimeDelta::seconds(i64::from(east_s)).num_minutes();
    format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_of_a_fixed_clock_is_shown_on_the_business_clock_of_its_day() {
        let zone: Zone = "Europe/Berlin".parse().expect("a zone");
        let winter = SessionZone::Fixed { east_s: 3600, zone };
        let micros = |text: &str| {
            let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect("a time");
            time.and_utc().timestamp_micros()
        };
        // Shown at +01:00; in July the wall clock is an hour further.
        assert_eq!(winter.on_business_clock(micros("2026-07-01 12:00:00")), micros("2026-07-01 13:00:00"));
        assert_eq!(winter.on_business_clock(micros("2026-01-01 12:00:00")), micros("2026-01-01 12:00:00"));
        assert_eq!(SessionZone::Named.on_business_clock(7), 7);
        let (text, hint) = winter.oddity(Flavor::MariaDb).expect("its clocks turn");
        assert!(text.contains("stands at +01:00") && hint.contains("mariadb-tzinfo-to-sql"), "{text} {hint}");
        let shanghai = SessionZone::Fixed { east_s: 28_800, zone: "Asia/Shanghai".parse().expect("a zone") };
        assert_eq!((SessionZone::Named.oddity(Flavor::Mysql), shanghai.oddity(Flavor::Mysql)), (None, None));
    }

    #[test]
    fn a_distance_is_written_as_the_server_reads_it() {
        assert_eq!([28_800, -12_600, 0].map(distance), ["+08:00", "-03:30", "+00:00"]);
    }
}
