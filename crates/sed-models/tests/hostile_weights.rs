//! Files of weights that were made to break a reader, or are foreign or damaged.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use burn::{
    store::{BurnToPyTorchAdapter, ModuleSnapshot, bridge},
    tensor::Device,
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use sed_models::{
    ops::conv2d::{Conv2d, Conv2dConfig},
    weights::{LoadOptions, WeightsError, load, save_safetensors},
};

/// The convolution of the files conv.pth and conv_legacy.pth: 2 channels to 2, of size 1, with a bias.
fn conv() -> Conv2d {
    Conv2dConfig::new(2, 2, 1).init(&Device::default())
}

fn values(conv: &Conv2d) -> BTreeMap<String, Vec<f32>> {
    let tensors = conv.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let read = |t| bridge::into_data(t).unwrap().try_into_vec::<f32>().unwrap();
    tensors.into_iter().map(|t| (t.name.clone(), read(t))).collect()
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The error of a file with this content, which names the file and leaves the module as it was.
fn error(name: &str, content: &[u8]) -> WeightsError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let mut target = conv();
    let before = values(&target);
    let error = load(&mut target, &path, &LoadOptions::default()).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert_eq!(values(&target), before);
    error
}

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A safetensors file of two tensors, each given as its JSON.
fn tensors(weight: &str, bias: &str, data: usize) -> Vec<u8> {
    safetensors(&format!("{{\"weight\":{weight},\"bias\":{bias}}}"), &vec![0; data])
}

const WEIGHT: &str = r#"{"dtype":"F32","shape":[2,2,1,1],"data_offsets":[0,16]}"#;
const BIAS: &str = r#"{"dtype":"F32","shape":[2],"data_offsets":[16,24]}"#;

#[test]
fn the_files_that_are_broken_here_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.safetensors");
    fs::write(&path, tensors(WEIGHT, BIAS, 24)).unwrap();
    load(&mut conv(), &path, &LoadOptions::default()).unwrap();
    for name in ["conv.pth", "conv_legacy.pth"] {
        let mut target = conv();
        load(&mut target, &fixture(name), &LoadOptions::default()).unwrap();
        assert_eq!(values(&target)["weight"], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(values(&target)["bias"], [5.0, 6.0]);
    }
}

