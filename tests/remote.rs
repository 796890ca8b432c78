//! Trainings on devices that two servers on this machine host: the result of a local one, and a server that dies.
//!
//! ```text
//! cargo test --release --workspace --features remote-server --test remote
//! ```
#![cfg(unix)]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// An example of this build.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().expect("the test's own path");
    let target = tests.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{}: missing; `cargo test` builds it", path.display());
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // With it a panic prints more than one line.
    command.env_remove("RUST_BACKTRACE");
    command
}

/// A server of one device, killed at the end.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(port: u16) -> Self {
        let mut command = example("serve_device");
        command.args(["--device", "flex", "--port", &port.to_string()]).stderr(Stdio::null());
        let process = command.spawn().expect("the server starts");
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "nobody listens on port {port}");
            thread::sleep(Duration::from_millis(20));
        }
        Self { process, port }
    }

    fn device(&self) -> String {
        format!("remote:ws://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A short training in `root/name` on these devices.
fn training(root: &Path, name: &str, devices: &str) -> Command {
    let mut command = example("retinanet_coco");
    command.args(["--smoke", "--method", "sed", "--iterations", "12", "--checkpoint-every", "1"]);
    command.args(["--device", devices, "--run-dir"]).arg(root.join(name));
    command.arg("--cache-dir").arg(root.join("cache"));
    command
}

fn finished(mut command: Command) -> Output {
    let output = command.output().expect("the example starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn file(root: &Path, run: &str, name: &str) -> PathBuf {
    root.join(run).join("sed").join(name)
}

/// The columns of the metrics that are losses, one row a step.
fn losses(root: &Path, run: &str) -> Vec<f64> {
    let text = fs::read_to_string(file(root, run, "metrics.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let column = header.iter().position(|name| *name == "loss").unwrap();
    lines.filter_map(|line| line.split(',').nth(column)?.parse().ok()).collect()
}

#[test]
fn two_servers_train_as_this_process_does_and_a_dead_one_is_told() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    finished(training(root, "local", "flex,flex"));
    let (first, second) = (Server::start(free_port()), Server::start(free_port()));
    let devices = format!("{},{}", first.device(), second.device());
    finished(training(root, "remote", &devices));

    // The servers use Burn's convolution, this process the one of `sed-models`: sums run in other orders, which rounds
    // the first losses otherwise. Each step after it makes more of that: the optimizer divides by the size of a
    // gradient, so the sign of one that is next to nothing decides about a whole step.
    let (local, remote) = (losses(root, "local"), losses(root, "remote"));
    assert_eq!((local.len(), remote.len()), (12, 12));
    for (step, (local, remote)) in local.iter().zip(&remote).enumerate() {
        let tolerance = if step == 0 { 1e-5 } else { 5e-3 };
        assert!(
            (local - remote).abs() < tolerance * local.abs(),
            "step {step}: {local} here, {remote} there"
        );
    }

    // The second server dies in the middle of a run.
    let mut child = training(root, "broken", &devices).spawn().unwrap();
    let metrics = file(root, "broken", "metrics.csv");
    let deadline = Instant::now() + Duration::from_secs(300);
    while fs::read_to_string(&metrics).unwrap_or_default().lines().count() < 6 {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "no six rows");
        thread::sleep(Duration::from_millis(1));
    }
    drop(second);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");

    // With a server in its place the run goes on, and ends as the one that nothing disturbed. It listens on another port: the first server
    // keeps its closed connection to the address of the dead one (Burn 0.22.1).
    let third = Server::start(free_port());
    let devices = format!("{},{}", first.device(), third.device());
    let mut resume = example("retinanet_coco");
    resume.arg("--resume").arg(root.join("broken")).arg("--cache-dir").arg(root.join("cache"));
    resume.args(["--device", &devices]);
    finished(resume);
    for name in ["student.safetensors", "teacher.safetensors", "metrics.csv"] {
        let read = |run| fs::read(file(root, run, name)).unwrap();
        assert!(read("broken") == read("remote"), "{name} differs");
    }
}
