import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ecg_transformers.corpora.splits import split_off_patients
from ecg_transformers.errors import CorpusError, LeadError
from ecg_transformers.trainer import EpochSampler, WindowDataset
from ecg_transformers.trainer.data import identity_collator

from .conftest import LEADS, build, record, signal


def expected(extractor, corpus, indices, **call):
    return extractor([corpus[int(index)] for index in indices], return_tensors="pt", **call)["input_values"]


@pytest.mark.parametrize("normalization", ["record_lead", "record", "constants", "minmax_lead", "none"])
def test_a_batch_is_what_the_extractor_makes_of_the_records(corpus, extractor, normalization):
    extractor.normalization = normalization
    extractor.normalization_std = [0.5 + 0.1 * lead for lead in range(12)] if normalization == "constants" else None
    data = WindowDataset(corpus, extractor)
    batch = data.__getitems__([5, 0, 95, 5])
    torch.testing.assert_close(batch["input_values"], expected(extractor, corpus, [5, 0, 95, 5]), rtol=0, atol=2e-6)
    assert batch["record_ids"].tolist() == [5, 0, 95, 5]
    assert batch["patient_ids"].tolist() == [2, 0, 47, 2]
    assert "attention_mask" not in batch
    assert batch["input_values"].dtype == torch.float32


def test_blocks_give_the_same_bits_as_single_records(corpus, extractor, monkeypatch):
    monkeypatch.setattr("ecg_transformers.trainer.data._CACHE_SAMPLES", 3 * 12 * 100)
    data = WindowDataset(corpus, extractor)
    together = data.__getitems__(list(range(10)))["input_values"]
    assert torch.equal(together, torch.stack([data[index]["input_values"] for index in range(10)]))


def test_leads_are_put_into_the_extractors_order(corpus, extractor):
    extractor.lead_names = ["V2", "II", "aVF"]
    data = WindowDataset(corpus, extractor)
    torch.testing.assert_close(
        data.__getitems__([3])["input_values"], expected(extractor, corpus, [3]), rtol=0, atol=2e-6
    )


def test_a_corpus_of_another_rate_is_resampled_as_by_the_extractor(tmp_path, extractor):
    rows = [record(number, signal=signal(number, 250), sampling_rate=125.0) for number in range(4)]
    corpus = build(tmp_path / "c" / "fast", rows)
    data = WindowDataset(corpus, extractor)
    values = data.__getitems__([2, 0])["input_values"]
    torch.testing.assert_close(values, expected(extractor, corpus, [2, 0]), rtol=0, atol=2e-6)


def test_a_filtered_contract_filters(corpus, extractor):
    extractor.bandpass = [0.5, 20.0]
    values = WindowDataset(corpus.select(range(3)), extractor).__getitems__([1])["input_values"]
    torch.testing.assert_close(values, expected(extractor, corpus, [1]), rtol=0, atol=2e-6)


def test_short_records_are_padded_with_a_mask(tmp_path, extractor):
    rows = [record(0), record(1, signal=signal(1, 60))]
    corpus = build(tmp_path / "c" / "short", rows)
    batch = WindowDataset(corpus, extractor).__getitems__([0, 1])
    made = extractor([corpus[0], corpus[1]], return_tensors="pt")
    torch.testing.assert_close(batch["input_values"], made["input_values"], rtol=0, atol=2e-6)
    assert torch.equal(batch["attention_mask"], made["attention_mask"])
    extractor.allow_short = False
    with pytest.raises(CorpusError, match="1 of 2 records are shorter than the window of 100"):
        WindowDataset(corpus, extractor)


def test_long_records_give_another_window_each_epoch_and_the_same_one_again(tmp_path, extractor):
    rows = [record(number, signal=signal(number, 400 + number)) for number in range(3)]
    corpus = build(tmp_path / "c" / "long", rows)
    extractor.normalization = "none"
    data = WindowDataset(corpus, extractor, seed=4)
    epochs = [data.__getitems__([1 + 3 * epoch])["input_values"][0] for epoch in range(6)]
    assert not any(torch.equal(epochs[0], other) for other in epochs[1:])
    assert torch.equal(WindowDataset(corpus, extractor, seed=4)[1 + 3 * 5]["input_values"], epochs[5])
    whole = torch.from_numpy(corpus[1].signal)
    assert all((whole.unfold(1, 100, 1) == window[:, None, :]).all(dim=(0, 2)).sum() == 1 for window in epochs)
    # The window does not depend on which other records were chosen.
    assert torch.equal(WindowDataset(corpus.select([1]), extractor, seed=4)[0]["input_values"], epochs[0])


