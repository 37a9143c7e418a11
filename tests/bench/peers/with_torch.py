"""PyTorch: an embedding factorization machine with sparse AdaGrad, 1,024 events at a time; orjson decodes."""

import time
import zlib

import numpy as np
import orjson
import torch
from job import categories, report, task

_BATCH, _BUCKETS, _FACTORS = 1_024, 2**20, 16


def main() -> None:
    """Do the task."""
    it = task()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    weight = torch.nn.Embedding(_BUCKETS, 1, sparse=True)
    factor = torch.nn.Embedding(_BUCKETS, _FACTORS, sparse=True)
    torch.nn.init.zeros_(weight.weight)
    torch.nn.init.normal_(factor.weight, std=0.05)
    bias = torch.nn.Parameter(torch.zeros(1))
    sparse = torch.optim.Adagrad([weight.weight, factor.weight], lr=it.settings["rate"])
    dense = torch.optim.Adagrad([bias], lr=it.settings["rate"])
    lines, labels, predictions = it.lines(), [], []
    began = time.perf_counter()
    for start in range(0, len(lines), _BATCH):
        events = [orjson.loads(line) for line in lines[start : start + _BATCH]]
        named = [categories(event, it.fields) for event in events]
        places = torch.tensor([zlib.crc32(name.encode()) % _BUCKETS for names in named for name in names])
        of = torch.tensor(np.repeat(np.arange(len(named)), [len(names) for names in named]))
        y = torch.tensor([float(event["label"]) for event in events])
        factors, none = factor(places), torch.zeros(len(named), _FACTORS)
        whole, squares = none.index_add(0, of, factors), none.index_add(0, of, factors**2)
        linear = torch.zeros(len(named)).index_add(0, of, weight(places)[:, 0])
        logit = bias + linear + 0.5 * (whole**2 - squares).sum(1)
        predictions.append(torch.sigmoid(logit).detach().numpy())
        labels.append(y.numpy())
        sparse.zero_grad()
        dense.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(logit, y, reduction="sum").backward()
        sparse.step()
        dense.step()
    report(time.perf_counter() - began, np.concatenate(labels), np.concatenate(predictions))


main()
