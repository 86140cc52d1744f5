//! What every store promises, asked through the trait alone.
//!
//! Each promise writes services of its own, so one store serves all of them: what is kept of all services is compared
//! before and after.

pub(crate) mod answers;
pub(crate) mod batches;
pub(crate) mod model;
pub(crate) mod promises;
pub(crate) mod random;
pub(crate) mod subject;
