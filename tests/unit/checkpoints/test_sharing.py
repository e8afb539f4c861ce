"""What a state shares when it is saved it shares after a resume, and nothing else."""

import copy
import json
import random
from collections import OrderedDict, defaultdict
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlflow_plugin.checkpoints.encoding import Decoder, Encoder
from mlflow_plugin.checkpoints.identity import Beginning, of_state, same_objects
from mlflow_plugin.checkpoints.state import collect, restore
from mlflow_plugin.errors import PhaseError

np = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")
torch.set_num_threads(1)


def stored(content):
    """Return a state as it comes back from its files."""
    encoder = Encoder()
    tree = json.loads(json.dumps([encoder.encode(content), encoder.shared_memory()]))
    tensors = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in encoder.tensors.items()}
    arrays = {name: array.copy() for name, array in encoder.arrays.items()}
    return Decoder(tensors, arrays, tree[1]).decode(tree[0])


class Script:
    """A script that `begin` starts anew, with the state that it gives to the phase."""

    def __init__(self, begin):
        self.begin = begin
        self.start()

    def start(self):
        self.state = self.begin()
        self.beginning = Beginning(self.state)
        return self

    def checkpoint(self):
        return stored({"state": collect(self.state), "identity": self.beginning.record(self.state)})

    def resumed(self, saved):
        new = Script(self.begin)
        restore(new.state, saved["state"], saved["identity"])
        return new


def after_a_resume(begin, change):
    """Run `change` on the state of a script and save it. Return the state of the script that resumes, and its own."""
    whole = Script(begin)
    change(whole.state)
    return whole.resumed(whole.checkpoint()).state, whole.state


def values(state):
    found = [(".".join(map(str, path)), value) for path, value, kind in of_state(collect(state)) if kind == "numbers"]
    return {name: value.detach() if hasattr(value, "detach") else value for name, value in found}


def assert_same(one, other):
    """Equal in every bit, and sharing the same memory: a number written to one part shows in the same others."""
    for round_ in range(2):
        ours, theirs = values(one), values(other)
        assert list(ours) == list(theirs)
        for name, value in ours.items():
            assert np.asarray(value).tobytes() == np.asarray(theirs[name]).tobytes(), (round_, name)
        for number, name in enumerate(ours):
            ours[name][...] += number + 1
            theirs[name][...] += number + 1


# --- best-so-far copies ---


def linear():
    torch.manual_seed(0)
    return torch.nn.Linear(2, 1)


def trained(model):
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1)


BEST = {
    "state dict": lambda model: model.state_dict(),
    "model": lambda model: model,
    "parameters": lambda model: list(model.parameters()),
    "data": lambda model: model.weight.data,
    "view": lambda model: model.weight.data[0],
    "array": lambda model: model.weight.detach().numpy(),
    "inside": lambda model: {"step": 3, "weights": [model.state_dict()]},
}


@pytest.mark.parametrize("order", [("model", "best"), ("best", "model")], ids=" then ".join)
@pytest.mark.parametrize("best", BEST.values(), ids=BEST)
def test_a_best_so_far_copy_is_not_written_into_the_model(best, order):
    models = []

    def begin():
        models.append(linear())
        parts = {"model": models[-1], "best": best(models[-1])}
        return {name: parts[name] for name in order}

    def change(state):
        state["best"] = copy.deepcopy(state["best"])
        trained(models[-1])

    resumed, whole = after_a_resume(begin, change)
    assert resumed["model"] is models[-1]
    assert models[-1].weight.tolist() == (linear().weight + 1).tolist()
    assert type(resumed["best"]) is type(whole["best"])
    assert_same(resumed, whole)


@pytest.mark.parametrize("best", BEST.values(), ids=BEST)
def test_what_shares_the_weights_of_the_model_still_shares_them(best):
    def begin():
        model = linear()
        return {"best": None if best is not BEST["model"] else model, "model": model}

    def change(state):
        state["best"] = best(state["model"])
        trained(state["model"])

    resumed, whole = after_a_resume(begin, change)
    assert_same(resumed, whole)


