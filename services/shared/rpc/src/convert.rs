//! Between `core`'s values and their protobuf messages.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kfops_core::{Failure, Reason};
use kfops_proto::common;

/// To the wire.
#[must_use]
pub fn failure_to_proto(failure: &Failure) -> common::Failure {
    common::Failure {
        reason: reason_to_proto(failure.reason).into(),
        message: failure.message.clone(),
        resource: failure.resource.clone(),
        retryable: failure.retryable,
        action: failure.action.clone(),
        log_tail: failure.log_tail.clone(),
    }
}

/// From the wire; a reason that this version does not know becomes `Internal`.
#[must_use]
pub fn failure_from_proto(failure: common::Failure) -> Failure {
    Failure {
        reason: reason_from_proto(failure.reason()),
        message: failure.message,
        resource: failure.resource,
        retryable: failure.retryable,
        action: failure.action,
        log_tail: failure.log_tail,
    }
}

/// To the wire.
#[must_use]
pub fn reason_to_proto(reason: Reason) -> common::Reason {
    common::Reason::from_str_name(&format!("REASON_{}", reason.as_str())).unwrap_or(common::Reason::Internal)
}

/// From the wire.
#[must_use]
pub fn reason_from_proto(reason: common::Reason) -> Reason {
    let name = reason.as_str_name().trim_start_matches("REASON_");
    Reason::ALL.iter().copied().find(|r| r.as_str() == name).unwrap_or(Reason::Internal)
}

/// To the wire.
#[must_use]
pub fn time_to_proto(time: SystemTime) -> prost_types::Timestamp {
    time.into()
}

/// From the wire; None for times before 1970 or out of range.
#[must_use]
pub fn time_from_proto(time: &prost_types::Timestamp) -> Option<SystemTime> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let nanos = u32::try_from(time.nanos).ok()?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_twin_on_the_wire() {
        for reason in Reason::ALL {
            assert_eq!(reason_from_proto(reason_to_proto(*reason)), *reason, "{reason}");
        }
        for number in 1..=200 {
            if let Ok(wire) = common::Reason::try_from(number) {
                assert_eq!(reason_to_proto(reason_from_proto(wire)), wire, "{}", wire.as_str_name());
            }
        }
    }
}
