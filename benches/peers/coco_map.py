"""The COCO protocol by pycocotools, on the files that benches/coco_map.rs writes."""

import contextlib
import copy
import io
import json

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from formula import data_folder
from harness import case


@case("map/coco")
def protocol():
    dataset = json.loads((data_folder() / "coco_truth.json").read_text())
    results = json.loads((data_folder() / "coco_results.json").read_text())

    def run():
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = dataset
            truth.createIndex()
            # It writes into the results that it is given.
            evaluation = COCOeval(truth, truth.loadRes(copy.copy(results)), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()

    return run
