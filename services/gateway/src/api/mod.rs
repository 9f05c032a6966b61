//! scm-bot over gRPC, and the gRPC face of the gateway. The only folder here that sees tonic and kfops-proto.

mod bounded;
mod codec;
mod grpc;
mod upstream;

use kfops_core::Failure;
use tonic::Code;

pub(crate) use grpc::GrpcFace;
pub(crate) use upstream::{Accepted, Call, Delivery, Face, Messages, Upstream};

/// The services that are offered outside. Whatever else is in the protos stays inside.
pub(crate) const EXPOSED: &[&str] = &["kfops.command.v1.CommandService"];

/// HTTP status and gRPC code name of a failure (AIP-193).
pub(crate) fn http_code(failure: &Failure) -> (u16, &'static str) {
    match kfops_rpc::status_of(failure).code() {
        Code::Ok => (200, "OK"),
        Code::Cancelled => (499, "CANCELLED"),
        Code::Unknown => (500, "UNKNOWN"),
        Code::InvalidArgument => (400, "INVALID_ARGUMENT"),
        Code::DeadlineExceeded => (504, "DEADLINE_EXCEEDED"),
        Code::NotFound => (404, "NOT_FOUND"),
        Code::AlreadyExists => (409, "ALREADY_EXISTS"),
        Code::PermissionDenied => (403, "PERMISSION_DENIED"),
        Code::ResourceExhausted => (429, "RESOURCE_EXHAUSTED"),
        Code::FailedPrecondition => (400, "FAILED_PRECONDITION"),
        Code::Aborted => (409, "ABORTED"),
        Code::OutOfRange => (400, "OUT_OF_RANGE"),
        Code::Unimplemented => (501, "UNIMPLEMENTED"),
        Code::Internal => (500, "INTERNAL"),
        Code::Unavailable => (503, "UNAVAILABLE"),
        Code::DataLoss => (500, "DATA_LOSS"),
        Code::Unauthenticated => (401, "UNAUTHENTICATED"),
    }
}
