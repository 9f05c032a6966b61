//! What the gateway needs from outside: spans, time, randomness.

use std::{fmt, sync::Arc};

use kfops_core::{Clock, SystemClock, TraceContext};
use kfops_telemetry::Tracer;

/// What the gateway needs from outside. The same on one machine and in a cluster.
#[derive(Clone)]
pub struct Ports {
    /// Takes the gateway's spans.
    pub tracer: Tracer,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives the ids of new traces.
    pub random: Arc<dyn Fn() -> [u8; 24] + Send + Sync>,
}

impl Ports {
    /// The machine's clock and randomness.
    #[must_use]
    pub fn local(tracer: Tracer) -> Self {
        Self { tracer, clock: Arc::new(SystemClock), random: Arc::new(rand::random) }
    }

    /// The root of a new trace, proposed to scm-bot; it exists only if a command begins.
    pub(crate) fn new_trace(&self) -> TraceContext {
        TraceContext::from_random((self.random)())
    }
}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").field("tracer", &self.tracer).finish_non_exhaustive()
    }
}
