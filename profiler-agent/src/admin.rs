//! The agent's own HTTP: metrics, health, readiness.
