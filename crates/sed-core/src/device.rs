//! The choice of a device by name, with an error where Burn would panic.
//!
//! Burn creates GPU devices lazily and panics, several times and from several threads, when the
//! driver is missing. Here a device is looked for in three steps before it is handed out: is its
//! backend compiled in, does the loader know the driver's library, and does a first small
//! computation on it succeed.

mod driver;
mod remote;

use std::{
    fmt,
    panic::{self, AssertUnwindSafe},
    str::FromStr,
    sync::{Mutex, PoisonError},
};

use burn::tensor::{Device, Tensor};
use thiserror::Error;

/// The environment variable with the word by which a server of devices knows its clients, if it asks for one.
///
/// ```
/// assert_eq!(sed_core::device::REMOTE_TOKEN, "SED_REMOTE_TOKEN");
/// ```
pub const REMOTE_TOKEN: &str = "SED_REMOTE_TOKEN";

/// A backend that can be compiled in.
///
/// ```
/// use sed_core::device::Backend;
///
/// let backend: Backend = "cpu".parse()?;
/// assert_eq!(backend, Backend::Flex);
/// assert!(backend.is_compiled() && !backend.is_gpu());
/// assert_eq!(Backend::Cuda.to_string(), "cuda");
/// # Ok::<(), sed_core::device::DeviceError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Burn's CPU backend in plain Rust, the default.
    Flex,
    /// The older CPU backend, kept to test one backend against another.
    Ndarray,
    /// A GPU by the graphics interface that suits the machine.
    Wgpu,
    /// A GPU by Vulkan.
    Vulkan,
    /// A GPU of Apple.
    Metal,
    /// A GPU of NVIDIA.
    Cuda,
    /// A GPU of AMD.
    Rocm,
}

/// Why no device came of a name.
///
/// ```
/// use sed_core::device::{DeviceError, parse_device};
///
/// assert_eq!(parse_device("abacus"), Err(DeviceError::Unknown("abacus".to_owned())));
/// let error = parse_device("flex:1").unwrap_err();
/// assert!(matches!(&error, DeviceError::Index { name, .. } if name == "flex"));
/// assert_eq!(error.to_string(), "device `flex`: `1` is not a valid index, this device takes none");
/// ```
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DeviceError {
    /// No backend has that name.
    #[error(
        "unknown device `{0}`: expected default, flex, cpu, ndarray, wgpu, vulkan, metal, cuda or rocm, the last five \
         optionally with an index as in cuda:0, or remote:ws://HOST:PORT"
    )]
    Unknown(String),
    /// What follows the colon is no index, or the backend has one device only.
    #[error("device `{name}`: `{index}` is not a valid index{}", index_hint(.indexed))]
    Index {
        /// The name before the colon.
        name: String,
        /// The text after the colon.
        index: String,
        /// Whether the backend takes an index at all.
        indexed: bool,
    },
    /// The backend is not part of this program.
    #[error("device `{0}` is not compiled in: build with --features {0} (compiled in: {compiled})", compiled = compiled_list())]
    NotCompiled(Backend),
    /// What follows `remote:` is no address of a server.
    #[error(
        "device `remote:{0}`: expected remote:ws://HOST:PORT, with #I behind it for another than the first device there"
    )]
    Address(String),
    /// Devices of other machines are not part of this program.
    #[error("devices of other machines are not compiled in: build with --features remote")]
    RemoteNotCompiled,
    /// Nothing is compiled in.
    #[error("no device is compiled in: build with --features flex")]
    NoBackend,
    /// The system lacks the driver.
    #[error("device `{backend}`: no driver found ({library}); install it or choose another device (compiled in: {compiled})", compiled = compiled_list())]
    NoDriver {
        /// The backend asked for.
        backend: Backend,
        /// The library that was looked for, or what else is missing.
        library: &'static str,
    },
    /// The driver is there, and the device still does not compute.
    #[error("device `{device}` cannot be used: {reason}")]
    Unusable {
        /// The name asked for.
        device: String,
        /// The first line of Burn's own message.
        reason: String,
    },
    /// The name comes from the environment.
    #[error("environment variable BURN_DEVICE: {0}")]
    Environment(Box<DeviceError>),
}

