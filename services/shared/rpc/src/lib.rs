//! gRPC between the services: servers with health and reflection, channels with deadlines, failures on the wire,
//! trace contexts, two-stage shutdown.

mod channel;
mod context;
mod convert;
mod lifecycle;
mod measure;
mod mesh;
mod serve;
mod status;

pub use channel::{ChannelError, Deadlines, connect, retry_idempotent};
pub use context::{request, trace_context};
pub use convert::{
    failure_from_proto, failure_to_proto, reason_from_proto, reason_to_proto, time_from_proto, time_to_proto,
};
pub use lifecycle::{Lifecycle, stop_on_signals};
pub use mesh::peer_principal;
pub use serve::{ServeError, bind, serve};
pub use status::{failure_of, status_of};
