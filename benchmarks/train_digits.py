r"""A residual network on the demo's digits that keeps a GPU busy: trained with PyTorch on a GPU in a minute, and written as ONNX.

The data are written by the Python of the workbench, the network is trained by one that has PyTorch, and the run is an ordinary one::

    python benchmarks/train_digits.py --data digits.npz
    python benchmarks/train_digits.py --train digits.npz --model digits_resnet.onnx
    workbench report --model digits_resnet.onnx --data digits.npz --backends tensorrt,onnxruntime:cuda \
        --precisions fp32,fp16,int8 --batches 1,8,64 --max-measure-s 8

``notebooks/lessons/data/digits_h200.wbrun`` is such a run.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

TRAINING = "train_"
WIDTH, BLOCKS, EPOCHS, BATCH, SHIFT = 128, 8, 30, 128, 2


def save_data(path: Path) -> None:
    """The images [n, 1, 28, 28] of the demo, float32 from 0 to 1: ``x`` and ``y`` to calibrate and test, and beside them those to train on."""
    from workbench.lessons import digits

    train, calibration, test = (
        (each.inputs["image"].transpose(0, 3, 1, 2), np.asarray(each.labels)) for each in digits()
    )
    images, labels = (np.concatenate(pair) for pair in zip(calibration, test, strict=True))
    np.savez(path, x=images, y=labels)
    np.savez(path.with_name(TRAINING + path.name), x=train[0], y=train[1])


def network() -> Any:
    """A convolution, residual blocks of two convolutions at 28 × 28 and 14 × 14, and a dense layer."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            each = [[nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH)] for _ in range(2)]
            self.body = nn.Sequential(*each[0], nn.ReLU(), *each[1])

        def forward(self, x: Any) -> Any:
            return torch.relu(x + self.body(x))

    first = [nn.Conv2d(1, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU()]
    halves = [Block() for _ in range(BLOCKS // 2)], [Block() for _ in range(BLOCKS // 2)]
    last = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 10), nn.Softmax(dim=1)]
    return nn.Sequential(*first, *halves[0], nn.MaxPool2d(2), *halves[1], *last)


def train(data: Path, model: Path) -> None:
    """Train on images shifted by up to two pixels, print the share of the test images that are right, and write the network."""
    import torch

    torch.manual_seed(0)
    with np.load(data.with_name(TRAINING + data.name)) as file:
        images, labels = (torch.from_numpy(np.ascontiguousarray(file[name])).cuda() for name in "xy")
    net = network().cuda()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for _ in range(EPOCHS):
        for at in torch.randperm(len(images), device="cuda").split(BATCH):
            down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
            shifted = torch.roll(images[at], (down, right), (2, 3))
            loss = torch.nn.functional.nll_loss(torch.log(net(shifted) + 1e-9), labels[at].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with np.load(data) as file, torch.no_grad():
        answers = [net(part.cuda()).argmax(1).cpu() for part in torch.from_numpy(file["x"]).split(BATCH)]
        print(f"{(torch.cat(answers).numpy() == file['y']).mean():.2%} of {len(file['y'])} images are right")
    torch.onnx.export(
        net.cpu(), (torch.zeros(1, 1, 28, 28),), str(model), input_names=["x"], output_names=["digit"], opset_version=17,
        dynamic_axes={"x": {0: "n"}, "digit": {0: "n"}}, dynamo=False,
    )  # fmt: skip


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--train", "--model"):
        options.add_argument(name, type=Path, metavar="FILE")
    asked = options.parse_args()
    if asked.data:
        save_data(asked.data)
    if asked.train:
        train(asked.train, asked.model)
