"""The end of a computed phase that leaves no files behind."""


def without_outputs(demo, seed: int) -> str:
    """Computes `collect` with this seed, which leaves nothing in the store; returns its output digest."""
    run_id, decision = demo.start("collect", seed=seed)
    demo.finish(run_id, decision, {}, {}, 1.0)
    return demo.run(run_id).output_digest


def test_what_left_no_outputs_is_known_by_how_it_was_made(demo, capsys):
    first, again, other = (without_outputs(demo, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len(first) == 64
    assert "collect: it left no outputs in the store" in capsys.readouterr().err


def test_a_phase_after_one_without_outputs_is_stale_when_that_was_made_otherwise(demo, ask_always):
    without_outputs(demo, 0)
    trained = demo.compute("train")
    without_outputs(demo, 0)
    assert demo.action("train") == ("reuse", "same")
    without_outputs(demo, 1)
    verdict = demo.decide("train").verdict
    assert (verdict.kind, verdict.run_id) == ("stale", trained)
