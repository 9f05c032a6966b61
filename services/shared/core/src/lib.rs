//! Words and values that every service shares: failures, trace contexts, digests, ids, time.
//! No async runtime, no I/O.

mod clock;
mod digest;
mod failure;
mod id;
mod trace;

pub use clock::{Clock, SystemClock};
pub use digest::{Digest, DigestError, Hasher};
pub use failure::{Failure, Reason};
pub use id::{ResourceId, ResourceIdError, short_hash};
pub use trace::{SpanId, TraceContext, TraceContextError, TraceId};
