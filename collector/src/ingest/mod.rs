//! Accepts batches over gRPC; acknowledges what is durable.
