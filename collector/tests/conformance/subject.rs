//! The store under test, and how it is closed and opened again.

use flamewatch_collector::store::Store;

/// A store that can be closed and opened again.
pub(crate) struct Subject {
    store: Option<Box<dyn Store>>,
    open: Box<dyn Fn() -> Box<dyn Store>>,
}

impl Subject {
    /// Opens the store; `open` is called again after each close.
    pub(crate) fn new(open: impl Fn() -> Box<dyn Store> + 'static) -> Self {
        Self { store: Some(open()), open: Box::new(open) }
    }

    pub(crate) fn store(&self) -> &dyn Store {
        self.store.as_deref().unwrap()
    }

    /// As a collector that ended and starts again.
    pub(crate) fn reopen(&mut self) {
        self.store = None;
        self.store = Some((self.open)());
    }
}
