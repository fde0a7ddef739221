"""Photos beside renders: how often they are drawn, how much they count, and a training with them."""

import hand_framing
import image_encoder
import pytest
import torch
from datasets import load_dataset
from handdiff_training.photos import Photos, capped_odds, joined

from hf_handdiff.data.augmentation import FRAMING, augment_batch
from hf_handdiff.models import HandImageEncoder
from hf_handdiff.models.hand_framing import HandFrame

SHORT = "--max_train_steps 2 --train_batch_size 8 --dataloader_num_workers 0 --report_to none --cpu".split()


@pytest.fixture(scope="module")
def photos(tiny_parts, tmp_path_factory):
    """Renders as if they were labelled photos of two sources; the labels of every second one are worth nothing."""
    folder = tmp_path_factory.mktemp("photos")
    for split in ("train", "validation"):
        rows = load_dataset("parquet", data_files=str(tiny_parts.corpus / f"{split}-*.parquet"), split="train")
        rows = rows.add_column("source", ["rare" if i == 0 else "common" for i in range(len(rows))])
        rows = rows.add_column("keypoint_weight", [[float(i % 2 == 0)] * 21 for i in range(len(rows))])
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_common_source_counts_as_its_cap():
    odds = capped_odds(["a"] * 10 + ["b"] * 4, cap=5)
    assert odds[:10].sum() == pytest.approx(5) and odds[10:].sum() == 4


def test_photos_have_what_renders_have(photos):
    generator = torch.Generator().manual_seed(0)
    corpus = Photos(photos, source_cap=1)
    batch = corpus.draw(64, generator, FRAMING)
    rows = corpus._train.rows(range(8))
    renders = augment_batch({key: rows[key] for key in rows if key != "keypoint_weight"}, generator, FRAMING)
    both = joined(renders, batch)
    assert len(both["pixel_values"]) == 72
    assert both["is_metric"].tolist() == [True] * 8 + [False] * 64
    assert (both["keypoint_weight"][:8] == 1).all()
    rare = (batch["keypoint_weight"] == 1).all(1).float().mean()
    assert 0.5 < rare < 0.9  # half of the draws are of the rare source, whose row counts; 3 of 7 of the others too


def test_labels_without_agreement_do_not_count(photos):
    batch = Photos(photos, source_cap=9).draw(8, torch.Generator().manual_seed(0), FRAMING)
    batch["has_hand"][:] = True
    raw = torch.randn(8, 47, generator=torch.Generator().manual_seed(1))
    sure = batch["keypoint_weight"][:, 0] > 0
    assert 0 < sure.sum() < 8
    loss, _ = hand_framing.framing_loss(raw, batch)
    without, _ = hand_framing.framing_loss(raw[sure], {key: value[sure] for key, value in batch.items()})
    torch.testing.assert_close(loss, without)


def test_frames_from_which_a_hand_is_hardly_found_are_lost():
    truth = HandFrame(torch.full((4, 2), 0.5), torch.full((4,), 0.5), torch.zeros(4))
    found = HandFrame(truth.centre.clone(), truth.side.clone(), torch.tensor([0.1, 3.1, 0.0, -0.1]))
    found.centre[2, 0] += 0.3
    figures = hand_framing.frame_figures(found, truth)
    assert figures["lost_%"] == 50
    assert figures["shift_share_mean"] == pytest.approx(0.15)
    sheet = hand_framing.frame_sheet(torch.zeros(2, 3, 64, 64), found, truth)  # of the first batch alone
    assert sheet.size == (512, 64) and len(sheet.getcolors()) > 2


@pytest.mark.parametrize("script, encoder", [(hand_framing, "--image_encoder"), (image_encoder, "--initial")])
def test_a_training_with_photos_tells_their_figures(script, encoder, tiny_parts, photos, tmp_path, capsys):
    given = ["--corpus", tiny_parts.corpus, "--photos", photos, encoder, tiny_parts.encoder, "--output_dir", tmp_path]
    script.main([*SHORT, "--photo_share", "0.5", "--validation_steps", "2", *map(str, given)])
    said = "".join(capsys.readouterr())
    assert "photos_lost_%" in said if script is hand_framing else "photos_median_%" in said
    saved = HandImageEncoder.from_pretrained(tmp_path / "model").state_dict()
    before = HandImageEncoder.from_pretrained(tiny_parts.encoder).state_dict()
    changed = {name.split(".")[0] for name in saved if not torch.equal(saved[name], before[name])}
    assert "framing" in changed if script is hand_framing else changed and "framing" not in changed