impl Backend {
    /// All backends, in the order in which `default` prefers them: Burn's own order.
    ///
    /// ```
    /// use sed_core::device::Backend;
    ///
    /// let gpus = Backend::ALL.into_iter().filter(|backend| backend.is_gpu()).count();
    /// assert_eq!((gpus, Backend::ALL.len()), (5, 7));
    /// ```
    pub const ALL: [Self; 7] =
        [Self::Cuda, Self::Metal, Self::Rocm, Self::Vulkan, Self::Wgpu, Self::Flex, Self::Ndarray];

    /// The backends that are compiled in, preferred first.
    ///
    /// ```
    /// use sed_core::device::Backend;
    ///
    /// let compiled = Backend::compiled();
    /// assert!(compiled.contains(&Backend::Flex));
    /// assert!(compiled.iter().all(|backend| backend.is_compiled()));
    /// ```
    pub fn compiled() -> Vec<Self> {
        Self::ALL.into_iter().filter(|backend| backend.is_compiled()).collect()
    }

    /// Whether the backend is compiled in.
    ///
    /// This follows the features of this crate; a program that switches on Burn's own features
    /// instead creates its devices by Burn.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Flex => cfg!(feature = "flex"),
            // The tests of this crate always have Burn's ndarray, as a development dependency.
            Self::Ndarray => cfg!(any(feature = "ndarray", test)),
            Self::Wgpu => cfg!(any(feature = "wgpu", feature = "vulkan", feature = "metal")),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Rocm => cfg!(feature = "rocm"),
        }
    }

    /// The name on the command line, which is the Cargo feature's too.
    ///
    /// ```
    /// use sed_core::device::Backend;
    ///
    /// for backend in Backend::ALL {
    ///     assert_eq!(backend.name().parse(), Ok(backend));
    /// }
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Flex => "flex",
            Self::Ndarray => "ndarray",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Metal => "metal",
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
        }
    }

    /// Whether the backend computes on a GPU, and so takes an index and needs a driver.
    pub fn is_gpu(self) -> bool {
        !matches!(self, Self::Flex | Self::Ndarray)
    }

    /// Burn's device, not yet tried; `None` where the backend is not compiled in.
    fn device(self, index: Option<usize>) -> Option<Device> {
        // For wgpu and its kin an index counts discrete GPUs; without one the best adapter is taken.
        #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
        let kind =
            index.map_or(burn::tensor::DeviceKind::DefaultDevice, burn::tensor::DeviceKind::DiscreteGpu);
        #[cfg(any(feature = "cuda", feature = "rocm"))]
        let first = index.unwrap_or(0);
        let _ = index;
        match self {
            #[cfg(feature = "flex")]
            Self::Flex => Some(Device::flex()),
            #[cfg(any(feature = "ndarray", test))]
            #[expect(deprecated, reason = "Burn keeps ndarray for comparison only, and so do we")]
            Self::Ndarray => Some(Device::ndarray()),
            #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
            Self::Wgpu => Some(Device::wgpu(kind)),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::vulkan(kind)),
            #[cfg(feature = "metal")]
            Self::Metal => Some(Device::metal(kind)),
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(Device::cuda(first)),
            #[cfg(feature = "rocm")]
            Self::Rocm => Some(Device::rocm(first)),
            #[allow(unreachable_patterns)]
            _ => None,
        }
    }

    fn open(self, index: Option<usize>) -> Result<Device, DeviceError> {
        if !self.is_compiled() {
            return Err(DeviceError::NotCompiled(self));
        }
        if let Some(library) = driver::missing(self) {
            return Err(DeviceError::NoDriver { backend: self, library });
        }
        let Some(device) = self.device(index) else {
            return Err(DeviceError::NotCompiled(self));
        };
        if self.is_gpu() {
            let name = index.map_or(self.name().to_owned(), |index| format!("{self}:{index}"));
            catch_panic(|| compute_once(&device))
                .and_then(|result| result)
                .map_err(|reason| DeviceError::Unusable { device: name, reason })?;
        }
        Ok(device)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Backend {
    type Err = DeviceError;

    /// The backend of a name without index; `cpu` is another name of `flex`.
    fn from_str(name: &str) -> Result<Self, DeviceError> {
        let name = name.trim().to_lowercase();
        let plain = if name == "cpu" { "flex" } else { &name };
        Self::ALL.into_iter().find(|backend| backend.name() == plain).ok_or(DeviceError::Unknown(name))
    }
}

/// The device of a name: `default`, `flex` (or `cpu`), `ndarray`, `wgpu[:i]`, `vulkan[:i]`,
/// `metal[:i]`, `cuda[:i]`, `rocm[:i]`, or `remote:ws://host:port[#i]` for a device that a server of Burn hosts (feature
/// `remote`), unencrypted and so for trusted networks only; [`REMOTE_TOKEN`] holds the word that the server asks for.
///
/// `default` is [`default_device`]. The index of wgpu, vulkan and metal counts discrete GPUs;
/// without an index they take the adapter that the system prefers.
///
/// # Errors
///
/// If the name is unknown, the backend is not compiled in, its driver is missing, or a first
/// computation on it fails. A name is never replaced by another device.
///
/// ```
/// use sed_core::device::parse_device;
///
/// let device = parse_device("cpu")?;
/// assert!(!device.is_autodiff());
/// assert!(parse_device("abacus").is_err());
/// # Ok::<(), sed_core::device::DeviceError>(())
/// ```
pub fn parse_device(name: &str) -> Result<Device, DeviceError> {
    let name = name.trim();
    if name.eq_ignore_ascii_case("default") {
        return default_device();
    }
    open(name)
}

/// The device that the environment variable `BURN_DEVICE` names, in the form of [`parse_device`];
/// without it the first of CUDA, Metal, ROCm, Vulkan, wgpu, flex and ndarray that is compiled in.
///
/// Burn's `Device::default()` follows the same variable and the same order, but panics on errors,
/// takes no index, and reads `cpu` as a backend that is not used here.
///
/// # Errors
///
/// As [`parse_device`], or if nothing is compiled in.
///
/// ```
/// use burn::tensor::Tensor;
/// use sed_core::device::default_device;
///
/// let device = default_device()?;
/// let three = Tensor::<1>::ones([3], &device).sum();
/// assert_eq!(three.into_scalar::<f32>(), 3.0);
/// # Ok::<(), sed_core::device::DeviceError>(())
/// ```
pub fn default_device() -> Result<Device, DeviceError> {
    match std::env::var_os("BURN_DEVICE") {
        Some(name) => {
            open(name.to_string_lossy().trim()).map_err(|error| DeviceError::Environment(Box::new(error)))
        }
        None => Backend::compiled().first().ok_or(DeviceError::NoBackend)?.open(None),
    }
}

fn open(name: &str) -> Result<Device, DeviceError> {
    if let Some(address) = name.strip_prefix("remote:") {
        return remote::open(address);
    }
    let Some((name, index)) = name.split_once(':') else {
        return name.parse::<Backend>()?.open(None);
    };
    let backend: Backend = name.parse()?;
    match index.parse() {
        Ok(index) if backend.is_gpu() => backend.open(Some(index)),
        _ => Err(DeviceError::Index {
            name: name.to_owned(),
            index: index.to_owned(),
            indexed: backend.is_gpu(),
        }),
    }
}

fn index_hint(indexed: &bool) -> &'static str {
    if *indexed { "" } else { ", this device takes none" }
}

