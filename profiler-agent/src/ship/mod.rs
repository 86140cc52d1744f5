//! Hands windows to the collector, and keeps what is not yet acknowledged.
