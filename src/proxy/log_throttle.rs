//! Log messages about what may happen thousands of times a second.

use std::time::Instant;

use crate::limits::NEWS_PAUSE;

/// Rate-limits a log message: logs the first occurrence, then a count once it has been quiet.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    count: u64,
    last: Option<Instant>,
}

impl LogThrottle {
    /// Counts an occurrence, and calls `log` if it is the first.
    pub(crate) fn occurred(&mut self, log: impl FnOnce()) {
        if self.count == 0 {
            log();
        }
        self.count += 1;
        self.last = Some(Instant::now());
    }

    /// Calls `log` with the number of occurrences, once, if there were any and the last was
    /// [`NEWS_PAUSE`] ago.
    pub(crate) fn may_be_over(&mut self, log: impl FnOnce(u64)) {
        if self.last.is_some_and(|last| last.elapsed() >= NEWS_PAUSE) {
            log(self.count);
            *self = LogThrottle::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_occurrences_are_logged_once_and_counted_when_it_is_quiet() {
        let mut throttle = LogThrottle::default();
        let mut logged = 0;
        (0..1000).for_each(|_| throttle.occurred(|| logged += 1));
        assert_eq!((logged, throttle.count), (1, 1000));
        throttle.may_be_over(|_| panic!("it has only just happened"));
        throttle.last = Instant::now().checked_sub(NEWS_PAUSE);
        let mut counted = 0;
        throttle.may_be_over(|n| counted = n);
        throttle.may_be_over(|_| panic!("logged twice"));
        assert_eq!((counted, throttle.count), (1000, 0));
        throttle.occurred(|| logged += 1);
        assert_eq!(logged, 2, "it is news again");
    }
}
