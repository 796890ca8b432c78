//! Memory of the process.

/// Memory of the process in bytes, as the system counts it.
///
/// ```
/// use sed_train::report::ResidentMemory;
///
/// // `None` on a system that does not tell.
/// if let Some(memory) = ResidentMemory::of_this_process() {
///     assert!(0 < memory.current && memory.current <= memory.peak);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResidentMemory {
    /// What is resident now.
    pub current: u64,
    /// The most that was resident since the process started.
    pub peak: u64,
}

impl ResidentMemory {
    /// The memory of this process from `/proc/self/status`; `None` where the system has no such file.
    ///
    /// Memory of a GPU is not part of it.
    pub fn of_this_process() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/status").ok()?)
    }

    /// The lines `VmRSS` and `VmHWM`, in kB, which here means 1024 bytes.
    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| -> Option<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
        };
        Some(Self { current: bytes("VmRSS")?, peak: bytes("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_the_system_are_read() {
        let status = "Name:\tsed\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t2\n";
        assert_eq!(
            ResidentMemory::parse(status),
            Some(ResidentMemory { current: 1024 * 1024, peak: 2048 * 1024 })
        );
        for odd in ["", "VmRSS:\t1 kB\n", "VmRSS:\tmany kB\nVmHWM:\t1 kB\n", "VmRSS:\t1\nVmHWM:\t2\n"] {
            assert_eq!(ResidentMemory::parse(odd), None, "{odd:?}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_that_is_written_to_becomes_resident() {
        // Opaque, or the compiler leaves out a block that nobody reads.
        let block = std::hint::black_box(vec![1_u8; 256 << 20]);
        // Other tests of this process take and give back memory meanwhile, but this block stays.
        let memory = ResidentMemory::of_this_process().unwrap();
        assert!(memory.current >= block.len() as u64, "{memory:?}");
        assert!(memory.peak >= memory.current, "{memory:?}");
        std::hint::black_box(block);
    }
}
