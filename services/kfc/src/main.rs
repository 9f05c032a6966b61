//! The binary `kfc`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    kfops_kfc::main().await
}
