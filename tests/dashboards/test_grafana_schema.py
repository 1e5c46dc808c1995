"""The dashboards, held against Grafana's own types of the same release by TypeScript."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dashboards import grafana
from dashboards.pictures.asked import panels

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".work" / "npm" / "node_modules"  # scripts/viewing_parts.sh puts them there

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (MODULES / "@grafana" / "schema").exists(),
        reason="Grafana's types are not installed: run scripts/viewing_parts.sh",
    ),
]

# JSON has the values of Grafana's string enumerations, not their names. That annotations
# carry `expr` is Prometheus' matter, of which the core schema knows nothing.
HEAD = """\
import type { Dashboard } from '@grafana/schema';
type Plain<T> = T extends string ? `${T}`
  : T extends (infer Each)[] ? Plain<Each>[]
  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Ours = Plain<Dashboard> & { annotations?: { list?: { expr?: string }[] } };
"""
KINDS = {
    "bargauge": "BarGauge",
    "heatmap": "Heatmap",
    "stat": "Stat",
    "state-timeline": "StateTimeline",
    "table": "Table",
    "timeseries": "TimeSeries",
}


def checked(folder: Path, sources: dict[str, str]) -> str:
    """Check TypeScript with Grafana's types in reach; give what the compiler says."""
    (folder / "node_modules").symlink_to(MODULES)
    for name, text in sources.items():
        (folder / f"{name}.ts").write_text(text)
    command = [MODULES / ".bin" / "tsc", *["--noEmit", "--skipLibCheck", "--strict"]]
    command += ["--module", "nodenext", "--moduleResolution", "nodenext"]
    command += [f"{name}.ts" for name in sources]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def source(dashboard: dict[str, Any], shown: list[dict[str, Any]]) -> str:
    """Write a dashboard, and apart from it each panel's options, as typed constants."""
    lines = [HEAD]
    for kind, name in KINDS.items():
        where = f"@grafana/schema/dist/esm/raw/composable/{kind.replace('-', '')}/panelcfg/x"
        lines.append(f"import type * as {name} from '{where}/{name}PanelCfg_types.gen.d.ts';")
    lines.append(f"export const dashboard: Ours = {json.dumps(dashboard)};")
    for number, panel in enumerate(shown):
        kind = KINDS[panel["type"]]
        lines.append(f"// {panel['title']}")
        options = json.dumps(panel["options"])
        lines.append(f"export const o{number}: Plain<Partial<{kind}.Options>> = {options};")
        custom = panel.get("fieldConfig", {"defaults": {}})["defaults"].get("custom")
        if custom:
            written = json.dumps(custom)
            lines.append(f"export const c{number}: Plain<Partial<{kind}.FieldConfig>> = {written};")
    return "\n".join(lines) + "\n"


def test_grafanas_own_types_accept_every_dashboard(tmp_path: Path) -> None:
    paths = sorted(Path(str(grafana())).glob("*.json"))
    sources = {
        path.stem: source(json.loads(path.read_text()), list(panels(path))) for path in paths
    }

    said = checked(tmp_path, sources)

    assert len(sources) == 4
    assert said == ""


def test_the_check_refuses_what_grafana_does_not_know(tmp_path: Path) -> None:
    path = Path(str(grafana() / "slo-tiers.json"))
    shown = list(panels(path))
    broken = json.loads(path.read_text())
    broken["panels"][1]["fieldConfig"]["defaults"]["thresholds"]["mode"] = "relative"
    shown[0]["options"]["displayMode"] = "sideways"

    said = checked(tmp_path, {"broken": source(broken, shown)})

    assert '"relative"\' is not assignable' in said
    assert '"sideways"\' is not assignable' in said
