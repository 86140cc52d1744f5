//! flamewatch-collector: keeps profiles, compares them with their baseline, raises alerts.
//!
//! Modules stand in the order in which a batch passes through them.

pub mod args;
pub mod config;

pub mod ingest;
pub mod store;
pub mod query;
pub mod diff;
pub mod detect;
pub mod history;
pub mod gate;
pub mod alert;
pub mod show;

pub mod server;
pub mod metrics;
pub mod admin;