def test_the_best_state_of_an_optimizer_is_not_the_running_one():
    def begin():
        model = linear()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        return {"best": {}, "optimizer": optimizer, "model": model, "weights": list(model.parameters())}

    def step(state):
        state["optimizer"].zero_grad()
        state["model"](torch.ones(1, 2)).sum().backward()
        state["optimizer"].step()

    def change(state):
        step(state)
        state["best"] = {"now": state["optimizer"].state_dict(), "then": copy.deepcopy(state["optimizer"].state_dict())}
        step(state)

    resumed, whole = after_a_resume(begin, change)
    for state in (resumed, whole):
        step(state)
    assert_same(resumed, whole)
    assert resumed["weights"][0] is resumed["model"].weight


def test_a_moving_average_that_begins_as_the_weights_themselves():
    def begin():
        model = linear()
        return {"average": dict(model.named_parameters()), "model": model}

    def change(state):
        state["average"] = {name: weight.detach().clone() for name, weight in state["average"].items()}
        trained(state["model"])

    assert_same(*after_a_resume(begin, change))


class Average:
    """A moving average that loads in place, as several packages have it."""

    def __init__(self, model):
        self.shadow = {name: weight.data for name, weight in model.named_parameters()}

    def update(self, model):
        self.shadow = {
            name: 0.5 * old + 0.5 * dict(model.named_parameters())[name].data for name, old in self.shadow.items()
        }

    def state_dict(self):
        return self.shadow

    def load_state_dict(self, saved):
        for name, tensor in self.shadow.items():
            tensor.copy_(saved[name])


@pytest.mark.parametrize("order", [("model", "average"), ("average", "model")], ids=" then ".join)
def test_an_object_that_writes_into_the_weights_while_it_loads_is_refused(order):
    def begin():
        model = linear()
        parts = {"model": model, "average": Average(model)}
        return {name: parts[name] for name in order}

    def change(state):
        state["average"].update(state["model"])
        trained(state["model"])

    with pytest.raises(PhaseError, match=r"shares its memory with another part .* copy\.deepcopy"):
        after_a_resume(begin, change)


# --- tied weights ---


class Tied(torch.nn.Module):
    def __init__(self, *, tied=True):
        super().__init__()
        self.embedding, self.head = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        if tied:
            self.tie()

    def tie(self):
        self.head.weight = self.embedding.weight


class TiedOnLoad(Tied):
    def load_state_dict(self, *args, **kwargs):
        super().load_state_dict(*args, **kwargs)
        self.tie()


def test_tied_weights_stay_tied():
    assert_same(
        *after_a_resume(lambda: {"model": Tied(), "copy": copy.deepcopy(Tied())}, lambda state: trained(state["model"]))
    )


def test_weights_that_are_tied_when_they_are_loaded_are_accepted():
    resumed, whole = after_a_resume(lambda: {"model": TiedOnLoad(tied=False)}, lambda state: state["model"].tie())
    assert_same(resumed, whole)


def test_weights_that_were_tied_by_the_loop_are_refused():
    with pytest.raises(
        PhaseError, match=r"head\.weight: it shared its memory with model\.|embedding\.weight: it shared"
    ):
        after_a_resume(lambda: {"model": Tied(tied=False)}, lambda state: state["model"].tie())


def test_weights_that_were_untied_by_the_loop_are_refused():
    def untie(state):
        state["model"].head.weight = torch.nn.Parameter(torch.ones(2, 2))

    with pytest.raises(PhaseError, match="shares its memory with another part"):
        after_a_resume(lambda: {"model": Tied()}, untie)


# --- containers and objects ---


def test_lists_that_were_one_list_are_one_again():
    def change(state):
        state["recent"] = state["all"]
        state["all"].append(1.5)

    resumed, _ = after_a_resume(lambda: {"recent": [], "all": []}, change)
    resumed["all"].append(2.5)
    assert resumed == {"recent": [1.5, 2.5], "all": [1.5, 2.5]}


def test_lists_that_no_longer_are_one_list_are_two():
    def begin():
        losses = []
        return {"recent": losses, "all": losses}

    def change(state):
        state["recent"] = [*state["recent"], 1.0]
        state["all"].append(2.0)

    resumed, _ = after_a_resume(begin, change)
    resumed["all"].append(3.0)
    assert resumed == {"recent": [1.0], "all": [2.0, 3.0]}


