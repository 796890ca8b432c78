//! Serves devices of this machine to trainings on other machines, until it is ended by Ctrl-C.
//!
//! ```text
//! cargo run --release --features remote-server --example serve_device -- --device flex --port 3000
//! ```
//!
//! There, a training with `--features remote` and `--device remote:ws://HOST:3000` computes on the first of these devices. What is sent is
//! not encrypted: for trusted networks only.

mod common;

use std::process::ExitCode;

use anyhow::{Context, Result};
use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};
use clap::Parser;
use common::args::DEFAULT_DEVICE;
use sed::core::device::{REMOTE_TOKEN, parse_device};

/// Serves devices of this machine to trainings on other machines.
///
/// Without the environment variable SED_REMOTE_TOKEN it serves whoever can reach the port; with it, those who have the same word in
/// theirs. Nothing is encrypted.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Args {
    /// The devices, in the order of their numbers: default, flex, ndarray, wgpu, vulkan, metal, cuda:0, rocm:0.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = DEFAULT_DEVICE)]
    device: Vec<String>,
    /// The port.
    #[arg(long, value_name = "N", default_value_t = 3000)]
    port: u16,
}

fn main() -> ExitCode {
    common::exit_code(|| run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    let devices = args.device.iter().map(|name| parse_device(name)).collect::<Result<Vec<_>, _>>()?;
    let server = RemoteServer::new(devices);
    let transport = WebSocketTransport::new(args.port);
    println!("serving {} on port {}", args.device.join(", "), args.port);
    match std::env::var(REMOTE_TOKEN) {
        Ok(token) => {
            let authorizer = TokenAuthorizer::new(token).context(REMOTE_TOKEN)?;
            server.with_authorizer(authorizer).serve(transport)?;
        }
        Err(_) => server.serve(transport)?,
    }
    Ok(())
}
