//! Which hours are alike: the same hour of the day on a day of the same class.

/// Hours of a day.
pub(super) const DAY_HOURS: usize = 24;

/// Where local days begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Calendar {
    /// Hours that local midnight is before that of UTC.
    pub(super) utc_offset_hours: i8,
}

impl Calendar {
    /// Whether an hour, counted since 1970, lies on a Saturday or a Sunday. 1970 began on a Thursday.
    pub(super) fn is_weekend(self, hour: u64) -> bool {
        const DAYS_OF_THURSDAY: u64 = 3;
        (self.local(hour) / DAY_HOURS as u64 + DAYS_OF_THURSDAY) % 7 >= 5
    }

    /// Number of the hour among those that differ: 0 to 23 on weekdays, 24 to 47 on the weekend.
    pub(super) fn class_hour(self, hour: u64) -> usize {
        let of_day = (self.local(hour) % DAY_HOURS as u64) as usize;
        if self.is_weekend(hour) { DAY_HOURS + of_day } else { of_day }
    }

    fn local(self, hour: u64) -> u64 {
        hour.saturating_add_signed(i64::from(self.utc_offset_hours))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weekend_is_saturday_and_sunday_of_the_place() {
        // 2026-11-21 00:00 UTC, a Saturday: 20,778 days after 1970-01-01.
        let saturday = 20_778 * 24;
        let utc = Calendar { utc_offset_hours: 0 };
        let weekend = |calendar: Calendar, hour: u64| calendar.is_weekend(hour);
        assert!(!weekend(utc, saturday - 1));
        assert!(weekend(utc, saturday));
        assert!(weekend(utc, saturday + 47));
        assert!(!weekend(utc, saturday + 48));
        assert!(weekend(Calendar { utc_offset_hours: 9 }, saturday - 9));
        assert!(!weekend(Calendar { utc_offset_hours: -5 }, saturday + 4));
        assert_eq!(utc.class_hour(saturday + 5), 29);
        assert_eq!(utc.class_hour(saturday - 1), 23);
    }
}
