//! Many agents in one process: the traffic of a fleet without its hosts.
//!
//! A [`Fleet`] says what runs where and makes the batch of any agent and window, the same one each time it is asked. A
//! [`Drive`] sends them through the agent's own client, in the agent's own rhythm, and tells when each was acknowledged.

mod recorded;
mod zipf;
mod fleet;
mod batch;
mod drive;
mod journal;
mod meter;
mod usage;

pub use batch::{SentBatch, Window};
pub use drive::{Drive, Pace};
pub use fleet::{Fleet, FleetSize};
pub use journal::{Journal, Summary};
pub use meter::Meter;
pub use usage::cpu_seconds;
