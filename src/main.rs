//! The program: configuration in, a proxy out.

use fca_proxy::config::Config;
use fca_proxy::{cli, log, server};
use std::process::ExitCode;

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
