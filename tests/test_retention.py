"""Retention: three forms of one answer, against the formula written out, and inside a whole network."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mudra.errors import ModelError
from mudra.models.retention import Retention, RetentionSettings, decays
from mudra.models.timesformer import TimeSformer, TimeSformerSettings

WIDTH, HEADS = 24, 3
KINDS = st.fixed_dictionaries(
    {
        "decay": st.sampled_from(["paper", "short", "learned"]),
        "normaliser": st.sampled_from(["per_head", "joint"]),
        "value_factor": st.sampled_from([0.5, 1.0, 2.0]),
        "key_width": st.sampled_from([None, 2, 6]),
    }
)


def layer(dtype=torch.float64, **options):
    torch.manual_seed(0)
    return Retention(RetentionSettings(closed=False, **options), WIDTH, HEADS).to(dtype)


def clip(groups, length, places=2, dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(groups, length, places, WIDTH, dtype=dtype)


def by_formula(retention, x):
    """The paper's parallel form, one pair of positions at a time; two-sided where it is not causal."""
    groups, length, places, _ = x.shape
    parts = retention.inputs(x).view(groups, length, places, HEADS, -1)
    q, k, v, gate = parts.split(retention.sizes, -1)
    gammas = decays("paper", HEADS)
    theta = 10_000.0 ** -torch.linspace(0, 1, retention.key // 2, dtype=torch.float64)
    answer = torch.zeros(groups, length, places, HEADS, retention.value, dtype=x.dtype)

    def as_complex(pairs, place):
        one, two = pairs[0::2], pairs[1::2]
        return torch.complex(one, two) * torch.exp(1j * theta * place)

    for g, p, h in torch.cartesian_prod(*(torch.arange(n) for n in (groups, places, HEADS))).tolist():
        gamma = float(gammas[h])
        for n in range(length):
            past = range(n + 1) if retention.causal else range(length)
            decay = [gamma ** abs(n - m) for m in past]
            query = as_complex(q[g, n, p, h], n)
            keys = [as_complex(k[g, m, p, h], m) / retention.key**0.5 for m in past]
            scores = [
                float((query * key.conj()).real.sum()) * d / math.sqrt(sum(decay))
                for key, d in zip(keys, decay, strict=True)
            ]
            scale = max(abs(sum(scores)), 1)
            o = sum(s / scale * v[g, m, p, h] for s, m in zip(scores, past, strict=True))
            o = o / torch.sqrt(o.square().mean() + 1e-6)
            answer[g, n, p, h] = torch.nn.functional.silu(gate[g, n, p, h]) * o
    return retention.projection(answer.flatten(3))


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_it_is_the_papers_formula(causal):
    retention = layer(decay="paper", causal=causal)
    x = clip(2, 7)
    assert torch.allclose(retention.parallel(x), by_formula(retention, x), rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(KINDS, st.integers(1, 70), st.integers(1, 40), st.integers(1, 3), st.integers(1, 2))
def test_the_three_forms_agree(options, length, chunk, groups, places):
    retention, x = layer(**options), clip(groups, length, places)
    parallel = retention.parallel(x)
    assert torch.allclose(retention.chunkwise(x, chunk), parallel, rtol=0, atol=1e-11)
    state = retention.initial_state(x)
    steps = torch.stack([retention.step(x[:, at], state) for at in range(length)], 1)
    assert torch.allclose(steps, parallel, rtol=0, atol=1e-11)
    assert state.seen.tolist() == [length] * groups


@pytest.mark.parametrize("normaliser", ["per_head", "joint"])
def test_the_three_forms_agree_in_float32(normaliser):
    retention, x = layer(torch.float32, normaliser=normaliser), clip(3, 64, dtype=torch.float32)
    parallel = retention.parallel(x)
    state = retention.initial_state(x)
    steps = torch.stack([retention.step(x[:, at], state) for at in range(64)], 1)
    assert (retention.chunkwise(x, 10) - parallel).abs().max() < 1e-5
    assert (steps - parallel).abs().max() < 1e-5


def test_gradients_of_the_chunkwise_form_are_those_of_the_parallel():
    retention, x = layer(decay="learned"), clip(2, 33)
    found = []
    for form in (retention.parallel, lambda y: retention.chunkwise(y, 8)):
        retention.zero_grad()
        form(x).square().sum().backward()
        found.append({name: p.grad.clone() for name, p in retention.named_parameters()})
    assert found[0]["decay_logits"].abs().min() > 0
    for name, gradient in found[0].items():
        # what divides the scores is a constant to both, so the sums inside agree to rounding
        assert torch.allclose(gradient, found[1][name], rtol=1e-6, atol=1e-9), name


def test_the_past_alone_is_seen():
    retention, x = layer(), clip(1, 20)
    later = x.clone()
    later[:, 12:] += 1
    for form in (retention.parallel, retention.chunkwise):
        assert torch.equal(form(x)[:, :12], form(later)[:, :12])
    both = layer(causal=False)
    assert not torch.allclose(both(x)[:, :12], both(later)[:, :12])


def test_a_model_that_looks_ahead_has_no_steps():
    retention, x = layer(causal=False), clip(1, 3)
    for form in (retention.initial_state, retention.chunkwise):
        with pytest.raises(ModelError, match="looks ahead"):
            form(x)


def test_hours_of_frames_change_nothing():
    """Far along a stream, float32 steps still give what float64 gives: phases are kept in float64."""
    exact, rough = layer(), layer(torch.float32)
    x = clip(1, 40, dtype=torch.float32)
    states = [exact.initial_state(x.double()), rough.initial_state(x)]
    for state in states:
        state.seen += 10_000_000
    for at in range(40):
        one, two = exact.step(x[:, at].double(), states[0]), rough.step(x[:, at], states[1])
        assert (one - two).abs().max() < 1e-5


def test_one_sequence_of_several_begins_anew():
    retention, x = layer(), clip(2, 12)
    state = retention.initial_state(x)
    for at in range(5):
        retention.step(x[:, at], state)
    state.reset(torch.tensor([1]))
    rest = torch.stack([retention.step(x[:, at], state) for at in range(5, 12)], 1)
    assert torch.allclose(rest[0], retention.parallel(x)[0, 5:], atol=1e-12)
    assert torch.allclose(rest[1], retention.parallel(x[1:, 5:])[0], atol=1e-12)


def test_constants_stay_exact_whatever_the_weights_are():
    retention = layer().half().float()
    assert retention._rates.dtype == retention._fixed_decay.dtype == torch.float64
    assert torch.equal(retention._fixed_decay, decays("short", HEADS).log())


def test_sizes_are_the_papers():
    """Value width once and twice that of the keys: 2,949,120 parameters at v = 1 (without biases), width 768."""
    one = Retention(RetentionSettings(), 768, 12, bias=False)
    assert sum(p.numel() for p in one.parameters()) == 2_949_120


@pytest.mark.parametrize(
    ("options", "match"), [({"key_width": 3}, "even number"), ({}, "multiple of model.heads")]
)
def test_settings_that_do_not_fit_are_refused(options, match):
    with pytest.raises(ModelError, match=match):
        Retention(RetentionSettings(**options), WIDTH, 3 if options else 5)


# --- inside the network -------------------------------------------------------------------------


def network(dtype=torch.float64, **options):
    torch.manual_seed(0)
    tree = {
        "width": 24, "depth": 3, "heads": 3, "patch": 8, "stem": "conv", "frame_differences": True,
        "temporal": "retention", "time_positions": False, "init": "scaled",
        "retention": RetentionSettings(closed=False), **options,
    }  # fmt: skip
    return TimeSformer(TimeSformerSettings(**tree), {"video": (8, 3, 16, 16)}, {"label": 5}).to(dtype).eval()


def streamed(model, video):
    state = model.initial_state(len(video))
    return torch.stack([model.step(video[:, at], state)["label"] for at in range(video.shape[1])], 1), state


@pytest.mark.parametrize("readout", ["mean", "last", "decayed"])
@pytest.mark.parametrize("pool", ["class_token", "mean"])
@pytest.mark.parametrize("frame_differences", [False, True, "alone"])
@torch.no_grad()
def test_the_stream_gives_at_every_frame_what_the_clip_so_far_gives(readout, pool, frame_differences):
    model = network(readout=readout, pool=pool, frame_differences=frame_differences)
    video = torch.randn(2, 64, 3, 16, 16, dtype=torch.float64)
    answers, _ = streamed(model, video)
    for frames in (1, 2, 7, 64):
        whole = model({"video": video[:, :frames]})["label"]
        assert (answers[:, frames - 1] - whole).abs().max() < 1e-9
    rough = network(torch.float32, readout=readout, pool=pool, frame_differences=frame_differences)
    answers, _ = streamed(rough, video.float())
    assert (answers[:, -1] - rough({"video": video.float()})["label"]).abs().max() < 1e-3


@torch.no_grad()
def test_a_clip_longer_than_a_chunk_gives_what_the_stream_gives():
    model = network()
    video = torch.randn(2, 150, 3, 16, 16, dtype=torch.float64)
    assert (streamed(model, video)[0][:, -1] - model({"video": video})["label"]).abs().max() < 1e-9


@torch.no_grad()
def test_one_stream_of_a_batch_begins_anew():
    model = network(readout="decayed")
    video = torch.randn(3, 20, 3, 16, 16, dtype=torch.float64)
    state = model.initial_state(3)
    for at in range(20):
        if at == 9:
            state.reset(torch.tensor([0, 2]))
        answer = model.step(video[:, at], state)["label"]
    fresh = model({"video": video[[0, 2], 9:]})["label"]
    assert (answer[[0, 2]] - fresh).abs().max() < 1e-9
    assert (answer[1] - model({"video": video[1:2]})["label"][0]).abs().max() < 1e-9
    assert state.seen.tolist() == [11, 20, 11]


@torch.no_grad()
def test_a_copy_of_the_state_goes_its_own_way():
    model = network()
    video = torch.randn(1, 6, 3, 16, 16, dtype=torch.float64)
    _, state = streamed(model, video[:, :3])
    copy, size = state.clone(), state.bytes
    one = [model.step(video[:, at], state)["label"] for at in (3, 4, 5)]
    two = [model.step(video[:, at], copy)["label"] for at in (3, 4, 5)]
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert state.bytes == copy.bytes == size


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temporal": "attention"}, "model.temporal"),
        ({"retention": RetentionSettings(causal=False)}, "model.retention.causal"),
        ({"class_token": "per_clip"}, "model.class_token"),
        ({"time_positions": True}, "model.time_positions"),
    ],
)
def test_a_model_that_cannot_stream_says_which_setting(options, match):
    with pytest.raises(ModelError, match=match):
        network(**options).initial_state()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"attention": "joint"}, "model.temporal"),
        ({"temporal_dense": True}, "model.temporal"),
        ({"readout": "last", "class_token": "per_clip"}, "model.readout"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(options, match):
    with pytest.raises(ModelError, match=match):
        network(**options)


@pytest.mark.parametrize("class_token", ["per_frame", "per_clip"])
@torch.no_grad()
def test_a_closed_hybrid_begins_with_the_answer_of_its_spatial_layers(class_token):
    """Pretrained spatial weights see at step 0 exactly what they know: the branch adds nothing yet."""
    options = {
        "class_token": class_token,
        "time_positions": True,
        "stem": "linear",
        "frame_differences": False,
    }
    attention = network(temporal="attention", **options)
    hybrid = network(retention=RetentionSettings(closed=True), **options)
    own = hybrid.state_dict()
    shared = {
        name: x for name, x in attention.state_dict().items() if name in own and ".temporal." not in name
    }
    hybrid.load_state_dict({**own, **shared})
    for block in attention.blocks:
        block.temporal = None
    video = torch.randn(2, 8, 3, 16, 16, dtype=torch.float64)
    assert torch.equal(hybrid({"video": video})["label"], attention({"video": video})["label"])
    hybrid.train()
    hybrid({"video": video})["label"].sum()


def test_a_hybrid_learns_though_it_begins_closed():
    hybrid = network(retention=RetentionSettings(closed=True))
    hybrid({"video": torch.randn(2, 8, 3, 16, 16, dtype=torch.float64)})["label"].square().sum().backward()
    for block in hybrid.blocks:
        assert block.temporal.retention.projection.weight.grad.abs().max() > 0
