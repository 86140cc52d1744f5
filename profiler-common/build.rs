//! Generates the wire types from `proto/` without an external protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "std")]
    {
        const PROTO: &str = "proto/flamewatch/v1/ingest.proto";
        println!("cargo:rerun-if-changed={PROTO}");
        let descriptors = protox::compile([PROTO], ["proto"])?;
        tonic_prost_build::configure().compile_fds(descriptors)?;
    }
    Ok(())
}
