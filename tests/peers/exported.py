# What other programs make of the samples that tests/runners/export.cpp leaves in a folder: the program named runs
# every NAME.onnx (onnxruntime), judges it (onnx.checker), or NAME.safetensors through the README's lines (readme: PyTorch).
#   python3 tests/peers/exported.py onnxruntime|checker|readme FOLDER
# Tolerance, of the largest logit, against the same network in float64: float32's 6e-8 once for each of up to 63 layers and
# 10 sums in a row, rounded up: 5e-6 (measured: 4e-7 to 7e-7).
import glob, re, sys
import numpy

program, folder = sys.argv[1:]
tolerance, worst, count = 5e-6, 0.0, 0


def onnxruntime(stem, images):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # others may be at work
    return onnxruntime.InferenceSession(stem + ".onnx", options, providers=["CPUExecutionProvider"]).run(["logits"], {"input": images})[0]


def readme(stem, images):
    import torch
    code = re.search(r"```python\n(.*?)```", open("runners/README.md", encoding="utf-8").read(), re.S).group(1)
    lines = {}
    exec(re.sub(r'"[^"\n]*\.safetensors"', repr(stem + ".safetensors"), code, count=1), lines)
    with torch.no_grad():
        return lines["logits"](torch.from_numpy(images)).numpy()


def checker(stem):
    import onnx
    model = onnx.load(stem + ".onnx")
    onnx.checker.check_model(model, full_check=True)  # with the shapes that follow from the operators
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    assert len(inferred.graph.value_info) == len(model.graph.node) - 1, stem


for path in sorted(glob.glob(folder + "/*.onnx")):
    stem = path[:-5]
    if program == "readme" and "mobilenet_v1-swish" not in stem:
        continue  # its lines are of the one network
    count += 1
    if program == "checker":
        checker(stem)
        continue
    size = int(stem.rsplit("-", 1)[1])
    images = numpy.fromfile(stem + ".images", numpy.float32).reshape(-1, 3, size, size)
    wanted = numpy.fromfile(stem + ".logits", numpy.float64).reshape(len(images), -1)
    for n in (len(images), 1):  # the batch is dynamic
        distance = abs({"onnxruntime": onnxruntime, "readme": readme}[program](stem, images[:n]) - wanted[:n]).max() / abs(wanted).max()
        worst = max(worst, distance)
        if not distance <= tolerance:
            sys.exit(f"exported.py: {stem}: {program}'s logits are {distance:.2e} of the largest away, more than {tolerance:.0e}")
if not count:
    sys.exit("exported.py: no sample in " + folder)
told = "" if program == "checker" else f", the worst logit {worst:.1e} of the largest away, at most {tolerance:.0e}"
print(f"exported.py: {program}: {count} networks{told}")
