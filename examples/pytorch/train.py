#!/usr/bin/env python3
"""A PyTorch trainer that obeys Sow's contract: start and mask in, trained weights and JSON lines out.

    sow lottery-ticket find --rounds 8 --rate 'fc[12].*=0.2,fc3.*=0.1' --start theta0.safetensors -o ticket/ --steps 2000 \\
        --train 'python examples/pytorch/train.py --init {init} --mask {mask} --out {out} --seed {seed} --steps {steps}'

theta0.safetensors comes from `sow classic --arch lenet300 --scheme xavier-normal -o theta0.safetensors`, or from
`save_file(LeNet().state_dict(), ...)`. Replace LeNet and load_images by your own network and data: the rest stays.
"""
import argparse
import gzip
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from torch import nn


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(784, 300), nn.Linear(300, 100), nn.Linear(100, 10)

    def forward(self, x):
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


def read_idx(path):
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        data = file.read()
    dimensions = data[3]
    shape = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    return torch.frombuffer(bytearray(data[4 + 4 * dimensions :]), dtype=torch.uint8).reshape(shape)


def load_images(folder):
    """Training, validation and test part of MNIST-like IDX files, pixels from 0 to 1."""
    def part(name):
        (images,), (labels,) = (sorted(pathlib.Path(folder).glob(f"{name}-{what}-idx*"))[:1] for what in ("images", "labels"))
        return read_idx(images).reshape(-1, 784).float() / 255, read_idx(labels).long()

    images, labels = part("train")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))  # the same split in every round
    validation, training = order[:5000], order[5000:]
    return (images[training], labels[training]), (images[validation], labels[validation]), part("t10k")


class Masks:
    """Keeps pruned weights at exactly 0. Zeroing gradients alone would not do: momentum, Adam and weight decay move
    weights whose gradient is 0. So the weights are masked again after every update."""

    def __init__(self, model, path):
        masks = load_file(path) if path else {}
        parameters = dict(model.named_parameters())
        self.pairs = [(parameters[name], mask.to(torch.bool)) for name, mask in masks.items()]
        self.apply()

    @torch.no_grad()
    def apply(self):
        for parameter, mask in self.pairs:
            parameter.masked_fill_(~mask, 0.0)


@torch.no_grad()
def evaluate(model, images, labels):
    logits = model(images)
    return nn.functional.cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).float().mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--init", required=True, help="start values, safetensors")
    parser.add_argument("--mask", help="mask, safetensors: 1 keeps; a tensor that is absent is dense")
    parser.add_argument("--out", required=True, help="where the trained weights go, safetensors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=60)
    parser.add_argument("--lr", type=float, default=0.0012)
    parser.add_argument("--every", type=int, default=100, help="steps between evaluations")
    parser.add_argument("--data", default="/usr/share/datasets/fashion-mnist", help="folder of IDX files")
    parser.add_argument("--rewind-step", type=int, default=-1)
    parser.add_argument("--rewind", help="write the weights after --rewind-step steps here")
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    training, validation, test = load_images(args.data)
    model = LeNet()
    model.load_state_dict(load_file(args.init), strict=True)
    masks = Masks(model, args.mask)
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)

    def report(step):
        val_loss, val_accuracy = evaluate(model, *validation)
        test_loss, test_accuracy = evaluate(model, *test)
        record = {"step": step, "val_loss": val_loss, "val_accuracy": val_accuracy, "test_loss": test_loss, "test_accuracy": test_accuracy}
        print(json.dumps(record), flush=True)  # one line, at once: sow reads it as it comes

    report(0)
    order, at = torch.randperm(len(training[0])), 0
    for step in range(1, args.steps + 1):
        if at + args.batch > len(order):
            order, at = torch.randperm(len(training[0])), 0
        rows = order[at : at + args.batch]
        at += args.batch
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(training[0][rows]), training[1][rows]).backward()
        optimizer.step()
        masks.apply()
        if step == args.rewind_step and args.rewind:
            save_file(model.state_dict(), args.rewind)
        if step % args.every == 0 or step == args.steps:
            report(step)
    save_file(model.state_dict(), args.out)


if __name__ == "__main__":
    main()
