//! flamewatch-agent: samples this host, names the frames, ships folded stacks.
//!
//! Modules stand in the order in which a sample passes through them.

pub mod args;
pub mod config;
pub mod target;
pub mod host;
pub mod clock;

pub mod kernel;
pub mod source;
pub mod drain;
pub mod process;
pub mod unwind;
pub mod normalize;
pub mod symbolize;
pub mod latency;
pub mod fold;
pub mod ship;

pub mod sampler;
pub mod pipeline;
pub mod capture;
pub mod check;
pub mod metrics;
pub mod admin;
