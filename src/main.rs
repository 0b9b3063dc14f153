//! The program: configuration in, a proxy out.

use fca_proxy::config::Config;
use fca_proxy::{cli, log, server};
use std::process::ExitCode;

/// Gives memory back to the system some seconds after clients have left, which glibc's allocator does not, and costs
/// fewer instructions.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli::RunOptions { config, sources } = match cli::run_options() {
        Ok(options) => options,
        Err(end) => return end.tell(),
    };
    log::init(&config.log);
    match server::run(config, move || Config::load(&sources)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}
