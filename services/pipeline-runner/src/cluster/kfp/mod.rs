//! KFP's REST API v2beta1: typed, with a deadline on every call, at a civil rate.

mod calls;
mod client;
mod names;
mod problem;
#[cfg(test)]
mod tests;
mod wire;

pub(super) use calls::{Health, RunRequest};
pub(super) use client::Client;
pub(super) use names::safe_name;
pub(super) use problem::Problem;
pub(super) use wire::{Artifact, NextTask, Parameter, Run, State, TaskDetail, moment};
