//! A device of another machine, or of another process.

use burn::tensor::Device;

use super::DeviceError;

/// The device at `address`, `ws://HOST:PORT`, with `#I` behind it for another than the server's first.
pub(super) fn open(address: &str) -> Result<Device, DeviceError> {
    let (url, index) = match address.split_once('#') {
        Some((url, index)) => (url, index.parse().map_err(|_| DeviceError::Address(address.to_owned()))?),
        None => (address, 0),
    };
    if url.strip_prefix("ws://").is_none_or(str::is_empty) {
        return Err(DeviceError::Address(address.to_owned()));
    }
    connect(url, index)
}

#[cfg(feature = "remote")]
fn connect(url: &str, index: usize) -> Result<Device, DeviceError> {
    use burn::remote::RemoteHost;

    let mut host = RemoteHost::websocket(url);
    if let Ok(token) = std::env::var(super::REMOTE_TOKEN) {
        host = host.with_credential(token.as_str());
    }
    let device = super::catch_panic(|| {
        let options = Device::remote_options(&host).device_index(index);
        let device = options.init().map_err(|error| error.to_string())?;
        super::compute_once(&device).map(|()| device)
    });
    let unusable = |reason| DeviceError::Unusable { device: format!("remote:{url}#{index}"), reason };
    device.and_then(|result| result).map_err(unusable)
}

#[cfg(not(feature = "remote"))]
fn connect(_url: &str, _index: usize) -> Result<Device, DeviceError> {
    Err(DeviceError::RemoteNotCompiled)
}
