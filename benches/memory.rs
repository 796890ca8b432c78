//! Three supervised steps of RetinaNet of ResNet-50 on one image of 512², for the peak memory of a process that does
//! nothing else; prints the most resident memory in MiB, where the system tells it.

mod common;

use burn::tensor::Device;
use common::retinanet::{self, Supervised};

fn main() {
    let mut training = Supervised::new(retinanet::resnet50(&Device::flex()), 1, 512);
    for _ in 0..3 {
        training.step();
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<f64>().ok());
    match kib {
        Some(kib) => println!("peak_rss_mib {:.0}", kib / 1024.0),
        None => println!("peak_rss_mib unknown"),
    }
}
