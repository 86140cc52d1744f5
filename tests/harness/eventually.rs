//! Asks again and again until a promise is kept or its deadline has passed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time between two questions.
pub const PAUSE: Duration = Duration::from_millis(200);

/// Waits until the question has an answer.
///
/// # Errors
///
/// The question's own error at once, or a timeout that says what was waited for.
pub fn some<T>(
    what: &str,
    limit: Duration,
    question: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    some_asking_every(PAUSE, what, limit, question)
}

/// Waits until the question has an answer, asked so often.
///
/// # Errors
///
/// As [`some`].
pub fn some_asking_every<T>(
    pause: Duration,
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = question()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain until {what}", limit.as_secs());
        }
        sleep(pause);
    }
}

/// Waits until the attempt succeeds, and reports the last failure otherwise.
///
/// # Errors
///
/// A timeout that carries the last failure.
pub fn ok<T>(what: &str, limit: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match attempt() {
            Ok(answer) => return Ok(answer),
            Err(error) if Instant::now() >= deadline => {
                return Err(
                    error.context(format!("waited {} s in vain until {what}", limit.as_secs()))
                );
            }
            Err(_) => sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_the_wait() {
        let mut asked = 0;
        let answer = some("three", Duration::from_secs(5), || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn a_timeout_carries_the_last_failure() {
        let answer: Result<()> = ok("it works", Duration::ZERO, || bail!("not yet"));
        assert!(format!("{:#}", answer.unwrap_err()).contains("not yet"));
    }
}
