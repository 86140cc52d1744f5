//! Runs independent rounds on a few threads; the result does not depend on how many.

use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many threads work: what the machine has, unless told otherwise.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads work.
pub(crate) fn set_threads(threads: usize) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// The results of rounds 0 to `rounds`, in order.
pub(crate) fn rounds<T: Send>(rounds: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = match THREADS.load(Ordering::Relaxed) {
        0 => std::thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(rounds));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let round = next.fetch_add(1, Ordering::Relaxed);
                    if round >= rounds {
                        return;
                    }
                    let result = work(round);
                    if let Ok(mut done) = done.lock() {
                        done.push((round, result));
                    }
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_default();
    done.sort_by_key(|(round, _)| *round);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_order_however_many_threads_work() {
        let expected: Vec<usize> = (0..50).map(|round| round * round).collect();
        for threads in [1, 4] {
            set_threads(threads);
            assert_eq!(rounds(50, |round| round * round), expected);
        }
    }
}