fn compiled_list() -> String {
    let names: Vec<_> = Backend::compiled().into_iter().map(Backend::name).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

/// Brings the device up by a computation whose result is read back.
fn compute_once(device: &Device) -> Result<(), String> {
    let sum = (Tensor::<1>::ones([2], device) + 1.0).sum();
    match sum.into_data().convert::<f32>().try_to_vec::<f32>() {
        Ok(values) if values == [4.0] => Ok(()),
        Ok(values) => Err(format!("2 · (1 + 1) came out as {values:?}")),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// Runs `body` and turns a panic into the first line of its message.
///
/// The panic hook is silent meanwhile: it is the process's, so panics of other threads go
/// unreported for that moment too. Burn's device threads are among those, and they would print
/// the same failure many times.
fn catch_panic<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Mutex<()> = Mutex::new(());
    let guard = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    panic::set_hook(hook);
    drop(guard);
    result.map_err(|payload| {
        let message = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("unknown reason");
        message.lines().find(|line| !line.trim().is_empty()).unwrap_or("unknown reason").trim().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_devices_are_found_under_each_spelling() {
        for name in ["flex", "cpu", " Flex ", "CPU"] {
            assert_eq!(parse_device(name), Ok(Device::flex()), "{name}");
        }
        #[expect(deprecated, reason = "see Backend::device")]
        let ndarray = Device::ndarray();
        assert_eq!(parse_device("ndarray"), Ok(ndarray));
    }

    #[test]
    fn a_backend_that_is_not_compiled_in_names_its_feature() {
        for backend in Backend::ALL.into_iter().filter(|backend| !backend.is_compiled()) {
            for name in [backend.name().to_owned(), format!("{backend}:1")] {
                let error = parse_device(&name).unwrap_err();
                assert_eq!(error, DeviceError::NotCompiled(backend));
                let line = error.to_string();
                let start = format!(
                    "device `{backend}` is not compiled in: build with --features {backend} (compiled in: "
                );
                assert!(line.starts_with(&start), "{line}");
                assert!(!line.contains('\n'), "{line}");
            }
        }
    }

    #[test]
    fn addresses_of_servers_are_checked_before_anything_is_reached() {
        for name in
            ["remote:", "remote:gpu:3000", "remote:ws://", "remote:ws://gpu:3000#x", "remote:wss://gpu:3000"]
        {
            let address = name.strip_prefix("remote:").unwrap().to_owned();
            assert_eq!(parse_device(name), Err(DeviceError::Address(address)), "{name}");
        }
        #[cfg(not(feature = "remote"))]
        assert_eq!(parse_device("remote:ws://127.0.0.1:1#1"), Err(DeviceError::RemoteNotCompiled));
        #[cfg(feature = "remote")]
        assert!(matches!(parse_device("remote:ws://127.0.0.1:1"), Err(DeviceError::Unusable { .. })));
    }

    #[test]
    fn unknown_names_and_indices_are_refused() {
        assert_eq!(parse_device("abacus"), Err(DeviceError::Unknown("abacus".into())));
        assert_eq!(parse_device(""), Err(DeviceError::Unknown(String::new())));
        assert_eq!(parse_device("abacus:0"), Err(DeviceError::Unknown("abacus".into())));
        for name in ["cuda:", "cuda:-1", "cuda:x", "flex:0"] {
            let error = parse_device(name).unwrap_err();
            assert!(matches!(error, DeviceError::Index { .. }), "{name}: {error}");
        }
        let message = parse_device("flex:0").unwrap_err().to_string();
        assert_eq!(message, "device `flex`: `0` is not a valid index, this device takes none");
    }

    #[test]
    fn the_default_is_burns_default() {
        // Holds for BURN_DEVICE unset, flex and ndarray alike.
        assert_eq!(parse_device("default"), Ok(Device::default()));
        assert_eq!(default_device(), Ok(Device::default()));
    }

    #[test]
    fn a_computation_brings_a_device_up() {
        assert_eq!(catch_panic(|| compute_once(&Device::default())), Ok(Ok(())));
    }

    #[test]
    fn a_panic_becomes_one_line() {
        let reason = catch_panic(|| -> () { panic!("\nno adapter {}\nand a trace", 7) });
        assert_eq!(reason, Err("no adapter 7".to_owned()));
        assert_eq!(catch_panic(|| -> () { panic!("plain") }), Err("plain".to_owned()));
        assert_eq!(catch_panic(|| -> () { panic::panic_any(3) }), Err("unknown reason".to_owned()));
        assert_eq!(catch_panic(|| 3), Ok(3));
    }
}
