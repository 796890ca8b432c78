//! The messages of an event file, as far as they are written here, in the wire format of protocol buffers.
//!
//! ```text
//! Event   { double wall_time = 1; int64 step = 2;
//!           oneof { string file_version = 3; Summary summary = 5; SessionLog session_log = 7; } }
//! Summary { repeated Value value = 1; }
//! Value   { string tag = 1; oneof { float simple_value = 2; Image image = 4; } }
//! Image   { int32 height = 1; int32 width = 2; int32 colorspace = 3; bytes encoded_image_string = 4; }
//! SessionLog { SessionStatus status = 1; }
//! ```
//!
//! Source: `event.proto` and `summary.proto` of TensorBoard.

use std::collections::BTreeMap;

/// What tells readers that restarts are marked by [`start`].
const FILE_VERSION: &str = "brain.Event:2";
/// `SessionLog.START`.
const SESSION_START: u64 = 1;
/// RGB, as `colorspace` counts.
const RGB: u64 = 3;

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn key(&mut self, field: u32, kind: u32) {
        self.varint(u64::from(field << 3 | kind));
    }

    fn integer(mut self, field: u32, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    fn double(mut self, field: u32, value: f64) -> Self {
        self.key(field, FIXED64);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn float(mut self, field: u32, value: f32) -> Self {
        self.key(field, FIXED32);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

/// An event at `wall_time`, in seconds since 1970, without its contents.
fn event(wall_time: f64, step: u64) -> Message {
    let event = Message::default().double(1, wall_time);
    if step == 0 { event } else { event.integer(2, step) }
}

/// The first event of a file.
pub(super) fn version(wall_time: f64) -> Vec<u8> {
    event(wall_time, 0).bytes(3, FILE_VERSION.as_bytes()).0
}

/// What makes readers forget all events of the folder from `step` on that came before.
pub(super) fn start(wall_time: f64, step: u64) -> Vec<u8> {
    event(wall_time, step).message(7, &Message::default().integer(1, SESSION_START)).0
}

/// Named numbers of one step.
pub(super) fn scalars(wall_time: f64, step: u64, values: &BTreeMap<String, f64>) -> Vec<u8> {
    let summary = values.iter().fold(Message::default(), |summary, (name, &value)| {
        summary.message(1, &Message::default().bytes(1, name.as_bytes()).float(2, value as f32))
    });
    event(wall_time, step).message(5, &summary).0
}

/// A picture of `[width, height]` pixels, encoded as PNG.
pub(super) fn image(wall_time: f64, step: u64, tag: &str, [width, height]: [u32; 2], png: &[u8]) -> Vec<u8> {
    let image = Message::default().integer(1, height.into()).integer(2, width.into());
    let image = image.integer(3, RGB).bytes(4, png);
    let value = Message::default().bytes(1, tag.as_bytes()).message(4, &image);
    event(wall_time, step).message(5, &Message::default().message(1, &value)).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Against the bytes that Google's `protobuf` makes of the same messages in TensorBoard 2.21.
    #[test]
    fn messages_are_those_of_the_reference() {
        assert_eq!(hex(&version(1.5)), "09000000000000f83f1a0d627261696e2e4576656e743a32");
        assert_eq!(hex(&start(1.5, 7)), "09000000000000f83f10073a020801");
        let values = [("ap", 0.0), ("loss", 0.5)].map(|(name, value)| (name.to_owned(), value));
        assert_eq!(
            hex(&scalars(1.5, 300, &BTreeMap::from(values))),
            "09000000000000f83f10ac022a180a090a02617015000000000a0b0a046c6f7373150000003f"
        );
        assert_eq!(
            hex(&image(1.5, 7, "p", [3, 2], b"abc")),
            "09000000000000f83f10072a120a100a0170220b0802100318032203616263"
        );
    }

    #[test]
    fn integers_take_seven_bits_a_byte() {
        let bytes = |value| Message::default().integer(2, value).0;
        assert_eq!(bytes(127), [0x10, 0x7f]);
        assert_eq!(bytes(128), [0x10, 0x80, 0x01]);
        assert_eq!(bytes(300), [0x10, 0xac, 0x02]);
        assert_eq!(bytes(u64::MAX).len(), 11);
    }
}
