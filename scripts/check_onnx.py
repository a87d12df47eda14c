"""Holds exported files to what Espalier's own `predict` and `evaluate` give, in programs of others. See check_onnx.sh."""

import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime
from PIL import Image

ESPALIER = pathlib.Path(sys.argv[1]).resolve()
SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"
DATA = SHARED / "data/bccd/data.yaml"
CHECKPOINTS = ["yolov5n-coco", "yolov5n-bccd", "yolov8n-bccd"]
SIZES = [320, 640]
# Of shares, and of pixels relative to the image.
ALLOWED = 1e-3
# Boxes of an image.
LOOKED_AT = 500


def espalier(code):
    """The JSON lines that a script prints."""
    done = subprocess.run([ESPALIER, "--quiet", "--json", "-c", code], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"espalier failed:\n{done.stderr}\n{code}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.strip()]


def boxes(found):
    """Rows of left, top, right, bottom, confidence from what `predict` prints."""
    rows = [[row[key] for key in ["left", "top", "right", "bottom", "confidence"]] for row in found["rows"]]
    return np.array(rows).reshape(-1, 5)


def decoded(output, family):
    """The same rows from the output of a whole file."""
    rows = output if family == 5 else output.T
    shares = rows[:, 4:5] * rows[:, 5:] if family == 5 else rows[:, 4:]
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    return np.concatenate([centre - half, centre + half, shares.max(axis=1, keepdims=True)], axis=1)


def apart(found, expected, size):
    """How far the most confident rows of each set are from the nearest of the other: shares, and pixels as shares of the side."""
    if len(found) == 0 or len(expected) == 0:
        return 0.0 if len(found) == len(expected) else np.inf
    # `predict` cuts boxes off at the image's edges.
    scale = np.array([1 / size] * 4 + [1])
    found, expected = (np.clip(rows * scale, 0, 1)[np.argsort(-rows[:, 4], kind="stable")] for rows in [found, expected])
    farthest = lambda a, b: max(np.abs(row - b[: 2 * LOOKED_AT]).max(axis=1).min() for row in a[:LOOKED_AT])
    return max(farthest(found, expected), farthest(expected, found))


def run(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})[0]


def pictures(folder, size):
    """Images that need no resizing: real ones cut out where there are some, else noise."""
    if DATA.exists():
        paths = sorted((DATA.parent / "images/val").glob("*.jpg"))[:2] or sorted(DATA.parent.rglob("*.jpg"))[:2]
        arrays = [np.asarray(Image.open(path).convert("RGB").resize((640, 640)).crop((0, 0, size, size))) for path in paths]
    else:
        arrays = list(np.random.default_rng(0).integers(0, 256, (2, size, size, 3), dtype=np.uint8))
    names = [f"{folder}/{size}-{index}.png" for index in range(2)]
    for name, array in zip(names, arrays):
        Image.fromarray(array).save(name)
    return names, np.stack([array.transpose(2, 0, 1) for array in arrays]).astype(np.float32) / 255


def check(folder, name, opening, family):
    """All files of a model, whole and at half of its MACs."""
    worst = {"boxes": 0.0, "nms": 0.0}
    for share in ["whole", "half"]:
        model = opening if share == "whole" else f"pruner({opening}, #{{macs: 0.5}}).prune()"
        for size in SIZES:
            names, images = pictures(folder, size)
            stem = f"{folder}/{name}-{share}-{size}"
            first, second = (json.dumps(path) for path in names)
            every = f"#{{size: {size}, conf: 0.0, iou: 1.0, max_det: 30000}}"
            found = espalier(
                f"let m = {model}; m.export({json.dumps(stem + '.onnx')}, #{{size: {size}}});"
                f"m.export({json.dumps(stem + '-n.onnx')}, #{{size: {size}, batch: \"dynamic\"}});"
                f"m.export({json.dumps(stem + '-nms.onnx')}, #{{size: {size}, nms: true}});"
                f"print(m.predict({first}, {every})); print(m.predict({second}, {every}));"
                f"print(m.predict({first}, #{{size: {size}}}));"
            )
            every_box, kept = [boxes(found[0]), boxes(found[1])], boxes(found[2])
            for suffix in ["", "-n", "-nms"]:
                onnx.checker.check_model(f"{stem}{suffix}.onnx", full_check=True)
            alone = run(f"{stem}.onnx", images[:1])
            both = run(f"{stem}-n.onnx", images)
            for output, expected in [(alone[0], every_box[0]), (both[0], every_box[0]), (both[1], every_box[1])]:
                worst["boxes"] = max(worst["boxes"], apart(decoded(output, family), expected, size))
            suppressed = run(f"{stem}-nms.onnx", images[:1])[0]
            suppressed = suppressed[suppressed[:, 4] > 0][:, :5]
            worst["nms"] = max(worst["nms"], apart(suppressed, kept, size))
    print(f"{name}: ONNX Runtime {onnxruntime.__version__} differs by at most {worst['boxes']:.1e}, "
          f"{worst['nms']:.1e} behind non-maximum suppression; whole and half the MACs, {SIZES} px, batch 1 and dynamic")
    if max(worst.values()) > ALLOWED:
        sys.exit(f"{name}: at most {ALLOWED} is allowed")


def validate(folder):
    """A pruned file in Ultralytics' validation, beside ours."""
    if importlib.util.find_spec("ultralytics") is None:
        print("skipped: Ultralytics is not installed")
        return
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    from ultralytics import YOLO

    # It looks for a relative folder from where it runs, and writes beside the labels.
    shutil.copytree(DATA.parent, f"{folder}/data")
    data = f"{folder}/data.yaml"
    text = re.sub("^path:.*", f"path: {folder}/data", DATA.read_text(), flags=re.MULTILINE)
    pathlib.Path(data).write_text(text)
    path = f"{folder}/slim.onnx"
    [ours] = espalier(
        f"let m = load({json.dumps(str(SHARED / 'models/yolov8n-bccd.pt'))}); let data = dataset({json.dumps(str(DATA))});"
        "let slim = pruner(m, #{macs: 0.5}).prune().refit(m, data, #{size: 320});"
        f"slim.export({json.dumps(path)}, #{{size: 320}}); print(slim.evaluate(data, #{{size: 320}}).map)"
    )
    theirs = YOLO(path, task="detect").val(data=data, imgsz=320, batch=1, plots=False, verbose=False, project=folder).box.map
    print(f"yolov8n-bccd with half of its MACs: mAP50-95 {ours:.4f} by Espalier, {theirs:.4f} by Ultralytics from the ONNX file")
    if abs(ours - theirs) > 0.005:
        sys.exit("they may differ by 0.005")


with tempfile.TemporaryDirectory() as folder:
    check(folder, "teacher", "teacher()", 5)
    # Four levels, untrained.
    check(folder, "yolov5n6", "yolo(\"yolov5n6\", #{classes: 3})", 5)
    check(folder, "yolov8n-p2", "yolo(\"yolov8n-p2\", #{classes: 3})", 8)
    if not SHARED.exists():
        print(f"skipped: real checkpoints, which would be in {SHARED}")
        sys.exit()
    for checkpoint in CHECKPOINTS:
        path = json.dumps(str(SHARED / "models" / f"{checkpoint}.pt"))
        check(folder, checkpoint, f"load({path})", 8 if checkpoint.startswith("yolov8") else 5)
    validate(folder)
