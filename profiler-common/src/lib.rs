//! What two programs must agree on: the kernel interface, profiles, the wire format, and pprof. No I/O.

#![cfg_attr(not(feature = "std"), no_std)]

pub mod abi;
pub mod unwind;
#[cfg(feature = "std")]
pub mod profile;
#[cfg(feature = "std")]
pub mod pprof;
#[cfg(feature = "std")]
pub mod wire;
#[cfg(feature = "std")]
pub mod stack_key;
