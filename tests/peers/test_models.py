"""Whole networks against PyTorch: names, logits, loss, every gradient (1e-4 relative, by norm) and the running statistics of one
training batch; then logits in evaluation mode; and the same bits for 1, 2 and 4 threads."""
import hashlib
import sys

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine import Network, sow

results = []


class MLP(nn.Module):
    def __init__(self, *widths):
        super().__init__()
        self.layers = len(widths) - 1
        for i in range(self.layers):
            setattr(self, f"fc{i + 1}", nn.Linear(widths[i], widths[i + 1]))

    def forward(self, x):
        x = x.flatten(1)
        for i in range(1, self.layers):
            x = torch.relu(getattr(self, f"fc{i}")(x))
        return getattr(self, f"fc{self.layers}")(x)


class ConvNet(nn.Module):
    def __init__(self, blocks, channels, size, classes):
        super().__init__()
        self.blocks, width = blocks, channels
        for i in range(2 * blocks):
            setattr(self, f"conv{i + 1}", nn.Conv2d(width, 64 << i // 2, 3, padding=1))
            width = 64 << i // 2
        self.fc1, self.fc2, self.fc3 = nn.Linear(width * (size >> blocks) ** 2, 256), nn.Linear(256, 256), nn.Linear(256, classes)

    def forward(self, x):
        for i in range(2 * self.blocks):
            x = torch.relu(getattr(self, f"conv{i + 1}")(x))
            x = F.max_pool2d(x, 2) if i % 2 else x
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x.flatten(1))))))


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(y + (self.downsample(x) if self.downsample else x))


class ResNet(nn.Module):
    def __init__(self, channels, classes, blocks=3):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for i, (inputs, width) in enumerate(((16, 16), (16, 32), (32, 64)), 1):
            first = Block(inputs, width, 2 if i > 1 else 1)
            setattr(self, f"layer{i}", nn.Sequential(first, *(Block(width, width, 1) for _ in range(blocks - 1))))
        self.fc = nn.Linear(64, classes)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(torch.relu(self.bn1(self.conv1(x))))))
        return self.fc(x.mean((2, 3)))


class VGG19(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        layers = []
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 256, 0, 512, 512, 512, 512, 0, 512, 512, 512, 512):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()] if width else [nn.MaxPool2d(2)]
            channels = width or channels
        self.features, self.classifier = nn.Sequential(*layers), nn.Linear(512, classes)

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


def report(name, good, detail=""):
    results.append(good)
    print("ok" if good else "not ok", len(results), "-", name, detail, flush=True)


def distance(a, b, largest=0):
    """Norm of the difference over the norm; over the largest norm of all where the true value is 0 (a bias before a norm)."""
    norm = np.linalg.norm(b)
    return np.linalg.norm(a - b) / (norm if norm > 1e-9 * largest else largest)


def worst(ours, theirs):
    largest = max(np.linalg.norm(v) for v in theirs.values())
    distances = {name: distance(ours[name], theirs[name], largest) for name in theirs}
    name = max(distances, key=distances.get)
    return distances[name] < 1e-4, f"({name}: {distances[name]:.1e})"


def digest(gradients):
    return hashlib.sha256(b"".join(gradients[name].tobytes() for name in sorted(gradients))).hexdigest()


def batch(count, channels, size, classes):
    random = np.random.default_rng(7)
    x = random.standard_normal((count, size, size, channels)).astype(np.float32).transpose(0, 3, 1, 2)
    return x, random.integers(0, classes, count).astype(np.int32)


def compare(arch, module, count, channels, size, classes):
    torch.manual_seed(5)
    module = module.double()  # the reference: PyTorch in f64
    for p in module.parameters():
        p.data = p.data.float().double()
    network = Network(arch, (channels, size, size, classes))
    start = {n: v.numpy().copy() for n, v in module.state_dict().items()}
    network.load(start)
    x, labels = batch(count, channels, size, classes)
    digests = []
    for threads in (1, 2, 4):
        network.load(start)
        sow.sow_set_threads(threads)
        logits, loss, gradients = network.step(x, labels)
        digests.append(digest(gradients))
    report(f"{arch}: the same bits for 1, 2, 4 threads", len(set(digests)) == 1)
    module.train()
    expected = module(torch.tensor(x).double())
    expected_loss = F.cross_entropy(expected, torch.tensor(labels, dtype=torch.long))
    expected_loss.backward()
    report(f"{arch}: logits", distance(logits, expected.detach().numpy()) < 1e-4)
    report(f"{arch}: loss", abs(loss - expected_loss.item()) < 1e-5)
    report(f"{arch}: gradients", *worst(gradients, {n: p.grad.numpy() for n, p in module.named_parameters()}))
    after = network.values()
    buffers = {n: b.numpy() for n, b in module.named_buffers()}
    if buffers:
        report(f"{arch}: running statistics", *worst(after, buffers))
    module.eval()
    logits, _, gradients = network.step(x, labels, training=False)
    module.zero_grad()
    expected = module(torch.tensor(x).double())
    F.cross_entropy(expected, torch.tensor(labels, dtype=torch.long)).backward()
    report(f"{arch}: logits in evaluation", distance(logits, expected.detach().numpy()) < 1e-4)
    report(f"{arch}: gradients in evaluation", *worst(gradients, {n: p.grad.numpy() for n, p in module.named_parameters()}))
    network.free()


compare("mlp:50-30-20-7", MLP(50, 30, 20, 7), 33, 50, 1, 7)
compare("lenet300", MLP(784, 300, 100, 10), 60, 1, 28, 10)
compare("conv2", ConvNet(1, 3, 32, 10), 12, 3, 32, 10)
compare("conv4", ConvNet(2, 1, 28, 10), 12, 1, 28, 10)
compare("conv6", ConvNet(3, 3, 32, 10), 12, 3, 32, 10)
compare("resnet8", ResNet(3, 10, blocks=1), 24, 3, 32, 10)
compare("resnet20", ResNet(3, 10), 24, 3, 32, 10)
compare("resnet20", ResNet(1, 7), 9, 1, 28, 7)
# So few images that no activation lies within rounding of 0: one that falls on the other side of a ReLU moves the gradients
# of all layers below by 1e-3 to 1e-2 (PyTorch's f32 against its f64 too, e.g. with 16 images).
compare("vgg19", VGG19(3, 10), 5, 3, 32, 10)
sys.exit(not all(results))