#[test]
fn safetensors_whose_header_lies_are_malformed() {
    let bias = |text: &str| tensors(WEIGHT, text, 24);
    let nested = format!("{{\"weight\":{}", "[".repeat(100_000));
    let cases = [
        (vec![], "an empty file"),
        (vec![0; 7], "less than a length"),
        (vec![0; 8], "a header of no bytes"),
        ([&100_u64.to_le_bytes()[..], b"{}"].concat(), "a header beyond the file"),
        ([&u64::MAX.to_le_bytes()[..], b"{}"].concat(), "a header of 2^64 bytes"),
        (safetensors("weights", &[]), "no JSON"),
        (safetensors("[]", &[]), "a list"),
        (safetensors("{\"weight\":7}", &[]), "a number for a tensor"),
        (safetensors(&nested, &[]), "deep nesting"),
        ([&3_u64.to_le_bytes()[..], b"{\xFF}"].concat(), "no UTF-8"),
        (tensors(WEIGHT, BIAS, 23), "too few bytes"),
        (tensors(WEIGHT, BIAS, 25), "too many bytes"),
        (bias(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,16]}"#), "offsets that overlap"),
        (bias(r#"{"dtype":"F32","shape":[2],"data_offsets":[20,28]}"#), "a hole, and an end beyond the file"),
        (bias(r#"{"dtype":"F32","shape":[2],"data_offsets":[24,16]}"#), "an end before the start"),
        (bias(r#"{"dtype":"F32","shape":[3],"data_offsets":[16,24]}"#), "a shape that needs more bytes"),
        (bias(r#"{"dtype":"F32","shape":[-2],"data_offsets":[16,24]}"#), "a negative side"),
        (bias(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[16,24]}"#), "2^64 elements"),
        (bias(r#"{"dtype":"F32","shape":[1099511627776],"data_offsets":[16,4398046511120]}"#), "4 TiB"),
        (bias(r#"{"dtype":"F7","shape":[2],"data_offsets":[16,24]}"#), "an unknown type"),
        (bias(r#"{"dtype":"F32","shape":[2]}"#), "no offsets"),
    ];
    for (content, name) in cases {
        let error = error("bad.safetensors", &content);
        assert!(matches!(error, WeightsError::Malformed { format: "safetensors", .. }), "{name}: {error}");
    }
}

#[test]
fn whole_files_of_other_tensors_say_which() {
    let bias = |text: &str| error("other.safetensors", &tensors(WEIGHT, text, 24));
    for (text, expected) in [
        (
            r#"{"dtype":"I64","shape":[1],"data_offsets":[16,24]}"#,
            "bias is [1] in the file, [2] in the model",
        ),
        (r#"{"dtype":"I32","shape":[2],"data_offsets":[16,24]}"#, "bias: holds I32, not floats"),
        (r#"{"dtype":"F32","shape":[2,1],"data_offsets":[16,24]}"#, "bias is [2, 1] in the file"),
    ] {
        let error = bias(text).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut infinite = tensors(WEIGHT, BIAS, 24);
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let text = error("infinite.safetensors", &infinite).to_string();
    assert!(text.ends_with("bias: holds NaN or infinity"), "{text}");
    // A file without tensors, and one without a tensor of the module.
    for header in ["{}", r#"{"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#] {
        let error = error("none.safetensors", &safetensors(header, &[]));
        assert!(matches!(error, WeightsError::NothingMatched { .. }), "{error}");
    }
    // PyTorch's format under the name of another.
    let torch = fs::read(fixture("conv.pth")).unwrap();
    assert!(matches!(error("torch.safetensors", &torch), WeightsError::Malformed { .. }));
}

/// Pickles that would run a command in Python.
#[test]
fn nothing_in_a_pickle_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("mark");
    let command = format!("touch {}", mark.display());
    let pickles = [
        format!("cos\nsystem\n(S'{command}'\ntR."),
        format!("cposix\nsystem\n(S'{command}'\ntR."),
        format!("c__builtin__\neval\n(S'__import__(\"os\").system(\"{command}\")'\ntR."),
        format!("\u{2}(S'{command}'\nios\nsystem\n."),
        format!("}}S'weight'\ncos\nsystem\n(S'{command}'\ntRs."),
    ];
    for pickle in pickles {
        for name in ["bad.pth", "bad.pt"] {
            let error = error(name, pickle.as_bytes());
            let typed = matches!(error, WeightsError::Malformed { .. } | WeightsError::NothingMatched { .. });
            assert!(typed, "{error}");
        }
    }
    assert!(!mark.exists());
}

/// Zeros, deflated: one literal, then copies of 258 bytes from one byte back, in the fixed code.
fn deflated_zeros(copies: usize) -> Vec<u8> {
    let (mut bytes, mut bits, mut filled) = (Vec::new(), 0_u32, 0);
    let mut put = |value: u32, count: u32| {
        bits |= value << filled;
        filled += count;
        while filled >= 8 {
            bytes.push(bits as u8);
            bits >>= 8;
            filled -= 8;
        }
    };
    // The last block, with the fixed code; codes go in with their first bit first.
    put(0b011, 3);
    put(0b0000_1100, 8);
    for _ in 0..copies {
        // Length 258 is symbol 285, code 11000101; distance 1 is code 00000.
        put(0b1010_0011, 8);
        put(0, 5);
    }
    put(0, 7);
    put(0, 7);
    bytes
}

/// A zip of one entry `archive/data.pkl`.
fn zip(method: u16, data: &[u8], claimed: u32) -> Vec<u8> {
    let name = b"archive/data.pkl";
    let fields = [
        &[20, 0, 0, 0][..],
        &method.to_le_bytes(),
        &[0; 4],
        &[0; 4],
        &(data.len() as u32).to_le_bytes(),
        &claimed.to_le_bytes(),
        &(name.len() as u16).to_le_bytes(),
        &[0; 2],
    ]
    .concat();
    let local = [b"PK\x03\x04", &fields[..], name, data].concat();
    let central = [b"PK\x01\x02\x14\x00", &fields[..], &[0; 14 - 2], &[0; 2], name].concat();
    let end = [
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0",
        &(central.len() as u32).to_le_bytes()[..],
        &(local.len() as u32).to_le_bytes(),
        &[0; 2],
    ]
    .concat();
    [local, central, end].concat()
}

#[test]
fn a_zip_that_unpacks_to_far_more_than_it_holds_is_refused() {
    const DEFLATE: u16 = 8;
    // 110 MB of zeros in 700 kB, once said and once denied; and 4 GB that are not there.
    let zeros = deflated_zeros(430_000);
    for content in [
        zip(DEFLATE, &zeros, 430_000 * 258 + 1),
        zip(DEFLATE, &zeros, 1000),
        zip(0, b"\x80\x02}.", u32::MAX - 1),
    ] {
        let error = error("bomb.pth", &content);
        assert!(matches!(error, WeightsError::Malformed { .. }), "{error}");
    }
}

#[test]
fn a_folder_is_no_file_of_weights() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["folder.pth", "folder.safetensors"] {
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        let error = load(&mut conv(), &path, &LoadOptions::default()).unwrap_err();
        assert!(matches!(error, WeightsError::Open { .. }), "{error}");
    }
}

/// 6,000 damaged files: each is read or refused with a typed error, and what is refused changes nothing.
#[test]
fn damaged_files_do_not_panic() {
    let folder = tempfile::tempdir().unwrap();
    let written = folder.path().join("conv.safetensors");
    save_safetensors(&conv(), &written).unwrap();
    for (number, source) in [written, fixture("conv.pth"), fixture("conv_legacy.pth")].iter().enumerate() {
        let whole = fs::read(source).unwrap();
        let path =
            folder.path().join(format!("damaged-{number}")).with_extension(source.extension().unwrap());
        let mut rng = ChaCha8Rng::seed_from_u64(number as u64);
        let mut below = |n: usize| rng.next_u64() as usize % n;
        let mut refused = 0;
        for round in 0..2000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + below(3) {
                let at = below(bytes.len());
                let end = (at + 1 + below(16)).min(bytes.len());
                match below(8) {
                    0..=2 => bytes[at] ^= 1 << below(8),
                    3 => bytes[at] = below(256) as u8,
                    4 => drop(bytes.drain(at..end)),
                    5 => {
                        let piece = bytes[at..end].to_vec();
                        bytes.splice(at..at, piece);
                    }
                    6 => bytes[at..end].fill(0xFF),
                    _ => bytes.truncate(at.max(1)),
                }
                if bytes.is_empty() {
                    bytes.push(0);
                }
            }
            fs::write(&path, &bytes).unwrap();
            let mut target = conv();
            let before = (round % 20 == 0).then(|| values(&target));
            let result = catch_unwind(AssertUnwindSafe(|| load(&mut target, &path, &LoadOptions::default())));
            let result =
                result.unwrap_or_else(|_| panic!("a panic in round {round} of {}", source.display()));
            if let Err(error) = result {
                refused += 1;
                assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
                if let Some(before) = before {
                    assert_eq!(values(&target), before);
                }
            }
        }
        assert!(refused > 500, "{}: {refused} of 2000 refused", source.display());
    }
}
