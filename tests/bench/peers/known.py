"""The peers: what is installed for each, how it is called, and the small grid of settings that it is at its best of."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.peers.installed import TORCH

_FOLDER = Path(__file__).parent
_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Somebody else's learner."""

    script: str
    learner: str
    packages: tuple[str, ...]
    events: int  # in one round of the rates: a second or two
    includes: str
    grid: tuple[dict[str, Any], ...]  # the first one is used for the rates
    optional: str = ""  # the name by which it has to be asked for

    def run(self, python: Path, **task: Any) -> dict[str, Any]:
        """Let it do a task in a process of its own; gives what it reports.

        Raises:
            RuntimeError: it failed.
        """
        command = [str(python), "-W", "ignore", str(_FOLDER / f"{self.script}.py")]
        whole = json.dumps({"learner": self.learner, "settings": self.grid[0]} | task)
        ended = subprocess.run([*command, whole], capture_output=True, text=True, timeout=_SECONDS, check=False)
        if ended.returncode != 0:
            raise RuntimeError((ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1][:300])
        found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
        return found


def _vw(*arguments: str) -> tuple[dict[str, Any], ...]:
    return tuple({"arguments": it} for it in arguments)


_FTRL = tuple(
    {"alpha": alpha, "beta": 1.0, "l1": 0.0, "l2": l2} for alpha, l2 in ((0.1, 0.0), (0.05, 1.0), (0.05, 0.0))
)
# The first two fields are the user and the item everywhere.
_VW_LINEAR = _vw("", "-l 0.2", "--ftrl")
_VW_PAIRS = _vw("-q ab", "-q ab -l 0.2", "-q ab --ftrl", "-q ::", "--lrq ab8 --ftrl", "--lrq ab8 -l 0.1")
PEERS = {
    "river_ftrl": Peer(
        script="with_river", learner="ftrl", packages=("river", "orjson"), events=50_000, grid=_FTRL,
        includes="orjson, River's LogisticRegression with FTRLProximal; event by event, from memory",
    ),
    "river_fm": Peer(
        script="with_river", learner="fm", packages=("river", "orjson"), events=8_000,
        grid=({"rate": 0.05}, {"rate": 0.1}),
        includes="orjson, River's FMClassifier, 8 factors, AdaGrad; event by event, from memory",
    ),
    "vowpal_wabbit_python": Peer(
        script="with_vw", learner="python", packages=("vowpalwabbit", "orjson"), events=100_000,
        grid=_vw("-q ab"),
        includes="orjson to its text, parse, learn; -q of user and item; event by event, from memory",
    ),
    "vowpal_wabbit_driver": Peer(
        script="with_vw", learner="driver", packages=("vowpalwabbit", "orjson"), events=200_000,
        grid=(*_VW_PAIRS, *_VW_LINEAR),
        includes="orjson to a file of text, its own loop, predictions written; `text_given_eps` is without orjson",
    ),
    "scikit_learn": Peer(
        script="with_sklearn", learner="sgd", packages=("scikit-learn", "orjson"), events=150_000,
        grid=tuple({"eta0": eta, "alpha": alpha} for eta, alpha in ((0.05, 1e-6), (0.02, 1e-6), (0.1, 1e-6))),
        includes="orjson, FeatureHasher, SGDClassifier.partial_fit; 1,000 events at a time, from memory",
    ),
    "pytorch_fm": Peer(
        script="with_torch", learner="fm", packages=(TORCH, "orjson"), events=100_000, optional="torch",
        grid=({"rate": 0.05}, {"rate": 0.02}, {"rate": 0.1}),
        includes="orjson, hashed embeddings with 16 factors, sparse AdaGrad; 1,024 events at a time, from memory",
    ),
    "quix_streams_river": Peer(
        script="with_quix", learner="ftrl", packages=("quixstreams", "river", "orjson"), events=40_000, grid=_FTRL[:1],
        includes="Quix Streams reads the topic and decodes JSON; River's FTRLProximal inside; no state kept",
    ),
}  # fmt: skip
