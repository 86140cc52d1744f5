//! The format between agent and collector: generated types, version, and size limits.
//!
//! Both sides check the limits: the agent so as not to make what will be refused, the collector because bytes from
//! outside are never trusted.

/// Types generated from `proto/flamewatch/v1/ingest.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::doc_markdown,
    clippy::clone_on_ref_ptr,
    clippy::allow_attributes_without_reason,
    reason = "generated code; the documentation is in the .proto file"
)]
pub mod v1 {
    tonic::include_proto!("flamewatch.v1");
}

/// Version of the batch format that this build speaks.
pub const PROTOCOL_VERSION: u32 = 2;

/// Largest encoded batch, in bytes. A window of 10 s on a 64-core host at 99 Hz has at most 63,360 samples; with 200
/// bytes for each unique stack that is 12.7 MB.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// Largest encoded push: a batch, and the slots of its session, three bytes each at most.
pub const PUSH_BYTES_MAX: usize = BATCH_BYTES_MAX + (64 << 10);

const _: () = assert!(SLOTS_MAX * 3 < 64 << 10);

/// Most frames in one stack: 127 kernel frames and 512 user frames with inlined ones expanded.
pub const STACK_FRAMES_MAX: usize = 1024;

/// Longest string in the dictionary, in bytes. Demangled C++ names can reach tens of kilobytes; longer ones are cut.
pub const STRING_BYTES_MAX: usize = 4096;

/// Most strings, frames, or stacks in one batch.
pub const DICTIONARY_ENTRIES_MAX: usize = 1 << 20;

/// Most services in one batch.
pub const SERVICES_MAX: usize = 1 << 16;

/// Most ways in which a walk may end in one service: ten are known, and newer agents may add some.
pub const WALK_ENDS_MAX: usize = 32;

/// Most slots of a session: ten services with 1,600 live stacks each. An agent needs 80 bytes for one, a collector from 4
/// to 70, the more the fewer agents have the same stack.
pub const SLOTS_MAX: usize = 1 << 14;

/// Metadata of an answer that asks for the same batch under a new session, at once.
pub const SEND: &str = "flamewatch-send";

/// The value of [`SEND`].
pub const SEND_WHOLE: &str = "whole";

/// Metadata of an answer that asks for the same batch later: milliseconds, in decimal, as gRPC names it.
pub const RETRY_AFTER_MS: &str = "grpc-retry-pushback-ms";
