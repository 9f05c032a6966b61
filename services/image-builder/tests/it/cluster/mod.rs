//! Builds in a real cluster: the one that KFOPS_TEST_CLUSTER (a kubeconfig) leads to, with its registry and its S3.

mod builds;
mod collector;
mod image;
mod obstacles;
mod proxy;
mod world;
