//! Takes back questions that nobody waits for any more.
//!
//! A question runs on one thread from its begin to its end, so the sign to stop is kept with the thread: a store looks at
//! it between the rows that it reads.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::StoreError;

thread_local! {
    static CURRENT: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Asks a question that stops soon after `cancelled` becomes true.
pub fn until<T>(cancelled: &Arc<AtomicBool>, question: impl FnOnce() -> T) -> T {
    /// Puts the outer question back, also when the inner one panics.
    struct Outer(Option<Arc<AtomicBool>>);
    impl Drop for Outer {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _outer = Outer(CURRENT.replace(Some(Arc::clone(cancelled))));
    question()
}

/// The sign to stop of the question that this thread works on.
pub(super) fn current() -> Option<Arc<AtomicBool>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Fails once the question was taken back.
pub(super) fn check() -> Result<(), StoreError> {
    let is_cancelled = CURRENT.with_borrow(|current| {
        current.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    });
    if is_cancelled { Err(StoreError::Cancelled) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_that_was_taken_back_stops() {
        let (outer, inner) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
        until(&outer, || {
            check().unwrap();
            until(&inner, || assert!(matches!(check(), Err(StoreError::Cancelled))));
            check().unwrap();
        });
        assert!(current().is_none());
    }
}
