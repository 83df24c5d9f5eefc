#!/usr/bin/python3
"""What a user would have without this project: the same work in PyTorch, timed on the same machine.

usage: bench_torch.py [--device cpu|cuda] [--tf32] [--amp] [--threads 2] [--batch 128] [--size 32] [--model v1|v2] [--width seed|0.25|0.5|1.0]
                      [--only train|rq|rq-unfold] [--compile] [--channels-last] [--repeat 5]

Prints one line a job: median milliseconds of a step, and the process's peak memory so far.
  train      one SGD training step (swish, batch norm in train mode)
  rq         one RQ-SGD step as cheap as PyTorch's autograd allows: u = conv(x, V), then
             S v = conv_weight_gradient(x, delta * phi'' * c^2 * u) from hooks (S is the split matrix)
  rq-unfold  the same step with every patch unfolded into memory, as published code for it does
Peak memory is the process's: run each job alone (--only) to compare it.
Needs PyTorch (Debian's python3-torch 1.13 serves; a current one from PyPI is the harder peer).
"""
import argparse, resource, time
import torch, torch.nn as nn, torch.nn.functional as F

FULL = [(32, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1),
        (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)]
SEED = [8, 8, 8, 8, 16, 16, 24, 24, 24, 24, 24, 24, 32, 32]
# MobileNetV2: stem, first output, then (expansion, output, stride, skip) per block, head
V2_SEED = (11, 6, [(30, 8, 2, 0), (40, 8, 1, 1), (40, 11, 2, 0), (55, 11, 1, 1), (55, 11, 1, 1), (55, 22, 2, 0),
                   (110, 22, 1, 1), (110, 22, 1, 1), (100, 22, 1, 1), (110, 33, 1, 0), (165, 33, 1, 1),
                   (165, 33, 1, 1), (165, 56, 2, 0), (280, 56, 1, 1), (280, 56, 1, 1), (280, 112, 1, 0)], 448)
V2_FULL = (32, 16, [(96, 24, 2, 0), (144, 24, 1, 1), (144, 32, 2, 0), (192, 32, 1, 1), (192, 32, 1, 1),
                    (192, 64, 2, 0), (384, 64, 1, 1), (384, 64, 1, 1), (384, 64, 1, 1), (384, 96, 1, 0),
                    (576, 96, 1, 1), (576, 96, 1, 1), (576, 160, 2, 0), (960, 160, 1, 1), (960, 160, 1, 1),
                    (960, 320, 1, 0)], 1280)


def phi2(z):
    s = torch.sigmoid(z)
    return s * (1 - s) * (2 + z * (1 - 2 * s))


class Block(nn.Module):
    """convolution (dense, or depthwise) + batch norm + swish; dense blocks can be split"""

    def __init__(self, cin, cout, k, stride, depthwise=False, linear=False):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, k, stride, k // 2, groups=cin if depthwise else 1, bias=False)
        self.bn = nn.BatchNorm2d(cout)
        self.splittable = not depthwise
        self.phi = (lambda z: z) if linear else F.silu
        self.phi2 = torch.ones_like if linear else phi2

    def forward(self, x):
        return self.phi(self.bn(self.conv(x)))

    def scale(self):
        return self.bn.weight / torch.sqrt(self.bn.running_var + self.bn.eps)

    def probe(self, x):
        """forward whose backward leaves S v in self.sv"""
        z = self.bn(self.conv(x))
        a = self.phi(z)
        if self.splittable and a.requires_grad:
            def hook(delta):
                with torch.no_grad():
                    c2 = (self.scale() ** 2).view(1, -1, 1, 1)
                    u = F.conv2d(x, self.v, None, self.conv.stride, self.conv.padding)
                    g = delta * self.phi2(z) * c2 * u
                    self.sv = torch.nn.grad.conv2d_weight(x, self.v.shape, g, self.conv.stride, self.conv.padding)
            a.register_hook(hook)
        return a

    def probe_unfold(self, x):
        z = self.bn(self.conv(x))
        a = self.phi(z)
        if not self.splittable:
            return a
        (k, _), (p, _), (s, _) = self.conv.kernel_size, self.conv.padding, self.conv.stride
        patches = F.pad(x, (p, p, p, p)).unfold(2, k, s).unfold(3, k, s).permute(0, 2, 3, 1, 4, 5).contiguous()
        b, h, w = patches.shape[:3]
        rows = patches.reshape(b * h * w, -1).t()
        c = self.scale().view(1, -1, 1, 1)
        left = (self.y.flatten(1) @ rows).reshape(-1, b, h, w).permute(1, 0, 2, 3) * c
        right = (self.v.flatten(1) @ rows).reshape(-1, b, h, w).permute(1, 0, 2, 3) * c
        return a + self.phi2(z) * left * right


class Network(nn.Module):
    def __init__(self, blocks, features, classes):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.linear = nn.Linear(features, classes)
        for b in self.splittables():
            b.v = F.normalize(torch.rand_like(b.conv.weight).flatten(1) - .5).view_as(b.conv.weight)
            b.y = nn.Parameter(torch.zeros_like(b.conv.weight))

    def splittables(self):
        return [b for b in self.modules() if isinstance(b, Block) and b.splittable]

    def run(self, x, step):
        for b in self.blocks:
            x = b.run(x, step) if isinstance(b, Inverted) else step(b, x)
        return self.linear(x.mean((2, 3)))

    def forward(self, x):
        return self.run(x, lambda b, t: b(t))