def test_absent_leads_are_an_error_or_masked(tmp_path, extractor):
    rows = [
        record(number, signal=signal(number, leads=8), leads=LEADS[:2] + LEADS[6:], gain=np.full(8, 1000.0))
        for number in (0, 1)
    ]
    corpus = build(tmp_path / "c" / "eight", rows)
    with pytest.raises(LeadError, match="III"):
        WindowDataset(corpus, extractor)
    extractor.missing_leads = "mask"
    batch = WindowDataset(corpus, extractor).__getitems__([1])
    assert batch["lead_mask"].tolist() == [[1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]]
    assert (batch["input_values"][0, 2:6] == 0).all()
    extractor.missing_leads, extractor.derive_leads = "error", True
    derived = WindowDataset(corpus, extractor).__getitems__([1])
    assert "lead_mask" not in derived
    torch.testing.assert_close(derived["input_values"], expected(extractor, corpus, [1]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("bandpass", [None, [0.5, None]], ids=["as stored", "prepared in memory"])
def test_unused_leads_are_zero_and_masked(corpus, extractor, bandpass):
    extractor.used_leads, extractor.bandpass = ["I", "V1"], bandpass
    batch = WindowDataset(corpus, extractor).__getitems__([3, 5])
    assert batch["lead_mask"].tolist() == [[1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]] * 2
    assert not batch["input_values"][:, batch["lead_mask"][0] == 0].any()
    torch.testing.assert_close(batch["input_values"], expected(extractor, corpus, [3, 5]), rtol=0, atol=2e-6)


def test_records_with_missing_samples_are_left_out(tmp_path, extractor):
    damaged = signal(1)
    damaged[3, 50] = -32768
    corpus = build(tmp_path / "c" / "gaps", [record(0), record(1, signal=damaged), record(2)])
    data = WindowDataset(corpus, extractor)
    assert data.record_ids.tolist() == [0, 2]
    assert len(data.corpus) == 2


def test_records_of_unknown_patients_are_marked(tmp_path, extractor):
    corpus = build(
        tmp_path / "c" / "some", [record(0, patient_id=7), record(1, patient_id=-1), record(2, patient_id=-1)]
    )
    assert WindowDataset(corpus, extractor).patient_ids.tolist() == [7, -1, -1]
    nobody = build(tmp_path / "c" / "none", [record(number, patient_id=-1) for number in range(2)])
    assert "patient_ids" not in WindowDataset(nobody, extractor).__getitems__([0])


def test_the_loader_hands_out_whole_batches_in_an_order_of_seed_and_epoch(corpus, extractor):
    data = WindowDataset(corpus, extractor)
    sampler = EpochSampler(len(data), seed=3)
    orders = []
    for epoch in (0, 1, 0):
        sampler.epoch = epoch
        loader = DataLoader(data, batch_size=32, sampler=sampler, collate_fn=identity_collator)
        orders.append(torch.cat([batch["record_ids"] for batch in loader]).tolist())
    assert orders[0] == orders[2] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(96))


def test_workers_change_nothing(corpus, extractor):
    data = WindowDataset(corpus, extractor)
    loader = DataLoader(
        data, batch_size=48, collate_fn=identity_collator, num_workers=1, multiprocessing_context="fork"
    )
    made = torch.cat([batch["input_values"] for batch in loader])
    assert torch.equal(made, data.__getitems__(list(range(96)))["input_values"])


def test_validation_patients_are_held_out_whole(corpus):
    train, validation = split_off_patients(corpus, 0.05)
    assert len(train) + len(validation) == 96
    assert not set(train.patient_ids) & set(validation.patient_ids)
    assert len(set(validation.patient_ids)) == 2


@pytest.mark.parametrize("normalization", ["record_lead", "none"])
def test_segments_are_adjacent_windows_each_normalized_by_itself(corpus, normalization):
    from ecg_transformers.models.mae_moco.feature_extraction_mae_moco import MaeMocoFeatureExtractor

    extractor = MaeMocoFeatureExtractor(sampling_rate=50, window_size=50, patch_size=10, normalization=normalization)
    batch = WindowDataset(corpus, extractor, segments=2).__getitems__([5, 3, 90])
    assert batch["input_values"].shape == (3, 2, 12, 50)
    assert len(batch["record_ids"]) == 3
    for row, number in enumerate((5, 3, 90)):
        whole = torch.from_numpy(corpus[number].signal)
        for segment in range(2):
            expected = extractor.normalize_batch(whole[None, :, 50 * segment : 50 * segment + 50])[0]
            torch.testing.assert_close(batch["input_values"][row, segment], expected, rtol=1e-5, atol=1e-5)


def test_records_shorter_than_their_segments_are_left_out_and_counted(tmp_path, extractor, caplog):
    rows = [record(number, signal=signal(number, samples)) for number, samples in enumerate((200, 150, 230, 199, 200))]
    corpus = build(tmp_path / "short", rows)
    with caplog.at_level("WARNING", logger="transformers"):
        data = WindowDataset(corpus, extractor, segments=2)
    assert "2 of 5 records" in caplog.text
    assert data.corpus.names == [rows[number].name for number in (0, 2, 4)]
    batch = data.__getitems__([0, 1, 2])
    assert batch["input_values"].shape == (3, 2, 12, 100)
    assert "attention_mask" not in batch
    alone = WindowDataset(corpus.select([4]), extractor, segments=2)[0]["input_values"]
    assert torch.equal(batch["input_values"][2], alone)
    equal = WindowDataset(corpus.select([0, 1, 4]), extractor, segments=2)
    assert torch.equal(equal[1]["input_values"], alone)
    with pytest.raises(CorpusError, match=r"2 adjacent windows of 100 samples .*199"):
        WindowDataset(corpus.select([1, 3]), extractor, segments=2)


def test_a_longer_piece_is_cut_for_the_models_own_views(tmp_path, extractor):
    rows = [record(number, signal=signal(number, 400)) for number in range(3)]
    corpus = build(tmp_path / "c" / "long", rows)
    extractor.normalization = "none"
    data = WindowDataset(corpus, extractor, source_window_size=300)
    batch = data.__getitems__([2, 0])
    assert batch["input_values"].shape == (2, 12, 300)
    whole = torch.from_numpy(corpus[2].signal)
    assert (whole.unfold(1, 300, 1) == batch["input_values"][0][:, None]).all(dim=(0, 2)).sum() == 1
    everything = WindowDataset(corpus, extractor, source_window_size=400)[1]["input_values"]
    torch.testing.assert_close(everything, torch.from_numpy(corpus[1].signal), rtol=0, atol=1e-6)


def test_records_shorter_than_the_piece_are_listed_and_window_statistics_refused(tmp_path, extractor):
    rows = [record(number, signal=signal(number, 400 - 100 * (number % 2))) for number in range(4)]
    corpus = build(tmp_path / "c" / "long", rows)
    # Windows of 100 samples z-scored by themselves are no pieces of 200 z-scored as a whole.
    with pytest.raises(CorpusError, match=r"'record_lead' by the window of 100 samples.*source_window_size is 200"):
        WindowDataset(corpus, extractor, source_window_size=200)
    extractor.normalization, extractor.normalization_std = "constants", [0.5] * 12
    with pytest.raises(CorpusError, match="normalization_mean"):
        WindowDataset(corpus, extractor, source_window_size=200)
    extractor.normalization_mean = [0.1] * 12
    WindowDataset(corpus, extractor, source_window_size=200)
    with pytest.raises(CorpusError, match=r"2 of 4 records are shorter than the 400 .*\(shortest: 300\).*ids: 1, 3\."):
        WindowDataset(corpus, extractor, source_window_size=400)


def test_partners_are_other_records_of_the_same_patient(tmp_path, extractor):
    patients = [0, 1, 2, 2, 1, -1, -1, 2, 2]
    rows = [record(number, patient_id=patient) for number, patient in enumerate(patients)]
    corpus = build(tmp_path / "c" / "partners", rows)
    extractor.normalization = "none"
    data = WindowDataset(corpus, extractor, partners=True, seed=3)
    plain = WindowDataset(corpus, extractor, seed=3)
    everything = plain.__getitems__(list(range(9)))["input_values"]
    met = {number: set() for number in range(9)}
    for epoch in range(40):
        batch = data.__getitems__([9 * epoch + number for number in range(9)])
        assert batch["input_values"].shape == (9, 2, 12, 100)
        assert torch.equal(batch["input_values"][:, 0], everything)
        same = (batch["input_values"][:, 1, None] == everything[None]).flatten(2).all(dim=2)
        for number, partner in same.nonzero().tolist():
            met[number].add(partner)
    assert met == {
        0: {0}, 1: {4}, 2: {3, 7, 8}, 3: {2, 7, 8}, 4: {1}, 5: {5}, 6: {6}, 7: {2, 3, 8}, 8: {2, 3, 7}
    }  # fmt: skip
    again = WindowDataset(corpus, extractor, partners=True, seed=3).__getitems__([9 * 7 + 2])["input_values"]
    assert torch.equal(again, data.__getitems__([9 * 7 + 2])["input_values"])


def test_of_a_pair_only_leads_that_both_have_count(tmp_path, extractor):
    eight = {"leads": LEADS[:2] + LEADS[6:], "gain": np.full(8, 1000.0)}
    rows = [record(0), record(1, signal=signal(1, leads=8), **eight)]
    extractor.missing_leads = "mask"
    corpus = build(tmp_path / "c" / "mixed", rows)
    batch = WindowDataset(corpus, extractor, partners=True).__getitems__([0, 1])
    assert batch["lead_mask"].tolist() == [[1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]] * 2
    extractor.allow_short = True
    corpus = build(tmp_path / "s" / "short", [record(0), record(1, signal=signal(1, 60))])
    with pytest.raises(CorpusError, match="ids: 1"):
        WindowDataset(corpus, extractor, partners=True)
