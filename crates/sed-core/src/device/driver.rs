//! Whether the loader can find a driver's library, without loading it.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use super::Backend;

/// The library that `backend` needs and the loader does not know; `None` if nothing is missing, or
/// where only a first computation can tell.
pub(super) fn missing(backend: Backend) -> Option<&'static str> {
    let library = match backend {
        Backend::Flex | Backend::Ndarray => return None,
        Backend::Metal if cfg!(target_os = "macos") => return None,
        Backend::Metal => return Some("Metal exists on macOS only"),
        // Elsewhere wgpu has an interface that is part of the system.
        Backend::Wgpu if !cfg!(target_os = "linux") => return None,
        // Without Vulkan wgpu falls back to OpenGL.
        Backend::Wgpu if LoaderPaths::of_system().contains("libEGL.so.1") => return None,
        Backend::Wgpu | Backend::Vulkan if cfg!(windows) => "vulkan-1.dll",
        Backend::Wgpu | Backend::Vulkan if cfg!(target_os = "macos") => return None,
        Backend::Wgpu | Backend::Vulkan => "libvulkan.so.1",
        Backend::Cuda if cfg!(windows) => "nvcuda.dll",
        Backend::Cuda => "libcuda.so.1",
        Backend::Rocm if cfg!(windows) => return None,
        Backend::Rocm => "libamdhip64.so",
    };
    (!LoaderPaths::of_system().contains(library)).then_some(library)
}

/// Where the dynamic loader looks for libraries.
struct LoaderPaths {
    directories: Vec<PathBuf>,
    /// The loader's cache, `/etc/ld.so.cache`: it holds each library's name ended by a zero byte.
    cache: Vec<u8>,
}

impl LoaderPaths {
    fn of_system() -> Self {
        let variables: &[&str] = if cfg!(windows) { &["PATH"] } else { &["LD_LIBRARY_PATH"] };
        let mut directories: Vec<PathBuf> = variables
            .iter()
            .filter_map(env::var_os)
            .flat_map(|value| env::split_paths(&value).collect::<Vec<_>>())
            .collect();
        if cfg!(windows) {
            directories.extend(env::var_os("SystemRoot").map(|root| Path::new(&root).join("System32")));
        } else {
            // Linux without a cache (musl, NixOS), drivers under WSL, and ROCm's own folder.
            let fixed = [
                "/lib",
                "/lib64",
                "/usr/lib",
                "/usr/lib64",
                "/usr/local/lib",
                "/usr/lib/wsl/lib",
                "/run/opengl-driver/lib",
                "/opt/rocm/lib",
            ];
            directories.extend(fixed.map(PathBuf::from));
        }
        Self { directories, cache: fs::read("/etc/ld.so.cache").unwrap_or_default() }
    }

    fn contains(&self, library: &str) -> bool {
        self.directories.iter().any(|directory| directory.join(library).is_file())
            || self.cache_names(library)
    }

    /// Whether the cache lists the library, under its name alone or at the end of a path.
    fn cache_names(&self, library: &str) -> bool {
        let name = library.as_bytes();
        self.cache.windows(name.len() + 2).any(|window| {
            matches!(window[0], 0 | b'/') && &window[1..=name.len()] == name && window[name.len() + 1] == 0
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_in_a_directory_or_the_cache() {
        let directories = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR"))];
        let cache = b"head\0libfoo.so.1\0/opt/lib/libbar.so.2\0tail".to_vec();
        let paths = LoaderPaths { directories, cache };
        // Any file stands for a library; a directory does not.
        assert!(paths.contains("Cargo.toml"));
        assert!(!paths.contains("src"));
        assert!(paths.contains("libfoo.so.1"));
        assert!(paths.contains("libbar.so.2"));
        for absent in ["libfoo.so", "foo.so.1", "libbar.so.20", "tail"] {
            assert!(!paths.contains(absent), "{absent}");
        }
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn the_system_knows_its_own_c_library() {
        assert!(LoaderPaths::of_system().contains("libc.so.6"));
        assert!(!LoaderPaths::of_system().contains("libno-such-driver.so.1"));
    }

    #[test]
    fn the_cpu_needs_no_driver() {
        assert_eq!(missing(Backend::Flex), None);
        assert_eq!(missing(Backend::Ndarray), None);
    }
}
