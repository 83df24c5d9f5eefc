#!/usr/bin/python3
"""The accuracy to be met: the seed network trained in PyTorch, on CIFAR-10 in its published binary layout.

usage: train_torch.py DATA_DIR [--epochs 10] [--seed 1] [--width seed|0.5|1.0] [--threads 2]

MobileNetV1 (swish) with this project's initialisation, optimiser, schedule and augmentation:
lr 0.1 times 0.1 at 50 % and 75 % of the epochs, batch 128 (the last, smaller batch is kept),
momentum 0.9, weight decay 1e-4 on everything, pad 4, random crop, flip. Prints a line an epoch.
"""
import argparse, math, os, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from bench_torch import FULL, SEED, mobilenet_v1


def load(directory, names):
    records = np.concatenate([np.fromfile(os.path.join(directory, n), np.uint8).reshape(-1, 3073) for n in names])
    return torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(records[:, 0].astype(np.int64))


def initialise(net):
    for m in net.modules():
        if isinstance(m, nn.Conv2d) and m.groups == 1:
            nn.init.normal_(m.weight, 0, math.sqrt(2 / (m.kernel_size[0] * m.kernel_size[1] * m.out_channels)))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("data")
    a.add_argument("--epochs", type=int, default=10)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--width", default="seed")
    a.add_argument("--threads", type=int, default=2)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    x, y = load(a.data, [f"data_batch_{i}.bin" for i in range(1, 6)])
    xt, yt = load(a.data, ["test_batch.bin"])
    mean = torch.tensor([.4914, .4822, .4465]).view(1, 3, 1, 1)
    std = torch.tensor([.2023, .1994, .2010]).view(1, 3, 1, 1)

    def images(t):
        return ((t.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)

    net = mobilenet_v1(SEED if a.width == "seed" else [int(w * float(a.width)) for w, _ in FULL])
    initialise(net)
    net = net.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD([p for n, p in net.named_parameters() if not n.endswith(".y")], lr=.1, momentum=.9, weight_decay=1e-4)
    for epoch in range(a.epochs):
        if epoch in (int(a.epochs * .5), int(a.epochs * .75)):
            for g in sgd.param_groups:
                g["lr"] *= .1
        net.train()
        start, total, order = time.time(), 0., torch.randperm(len(y))
        for i in range(0, len(y), 128):
            j = order[i:i + 128]
            padded, b = F.pad(x[j], (4, 4, 4, 4)), len(j)
            top, left = torch.randint(0, 9, (2, b))
            rows = (top[:, None] + torch.arange(32)).view(b, 1, 32, 1)
            cols = (left[:, None] + torch.arange(32)).view(b, 1, 1, 32)
            cols = torch.where(torch.rand(b).view(b, 1, 1, 1) < .5, cols.flip(3), cols)
            batch = padded[torch.arange(b).view(b, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1), rows, cols]
            sgd.zero_grad()
            loss = F.cross_entropy(net(images(batch)), y[j])
            loss.backward()
            sgd.step()
            total += loss.item() * b
        net.eval()
        with torch.no_grad():
            hits = sum((net(images(xt[i:i + 500])).argmax(1) == yt[i:i + 500]).sum().item() for i in range(0, len(yt), 500))
        print(f"epoch {epoch + 1} loss {total / len(y):.4f} test {100 * hits / len(yt):.2f} % ({time.time() - start:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
