//! Planted bugs: ports that break a rule. The schedules must find each of them.
