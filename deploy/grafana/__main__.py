"""Write the dashboards to `dashboards/`, where Grafana's provisioning finds them."""

from pathlib import Path
from typing import Final

from deploy.grafana import health, memory, pipeline
from deploy.grafana.render import render

FOLDER: Final = Path(__file__).with_name("dashboards")
BOARDS: Final = (health.BOARD, pipeline.BOARD, memory.BOARD)


def written() -> dict[Path, str]:
    """Give what each file of `dashboards/` holds as the code has it now."""
    return {FOLDER / f"{board.uid}.json": render(board) for board in BOARDS}


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text, encoding="utf-8")