class Inverted(nn.Module):
    """inverted residual; where there is a skip it is a 1x1 convolution"""

    def __init__(self, cin, expansion, cout, stride, skip):
        super().__init__()
        hidden = expansion or cin
        chain = [Block(cin, hidden, 1, 1)] if expansion else []
        chain += [Block(hidden, hidden, 3, stride, depthwise=True), Block(hidden, cout, 1, 1, linear=True)]
        self.chain = nn.ModuleList(chain)
        self.skip = nn.Conv2d(cin, cout, 1, bias=False) if skip else None

    def run(self, x, step):
        a = x
        for b in self.chain:
            a = step(b, a)
        return a + self.skip(x) if self.skip is not None else a


def mobilenet_v1(widths, classes=10, size=32, channels=3):
    first_stride = 1 if size <= 64 else 2
    blocks, cin = [Block(channels, widths[0], 3, first_stride)], widths[0]
    for cout, (_, stride) in list(zip(widths, FULL))[1:]:
        blocks += [Block(cin, cin, 3, stride, depthwise=True), Block(cin, cout, 1, 1)]
        cin = cout
    return Network(blocks, cin, classes)


def mobilenet_v2(widths, classes=1000):
    stem, first, inner, head = widths
    blocks, cin = [Block(3, stem, 3, 2), Inverted(stem, 0, first, 1, False)], first
    for expansion, cout, stride, skip in inner:
        blocks.append(Inverted(cin, expansion, cout, stride, skip))
        cin = cout
    return Network(blocks + [Block(cin, head, 1, 1)], head, classes)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--device", default="cpu")
    a.add_argument("--tf32", action="store_true", help="let products and convolutions round to TF32 (cuda)")
    a.add_argument("--amp", action="store_true", help="bfloat16 where autocast takes it")
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--batch", type=int, default=128)
    a.add_argument("--size", type=int, default=32)
    a.add_argument("--model", choices=["v1", "v2"], default="v1")
    a.add_argument("--width", default="seed", help="v1: seed or a factor; v2: seed or 1.0")
    a.add_argument("--only", choices=["train", "rq", "rq-unfold"])
    a.add_argument("--compile", action="store_true")
    a.add_argument("--channels-last", action="store_true")
    a.add_argument("--repeat", type=int, default=5)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = a.tf32
    if a.model == "v2":
        net = mobilenet_v2(V2_SEED if a.width == "seed" else V2_FULL)
    else:
        net = mobilenet_v1(SEED if a.width == "seed" else [int(w * float(a.width)) for w, _ in FULL], size=a.size)
    net = net.to(a.device)
    for b in net.splittables():
        b.v = b.v.to(a.device)
    x = torch.randn(a.batch, 3, a.size, a.size, device=a.device)
    t = torch.randint(0, 10, (a.batch,), device=a.device)
    if a.channels_last:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    weights = [p for n, p in net.named_parameters() if not n.endswith(".y")]
    sgd = torch.optim.SGD(weights, lr=0.1, momentum=0.9, weight_decay=1e-4)
    forward = torch.compile(net) if a.compile else net

    def train():
        net.train()
        sgd.zero_grad()
        with torch.autocast(torch.device(a.device).type, dtype=torch.bfloat16, enabled=a.amp):
            loss = F.cross_entropy(forward(x), t)
        loss.backward()
        sgd.step()

    vs = [b.v for b in net.splittables()]
    rms = torch.optim.RMSprop(vs, lr=1e-3, alpha=0.9, momentum=0.9)

    def descend(products):
        for v, sv in zip(vs, products):
            vv, vsv = v.pow(2).sum((1, 2, 3), True), (v * sv).sum((1, 2, 3), True)
            v.grad = 2 * (sv * vv - v * vsv) / vv ** 2
        rms.step()
        for v in vs:
            v /= v.pow(2).sum((1, 2, 3), True).sqrt()

    def rq():
        net.eval()
        probe = x.detach().requires_grad_()
        for p in weights:
            p.requires_grad_(False)
        loss = F.cross_entropy(net.run(probe, lambda b, s: b.probe(s)), t)
        loss.backward()
        for p in weights:
            p.requires_grad_(True)
        with torch.no_grad():
            descend([b.sv for b in net.splittables()])

    def rq_unfold():
        net.eval()
        loss = F.cross_entropy(net.run(x, lambda b, s: b.probe_unfold(s)), t)
        products = torch.autograd.grad(loss, [b.y for b in net.splittables()])
        with torch.no_grad():
            descend(products)

    for name, job in (("train", train), ("rq", rq), ("rq-unfold", rq_unfold)):
        if a.only and a.only != name:
            continue
        times = []
        for i in range(a.repeat + 2):
            start = time.perf_counter()
            job()
            if a.device != "cpu":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - start)
        times = sorted(times[2:])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        how = "".join(" " + f for f in ("tf32", "amp", "channels_last", "compile") if getattr(a, f))
        print(f"torch {torch.__version__} {a.device}{how} {name} {a.model} width {a.width} batch {a.batch} size {a.size} "
              f"threads {a.threads}: {times[len(times) // 2] * 1e3:.1f} ms, peak {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
