"""`pipelines/ecg.flow` takes any WFDB record as it stands, whatever its rate, leads and scale."""

from pathlib import Path

import numpy as np
import pytest
from support.command import cli, read

from flowedge.sources import catalog

FLOW = Path(__file__).parents[2] / "pipelines" / "ecg.flow"


def beats(record, folder):
    """Times of the beats of a record [ns]."""
    code, _, err = cli("run", "-q", FLOW, "-p", f"record={record}", cwd=folder)
    assert code == 0, err
    return read(folder / "out" / "beats.arrow")["time"].cast("int64").to_numpy()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return beats("simulate:60", tmp_path_factory.mktemp("simulated"))


@pytest.mark.filterwarnings("ignore:The inplace keyword")  # inside wfdb's writer
@pytest.mark.parametrize("rate", [125, 500])
def test_any_record_is_taken_at_its_own_rate(tmp_path, simulated, rate):
    wfdb = pytest.importorskip("wfdb")
    made = catalog.get("wfdb")("simulate:60")
    lead = np.concatenate([b.column(0).to_numpy() for b, _ in made.batches()])
    at = np.arange(0, 60, 1 / rate)
    here = np.interp(at, np.arange(len(lead)) / made.rate_hz, lead)
    wfdb.wrsamp(
        "r1", fs=rate, units=["mV", "mmHg"], sig_name=["II", "ABP"], p_signal=np.stack([here, 80 + 0 * here], axis=1),
        fmt=["16", "16"], write_dir=str(tmp_path),
    )  # fmt: skip
    ours = beats("r1", tmp_path)
    assert abs(len(ours) - len(simulated)) <= 2
    nearest = np.abs(ours[:, None] - simulated[None, :]).min(axis=1)
    assert np.mean(nearest < 40_000_000) > 0.95
