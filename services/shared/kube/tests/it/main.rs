//! Jobs on a real cluster: the one that KFOPS_TEST_CLUSTER (a kubeconfig) leads to.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod jobs;
mod obstacles;
mod world;
