//! The wire contract of Kfops, generated from `proto/kfops`. Only a service's `api.rs` and its clients see it.

#[allow(clippy::all, reason = "generated code")]
mod kfops {
    pub mod r#type {
        pub mod v1 {
            tonic::include_proto!("kfops.r#type.v1");
        }
    }
    pub mod command {
        pub mod v1 {
            tonic::include_proto!("kfops.command.v1");
        }
    }
    pub mod build {
        pub mod v1 {
            tonic::include_proto!("kfops.build.v1");
        }
    }
    pub mod pipeline {
        pub mod v1 {
            tonic::include_proto!("kfops.pipeline.v1");
        }
    }
    pub mod serving {
        pub mod v1 {
            tonic::include_proto!("kfops.serving.v1");
        }
    }
}

pub use kfops::build::v1 as build;
pub use kfops::command::v1 as command;
pub use kfops::pipeline::v1 as pipeline;
pub use kfops::serving::v1 as serving;
/// `Failure`, `Reason`, `SourceArchive`, `ImageReference`, `Model`.
pub use kfops::r#type::v1 as common;

/// The encoded `FileDescriptorSet` of all protos, with comments and `google.api.http`: for reflection, REST and OpenAPI.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kfops_descriptor.bin"));
