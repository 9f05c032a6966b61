//! Compiles the protos with protox (no protoc) and writes the descriptor set for reflection and transcoding.
use std::{env, error::Error, fs, path::PathBuf};

const FILES: &[&str] = &[
    "google/api/annotations.proto",
    "google/api/field_behavior.proto",
    "kfops/type/v1/failure.proto",
    "kfops/type/v1/source.proto",
    "kfops/command/v1/command.proto",
    "kfops/command/v1/delivery.proto",
    "kfops/build/v1/build.proto",
    "kfops/pipeline/v1/state.proto",
    "kfops/pipeline/v1/pipeline_version.proto",
    "kfops/pipeline/v1/run.proto",
    "kfops/serving/v1/rollout.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=kfops");
    println!("cargo:rerun-if-changed=google");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true);
    for file in FILES {
        compiler.open_file(file)?;
    }
    // Encoded from the compiler's own set: prost-types would drop the google.api.http extensions.
    fs::write(out.join("kfops_descriptor.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .bytes(".kfops.command.v1.AcceptDeliveryRequest.payload")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
