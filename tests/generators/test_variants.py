"""S2GR's ablations and controls: what each leaves out, and that nothing else changes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from long_world import VECTORS, make_long_batch
from sidestep.generators.prediction import ThoughtfulPrediction
from sidestep.generators.thinking import Thinking, ThinkingConfig
from sidestep.losses import contrastive, generating
from sidestep.methods.method import Materials
from sidestep.methods.table import METHODS, new_recipe
from sidestep.objectives import generating as objective_generating
from sidestep.sids.clusters import shuffled
from sidestep.vectors.item_vectors import ItemVectors
from small_world import THINKING, make, make_batch, make_sids, timed

GENERATORS = [name for name, method in METHODS.items() if method.ranks_by_paths]


def taught(model: torch.nn.Module, **thinking: object) -> dict[str, torch.Tensor]:
    clusters = [torch.from_numpy(cluster) for cluster in make_sids().clusters]
    return objective_generating.s2gr(model, make_batch(), ThinkingConfig.model_validate(thinking), clusters)


@pytest.mark.parametrize("name", GENERATORS)
def test_every_row_builds_a_generator_that_its_objective_teaches(name: str) -> None:
    shape = {"width": 16, "num_heads": 2, "head_width": 8, "inner": 32, "encoder_layers": 1, "decoder_layers": 1}
    recipe = new_recipe({"method": name, "generator": shape})
    materials = Materials(np.ones(40, dtype=np.int64), make_sids(), ItemVectors(VECTORS.numpy()))
    model = METHODS[name].build(materials, recipe)
    batch = timed(make_long_batch()) if model.reads.times else make_long_batch()
    found = METHODS[name].objective(materials, recipe)(model, batch)
    found["total"].backward()
    assert found["total"].isfinite()
    unheard = {each for each, parameter in model.named_parameters() if parameter.grad is None}
    assert all(each.startswith("interest_decoder") for each in unheard)


def test_without_an_interest_the_total_lacks_its_two_losses_and_nothing_else() -> None:
    whole, part = make("s2gr"), Thinking(make_sids(), make("s2gr").config, ThinkingConfig(interest=False)).eval()
    part.load_state_dict({name: x for name, x in whole.state_dict().items() if "interest" not in name})
    with_interest, without = taught(whole), taught(part)
    holistic = 0.1 * (1 - with_interest["interest_cosine"])
    torch.testing.assert_close(without["total"], with_interest["total"] - with_interest["info_nce"] - holistic)
    assert "info_nce" not in without


def test_the_weight_of_alignment_weighs_alignment_alone() -> None:
    model = make("s2gr")
    align = sum(taught(model)[f"align_{level}"].item() for level in (1, 2, 3))
    difference = taught(model)["total"] - taught(model, align_weight=0.0)["total"]
    assert difference.item() == pytest.approx(align, rel=1e-5)


def test_the_last_of_several_thoughts_is_the_one_that_is_taught() -> None:
    for kind in ("two thoughts", "two in front"):
        model = make(kind)
        prediction = model(make_batch())
        assert isinstance(prediction, ThoughtfulPrediction)
        assert prediction.thoughts.shape[1] == 3
        assert model.thought_position.shape[0] == 6
        shifted = make(kind)
        with torch.no_grad():
            shifted.thought_position[5] += 1.0  # the last thought of the last level
        moved = shifted(make_batch()).thoughts - prediction.thoughts
        assert moved[:, 2].abs().min() > 0.5
        assert moved[:, :2].abs().max() < 1e-5


@pytest.mark.parametrize("carry", [False, True])
def test_a_thought_is_read_alone_or_with_the_token_that_it_follows(
    carry: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = make("carried" if carry else "s2gr"), make_batch()
    assert isinstance(model, Thinking)
    read, decode = [], model.decoder.forward

    def listen(x: torch.Tensor, *rest: object) -> object:
        read.append(x)
        return decode(x, *rest)

    monkeypatch.setattr(model.decoder, "forward", listen)
    prediction = model(batch)
    asked, tokens = batch.targets >= 0, model.tokens[batch.targets.clamp(min=0)].long()
    begin, _, *_ = (each[:, :, 0][asked] for each in read)  # read: e0; t1 s1; t2 s2; t3
    followed = [begin, *(model.read(tokens[:, :, level])[asked] for level in (0, 1))]
    for level, last in enumerate(followed):
        heard = read[level + 1][:, :, 0][asked]
        torch.testing.assert_close(heard, prediction.thoughts[:, level] + last * carry)


def test_thoughts_in_front_are_thought_before_any_code_is_heard() -> None:
    model, batch = make("front"), make_batch()
    other = replace(batch, targets=torch.where(batch.targets >= 0, (batch.targets + 1) % 40, -1))
    torch.testing.assert_close(model(batch).thoughts, model(other).thoughts)
    assert not torch.allclose(make("s2gr")(batch).thoughts, make("s2gr")(other).thoughts)


def test_centroids_of_tokens_follow_them_and_frozen_ones_do_not() -> None:
    for kind, follows in (("s2gr", True), ("codebook", False), ("projected", False)):
        model = make(kind)
        assert isinstance(model, Thinking)
        before = model.centroids(0).clone()
        with torch.no_grad():
            model.code_embedding.weight.add_(torch.randn_like(model.code_embedding.weight))
        assert torch.equal(model.centroids(0), before) != follows


def test_frozen_centroids_are_the_means_of_the_codewords_of_a_cluster() -> None:
    sids, model = make_sids(), make("projected")
    assert isinstance(model, Thinking)
    words = torch.from_numpy(sids.codebooks[1])
    by_hand = torch.stack([words[torch.from_numpy(sids.clusters[1] == c)].mean(0) for c in (0, 1)])
    torch.testing.assert_close(model.centroid_1, by_hand)
    torch.testing.assert_close(model.centroids(1), by_hand @ model.projections[1].weight.T)
    start = make("codebook")
    assert isinstance(start, Thinking)
    expected = generating.centroids(start.embeddings(1), torch.from_numpy(sids.clusters[1]))
    torch.testing.assert_close(start.centroids(1), expected)  # nothing is trained yet


def test_frozen_centroids_keep_the_angles_of_the_codebook_wherever_embeddings_start() -> None:
    sids = make_sids()
    for begin in ("codebook", "random"):
        model = make("codebook", start=begin)
        assert isinstance(model, Thinking)
        for level, codebook in enumerate(sids.codebooks):
            words = torch.from_numpy(codebook - codebook.mean(0))
            means = generating.centroids(words, torch.from_numpy(sids.clusters[level]))
            torch.testing.assert_close(contrastive.cosines(model.centroids(level), model.centroids(level)),
                                       contrastive.cosines(means, means))  # fmt: skip


def test_shuffled_clusters_keep_their_sizes_and_hang_on_the_seed_alone() -> None:
    sids = make_sids(sizes=(50, 60, 70))
    control = shuffled(sids, 3)
    assert control.codes is sids.codes
    for own, dealt in zip(sids.clusters, control.clusters, strict=True):
        assert np.bincount(own).tolist() == np.bincount(dealt).tolist()
        assert (own != dealt).any()
    assert all((a == b).all() for a, b in zip(control.clusters, shuffled(sids, 3).clusters, strict=True))
    assert any((a != b).any() for a, b in zip(control.clusters, shuffled(sids, 4).clusters, strict=True))


def test_more_thoughts_are_another_function_and_all_ways_to_think_differ() -> None:
    said = {kind: make(kind)(make_batch()).logits[2].square().sum().item() for kind in THINKING if kind != "projected"}
    same = partial(pytest.approx, rel=1e-6)
    assert said["codebook"] == same(said["s2gr"])  # it differs in what is taught alone
    assert len({round(value, 4) for value in said.values()}) == len(said) - 1
