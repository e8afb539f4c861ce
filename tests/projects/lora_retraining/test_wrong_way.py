"""An adapter trained against a real 4-bit base is caught at every place where it can be."""

import pytest

pytest.importorskip("bitsandbytes")

from lora_retraining.settings import PRESETS

from tests.projects.lora_retraining.wrong_way import Outcome, as_table, both_ways


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[Outcome]:
    settings = PRESETS["tiny"].changed(packing="grouped")
    return both_ways(settings, rows=24, graded=0, folder=tmp_path_factory.mktemp("ways"))


def test_preflight_refuses_the_4_bit_base_under_an_innocent_name(outcomes: list[Outcome]):
    right, wrong = outcomes
    assert right.preflight == ""
    assert "quantization_config: bitsandbytes" in wrong.preflight


def test_merge_refuses_the_adapter_of_the_4_bit_base(outcomes: list[Outcome]):
    right, wrong = outcomes
    assert right.refusal == ""
    assert "was trained against" in wrong.refusal
    assert "-P override=base_digest" in wrong.refusal


def test_with_the_refusals_overridden_the_logits_tell(outcomes: list[Outcome]):
    right, wrong = (outcome.logits for outcome in outcomes)
    assert right.difference < right.tolerance
    assert wrong.difference > 1000 * wrong.tolerance
    # Nor would a merge to bfloat16, whose tolerance is wider, hide it.
    assert wrong.difference > 5 * 0.0313


def test_the_table_names_what_each_way_came_to(outcomes: list[Outcome]):
    rows = {line.split("|")[1].strip(): line for line in as_table(outcomes).splitlines()}
    assert rows["gate"].split("|")[2:4] == [" passes ", " **fails** "]
    assert rows["merge"].split("|")[2] == " merges "