def test_the_object_that_other_variables_refer_to_is_the_one_that_stayed():
    lists = []

    def begin():
        lists.append([])
        return {"recent": lists[-1], "all": lists[-1]}

    def change(state):
        state["recent"] = [1.0]
        state["all"].append(2.0)

    resumed, _ = after_a_resume(begin, change)
    assert resumed["all"] is lists[-1]


def test_two_names_of_one_generator_are_one_generator_again_or_two():
    def begin():
        generator = torch.Generator().manual_seed(1)
        return {"order": generator, "noise": generator}

    one, whole = after_a_resume(begin, lambda state: torch.rand(3, generator=state["noise"]))
    assert one["order"] is one["noise"]

    def split(state):
        state["noise"] = torch.Generator().manual_seed(2)

    two, whole = after_a_resume(begin, split)
    drawn = [torch.rand(2, generator=state[name]).tolist() for name in ("order", "noise") for state in (two, whole)]
    assert drawn[0] == drawn[1] != drawn[2] == drawn[3]


def test_a_dictionary_that_makes_its_own_entries_makes_them_again():
    def change(state):
        state["sums"]["train"]["loss"].append(1.0)

    resumed, _ = after_a_resume(lambda: {"sums": defaultdict(lambda: defaultdict(list))}, change)
    resumed["sums"]["train"]["accuracy"].append(2.0)
    assert resumed["sums"] == {"train": {"loss": [1.0], "accuracy": [2.0]}}


def test_an_object_that_a_dictionary_makes_is_restored():
    def change(state):
        state["sources"]["noise"].random()

    resumed, whole = after_a_resume(lambda: {"sources": defaultdict(lambda: random.Random(1))}, change)
    assert resumed["sources"]["noise"].random() == whole["sources"]["noise"].random()


def test_an_object_that_was_removed_stays_removed():
    def begin():
        return {"models": [linear(), torch.nn.Linear(3, 1)], "by_name": {"old": linear(), "new": linear()}}

    def change(state):
        del state["models"][0], state["by_name"]["old"]
        trained(state["models"][0])

    resumed, whole = after_a_resume(begin, change)
    assert list(resumed["by_name"]) == ["new"]
    assert_same(resumed, whole)


def test_a_state_dict_comes_back_as_one():
    resumed, whole = after_a_resume(
        lambda: {"best": None}, lambda state: state.update(best=torch.nn.BatchNorm1d(2).state_dict())
    )
    assert type(resumed["best"]) is OrderedDict
    assert resumed["best"]._metadata == whole["best"]._metadata


def test_a_tensor_that_grew_comes_back_in_its_size():
    resumed, whole = after_a_resume(lambda: {"seen": torch.zeros(0)}, lambda state: state.update(seen=torch.ones(3)))
    assert_same(resumed, whole)


@pytest.mark.parametrize("saved_as", ["earlier version", "without a beginning"])
def test_a_checkpoint_without_a_record_of_its_beginning_takes_the_first_name_for_the_object(saved_as):
    begin = lambda: (model := linear()) and {"model": model, "best": model.state_dict()}  # noqa: E731
    whole = begin()
    whole["best"] = copy.deepcopy(whole["best"])
    trained(whole["model"])
    identity = None if saved_as == "earlier version" else same_objects(list(of_state(whole)))
    resumed = begin()
    restore(resumed, stored(collect(whole)), identity)
    assert_same(resumed, whole)


# --- what could not be restored is refused when it is saved ---


@pytest.mark.parametrize(
    ("begin", "change", "message"),
    [
        (lambda: {"best": None}, lambda state: state.update(best=linear()), "best cannot be restored later.*Linear"),
        (lambda: {"sums": {}}, lambda state: state["sums"].update(x=defaultdict(int)), r"sums\.x .*defaultdict"),
        (lambda: {}, lambda state: state.update(late=1), "late is only in one"),
        (lambda: MappingProxyType({"count": 1}), lambda state: None, "count cannot be restored .*Pass the state as a"),
    ],
    ids=["object", "dictionary of its own type", "name", "value that cannot be set"],
)
def test_a_part_that_could_not_be_restored_is_named_when_it_is_saved(begin, change, message):
    with pytest.raises(PhaseError, match=message):
        after_a_resume(begin, change)


