//! Names of parameters in torchvision's state dicts.
//!
//! The modules of this crate name their fields as torchvision does, so that a parameter's path is
//! its key. What is left to translate: the scale and shift of Burn's batch norm (done by Burn's own
//! adapter), and the keys of files older than torchvision 0.13, which lack an index.

/// The current name of a key of a file of any age.
///
/// - FPN: `inner_blocks.2.weight` became `inner_blocks.2.0.weight`, `layer_blocks` alike, since
///   each block is now a sequence of a convolution and, optionally, its normalisation.
/// - The region proposal network: its one convolution `rpn.head.conv` became the sequence `rpn.head.conv.0.0`.
/// - RetinaNet's heads: the sequence `conv.0`, (ReLU), `conv.2`, … became `conv.0.0`, `conv.1.0`, ….
pub(super) fn current(key: &str) -> String {
    let parts: Vec<&str> = key.split('.').collect();
    if let [.., "rpn", "head", "conv", name @ ("weight" | "bias")] = parts.as_slice() {
        return format!("{}.0.0.{name}", &key[..key.len() - name.len() - 1]);
    }
    let [head @ .., list, index, name @ ("weight" | "bias")] = parts.as_slice() else {
        return key.to_owned();
    };
    let Ok(number) = index.parse::<usize>() else { return key.to_owned() };
    let number = match *list {
        "inner_blocks" | "layer_blocks" => number,
        "conv" if head.last().is_some_and(|module| module.ends_with("_head")) => number / 2,
        _ => return key.to_owned(),
    };
    let mut parts: Vec<String> = head.iter().map(|&part| part.to_owned()).collect();
    parts.extend([(*list).to_owned(), number.to_string(), "0".to_owned(), (*name).to_owned()]);
    parts.join(".")
}

/// Whether the key is a counter of PyTorch's batch norm, for which there is no use here.
pub(super) fn is_counter(key: &str) -> bool {
    key.ends_with("num_batches_tracked")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_keys_get_their_index() {
        for (old, new) in [
            ("backbone.fpn.inner_blocks.2.weight", "backbone.fpn.inner_blocks.2.0.weight"),
            ("fpn.layer_blocks.0.bias", "fpn.layer_blocks.0.0.bias"),
            ("inner_blocks.1.weight", "inner_blocks.1.0.weight"),
            ("rpn.head.conv.weight", "rpn.head.conv.0.0.weight"),
            ("model.rpn.head.conv.bias", "model.rpn.head.conv.0.0.bias"),
            ("head.classification_head.conv.0.weight", "head.classification_head.conv.0.0.weight"),
            ("head.regression_head.conv.6.bias", "head.regression_head.conv.3.0.bias"),
        ] {
            assert_eq!(current(old), new);
        }
    }

    #[test]
    fn other_keys_stay() {
        for key in [
            "backbone.fpn.inner_blocks.2.0.weight",
            "head.classification_head.conv.0.0.weight",
            "head.classification_head.conv.3.1.bias",
            "head.classification_head.cls_logits.weight",
            "rpn.head.conv.0.0.weight",
            "rpn.head.bbox_pred.weight",
            "backbone.fpn.extra_blocks.p6.weight",
            "backbone.body.layer1.0.downsample.0.weight",
            "conv1.weight",
            "conv.2.weight",
            "weight",
            "",
        ] {
            assert_eq!(current(key), key);
        }
    }
}
