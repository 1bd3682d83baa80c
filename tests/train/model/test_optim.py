import pytest

torch = pytest.importorskip("torch", reason="training is an extra: pip install 'alfworld-sft[train]'")

from torch import nn

from alfworld_sft.train.model.muon import Muon, orthogonalize
from alfworld_sft.train.model.optim import Optimizer, lr_factor


class Net(torch.nn.Module):
    """One matrix inside a layer, one outside, one vector, and one frozen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Module()
        self.model.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4)])
        self.model.embed = torch.nn.Linear(4, 4, bias=False)
        self.model.frozen = torch.nn.Linear(4, 4).requires_grad_(False)

    def forward(self, x):
        return self.model.frozen(self.model.layers[0](self.model.embed(x))).square().mean()


def optimizer(net, name="adamw", **more):
    return Optimizer(net, name=name, lr=1e-2, betas=(0.9, 0.95), **{"weight_decay": 0.0, **more})


def test_warm_up_rises_to_the_peak_and_cosine_falls_to_almost_nothing():
    curve = [lr_factor(step, 20, 0.2, "cosine") for step in range(20)]
    assert curve[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert curve[4:] == sorted(curve[4:], reverse=True)
    assert curve[12] == pytest.approx(0.5)
    assert 0 < curve[-1] < 0.01


def test_linear_constant_and_a_floor():
    assert [lr_factor(s, 4, 0, "linear") for s in range(4)] == [1.0, 0.75, 0.5, 0.25]
    assert [lr_factor(s, 4, 0, "constant") for s in range(4)] == [1.0] * 4
    assert lr_factor(3, 4, 0, "linear", 0.5) == 0.625
    assert lr_factor(0, 1, 0.1, "cosine") == 1.0, "a run of one step trains"


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_step_moves_every_trained_weight_and_no_other(name):
    net = Net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    steps = optimizer(net, name)
    net(torch.ones(3, 4)).backward()
    assert steps.step(0.5) == 5e-3
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == {"model.layers.0.weight", "model.layers.0.bias", "model.embed.weight"}
    assert all(p.grad is None for p in net.parameters())


def test_muon_takes_the_matrices_inside_layers_only():
    kinds = {
        type(o).__name__: [p.shape for g in o.param_groups for p in g["params"]]
        for o in optimizer(Net(), "muon")._optimizers
    }
    assert kinds == {"AdamW": [(4, 4), (4,)], "Muon": [(4, 4)]}


def test_vectors_do_not_decay():
    groups = optimizer(Net(), weight_decay=0.1)._optimizers[0].param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [(0.1, {2}), (0.0, {1})]


def test_clipping_returns_the_norm_that_was():
    net = Net()
    steps = optimizer(net)
    (100 * net(torch.ones(3, 4))).backward()
    norm = steps.clip(0)
    assert steps.clip(1.0) == pytest.approx(norm) == pytest.approx(steps.clip(0) * norm, rel=1e-4)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_state_goes_to_another_optimizer_and_training_goes_on_the_same(name):
    def train(net, steps, times):
        for _ in range(times):
            net(torch.ones(3, 4)).backward()
            steps.step(1.0)

    one = Net()
    first = optimizer(one, name)
    train(one, first, 3)
    other = Net()
    other.load_state_dict(one.state_dict())
    second = optimizer(other, name)
    second.load(first.state())
    train(one, first, 2)
    train(other, second, 2)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in one.state_dict().items())


def test_a_state_of_other_weights_is_refused():
    with pytest.raises(ValueError, match="of other weights"):
        optimizer(Net()).load({"model.other": {}})


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this PyTorch has no Muon of its own")
def test_muon_moves_weights_as_torch_s_own_does():
    shapes = [(8, 8), (8, 24), (24, 8), (8, 8)]
    ours, theirs = ([nn.Parameter(torch.full(shape, 0.5)) for shape in shapes] for _ in range(2))
    mine = Muon(ours, lr=0.01, weight_decay=0.1, momentum=0.95)
    peer = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    torch.manual_seed(0)
    for _ in range(4):
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn(one.shape)
            other.grad = one.grad.clone()
        mine.step()
        peer.step()
    moved = torch.cat([(p - 0.5).flatten() for p in theirs])
    apart = torch.cat([(p - q).flatten() for p, q in zip(ours, theirs, strict=True)])
    assert apart.norm() < 0.02 * moved.norm()  # both iterate in bfloat16


def test_orthogonal_matrices_have_singular_values_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalize(torch.randn(3, 16, 64)))
    assert values.min() > 0.5
    assert values.max() < 1.5