# --- random states ---


class Programme:
    """A random script: a nest of tensors, arrays and containers with aliases, and random changes to it."""

    def __init__(self, recipe, order):
        self.recipe, self.order = recipe, order

    def begin(self):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        state = {"model": model, "optimizer": optimizer, "best": model, "last": model.state_dict(), "x": torch.zeros(3)}
        pool = [torch.arange(6.0), model[0].weight.data, model.state_dict()["1.weight"]]
        for number, (kind, index) in enumerate(self.recipe):
            source = pool[index % len(pool)]
            made = {
                "new": lambda: torch.full((4,), float(number)),  # noqa: B023
                "same": lambda: source,  # noqa: B023
                "view": lambda: part_of(source),  # noqa: B023
                "clone": lambda: copied(source),  # noqa: B023
                "array": lambda: source.numpy() if isinstance(source, torch.Tensor) else source[...],  # noqa: B023
                "list": lambda: [source, *pool[:index]],  # noqa: B023
                "dict": lambda: {"one": source, "number": index},  # noqa: B023
                "none": lambda: None,
            }[kind]()
            if isinstance(made, torch.Tensor | np.ndarray):
                pool.append(made)
            state[f"x{number}"] = made
        names = sorted(state, key=lambda name: hash((self.order, sum(map(ord, name)))))
        return {name: state[name] for name in names}

    def change(self, state, step):
        kind, one, other = step
        slots = [(holder, key) for holder, key in self.slots(state)]
        holder, key = slots[one % len(slots)]
        source = slots[other % len(slots)][0][slots[other % len(slots)][1]]
        boxes = [name for name in state if isinstance(state[name], list) or type(state[name]) is dict]
        model = state["model"]
        if kind == "add":
            holder[key][...] += 1.5
        elif kind == "same":
            holder[key] = source
        elif kind == "clone":
            holder[key] = copied(holder[key])
        elif kind == "view":
            holder[key] = part_of(source)
        elif kind == "train":
            state["optimizer"].zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            state["optimizer"].step()
        elif kind == "best":
            state["best"] = [model, copy.deepcopy(model), copy.deepcopy(model.state_dict())][one % 3]
        elif kind == "last":
            state["last"] = [model.state_dict(), copy.deepcopy(model.state_dict()), None][one % 3]
        elif boxes and kind == "same box":
            state[boxes[one % len(boxes)]] = state[boxes[other % len(boxes)]]
        elif boxes and kind == "copy box":
            state[boxes[one % len(boxes)]] = copy.deepcopy(state[boxes[other % len(boxes)]])

    def slots(self, state):
        """The places that hold a tensor or array, outside of objects."""
        yield from (
            (place, key)
            for place in [state, *(value for value in state.values() if isinstance(value, dict | list))]
            for key, value in (place.items() if isinstance(place, dict) else enumerate(place))
            if isinstance(value, torch.Tensor | np.ndarray)
        )


def part_of(source):
    flat = source.reshape(-1)
    return flat[1:] if len(flat) > 1 else flat[:]


def copied(source):
    return source.clone() if isinstance(source, torch.Tensor) else source.copy()


KINDS = st.sampled_from(["new", "same", "view", "clone", "array", "list", "dict", "none"])
STEPS = st.sampled_from(["add", "same", "clone", "view", "train", "best", "last", "same box", "copy box"])
NUMBERS = st.integers(0, 7)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(KINDS, NUMBERS), max_size=6),
    st.lists(st.tuples(STEPS, NUMBERS, NUMBERS), min_size=1, max_size=8),
    st.lists(NUMBERS, min_size=1, max_size=3),
    st.integers(),
)
def test_any_nest_with_aliases_goes_on_as_if_it_had_not_been_interrupted(recipe, steps, stops, order):
    programme = Programme(recipe, order)
    whole = Script(programme.begin)
    resumed = Script(programme.begin)
    for number, step in enumerate(steps):
        if number in stops:
            resumed = resumed.resumed(resumed.checkpoint())
        programme.change(whole.state, step)
        programme.change(resumed.state, step)
    resumed = resumed.resumed(resumed.checkpoint())
    assert_same(resumed.state, whole.state)
