//! The collector's memory of each service: what its functions did in the last weeks, apart from the blocks of the store.
//!
//! Raw blocks are too many to read four weeks of them at each evaluation, and retention deletes them. So each window of
//! ten minutes is read once, counted by function, and kept in a [`Timeline`](crate::detect::temporal::Timeline).
//!
//! # Sizes
//!
//! At most 512 functions × 2 counts × (288 short + 672 long windows) × 4 bytes = 3.9 MB of a service while it is
//! judged. Between two judgements it is packed: counts are kept to a quarter of their own sampling noise and
//! compressed, about 4 bits each, 0.5 MB for a service with 512 functions in all windows, 0.25 MB for a typical one
//! of 300 whose lesser functions are absent from many. 500 services take 125 to 250 MB of memory at most, and as much
//! of the store; each is written once an hour, 35 to 70 KB/s for all.

mod count;
mod bytes;
mod pack;
mod memory;

pub use count::counts_of;
pub use memory::{Memory, Observed, SETTLED_NS};
pub use pack::{UnpackError, pack, unpack};
