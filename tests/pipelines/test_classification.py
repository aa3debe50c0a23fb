"""The classification pipeline: inputs, windows, labels, checks."""

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoModelForSequenceClassification, pipeline

from ecg_transformers.errors import CheckpointError, EcgError, LeadError, SignalError
from ecg_transformers.signals.leads import STANDARD_LEADS
from ecg_transformers.signals.record import EcgRecord
from ecg_transformers.signals.wfdb.read import write_wfdb

CODES = ["NORM", "AFIB", "PVC"]


def by_code(labels):
    return {label["label"]: label["score"] for label in labels}


def test_scores_are_those_of_model_and_extractor(classify, classifier_folder, make_record):
    record = make_record(10, 500)
    extractor = AutoFeatureExtractor.from_pretrained(classifier_folder)
    model = AutoModelForSequenceClassification.from_pretrained(classifier_folder)
    with torch.no_grad():
        expected = model(**extractor(record, return_tensors="pt")).logits.sigmoid()[0]
    labels = classify(record)
    assert [label["score"] for label in labels] == sorted((label["score"] for label in labels), reverse=True)
    np.testing.assert_allclose([by_code(labels)[code] for code in CODES], expected, rtol=1e-5)
    names = {label["label"]: label["name"] for label in labels}
    assert names == {"NORM": "normal", "AFIB": "atrial fibrillation", "PVC": "ventricular beats"}


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_batch_size_changes_no_result_and_drops_no_window(classify, unequal_records, batch_size):
    alone = [classify(record, windows=True, as_array=True) for record in unequal_records]
    assert [len(scores) for scores in alone] == [1, 1, 3, 4]
    together = classify(unequal_records, batch_size=batch_size, windows=True, as_array=True)
    assert [len(scores) for scores in together] == [1, 1, 3, 4]
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    # the windows differ, so that a mixed-up order would be seen
    assert np.ptp(together[3], axis=0).max() > 1e-4


def test_the_stock_pipeline_would_have_lost_windows(classify, unequal_records):
    features = classify.feature_extractor(unequal_records[3], return_tensors="pt")
    assert features["input_values"].shape[0] == 4  # what dimension 1 padding and item[0] would cut to one


def test_windows_are_joined_by_mean_or_maximum_of_probabilities(classify, unequal_records):
    windows = classify(unequal_records[2], windows=True, as_array=True)
    np.testing.assert_allclose(classify(unequal_records[2], as_array=True), windows.mean(axis=0), rtol=1e-6)
    largest = classify(unequal_records[2], aggregate="max")
    np.testing.assert_allclose([by_code(largest)[code] for code in CODES], windows.max(axis=0), rtol=1e-6)


def test_paths_records_arrays_mappings_lists_and_generators_agree(classify, make_record, tmp_path):
    record = make_record(12, 500, name="rec1")
    written = write_wfdb(record, tmp_path)
    expected = classify(record, as_array=True)
    array = {"sampling_rate": 500, "leads": list(record.leads)}
    np.testing.assert_allclose(classify(record.signal, as_array=True, **array), expected, rtol=1e-6)
    in_microvolts = classify(record.signal * 1000, as_array=True, units="uV", **array)
    np.testing.assert_allclose(in_microvolts, expected, rtol=1e-4)
    mapping = {"signal": record.signal, **array}
    np.testing.assert_allclose(classify(mapping, as_array=True), expected, rtol=1e-6)
    np.testing.assert_allclose(classify(torch.from_numpy(record.signal), as_array=True, **array), expected, rtol=1e-6)
    for path in (written, str(tmp_path / "rec1")):
        np.testing.assert_allclose(classify(path, as_array=True), expected, atol=1e-3)
    for several in ([record, mapping], (record, mapping)):
        assert len(classify(several)) == 2
    stack = classify(np.stack([record.signal] * 3), sampling_rate=500, as_array=True)
    np.testing.assert_allclose(stack, [expected] * 3, rtol=1e-6)
    lazily = classify((item for item in [record, mapping, record]), as_array=True, batch_size=2)
    assert not isinstance(lazily, list)
    np.testing.assert_allclose(list(lazily), [expected] * 3, rtol=1e-5)
    assert len(list(classify(map(lambda item: item, [record, record])))) == 2
    assert classify([]) == []


def test_a_csv_file_is_read_with_what_the_caller_says(classify, make_record, tmp_path):
    record = make_record(12, 250)
    rows = [",".join(record.leads), *(",".join(f"{value:.5f}" for value in sample) for sample in record.signal.T)]
    path = tmp_path / "patient7.csv"
    path.write_text("\n".join(rows) + "\n")
    labels = classify(path, sampling_rate=250, units="mV")
    assert {"label", "name", "score", "positive"} == set(labels[0])
    np.testing.assert_allclose([by_code(labels)[code] for code in CODES], classify(record, as_array=True), atol=1e-3)
    with pytest.raises(EcgError, match="sampling"):
        classify(path)


def test_a_bare_array_needs_its_rate(classify, make_record):
    with pytest.raises(SignalError, match="sampling_rate"):
        classify(make_record(10, 500).signal)


def test_arguments_that_do_not_fit_are_errors(classify, make_record):
    record = make_record(10, 500)
    with pytest.raises(SignalError, match="gain"):
        classify(record, gain=200.0)
    with pytest.raises(SignalError, match="samplingrate"):
        classify(record, samplingrate=500)
    with pytest.raises(SignalError, match="median"):
        classify(record, aggregate="median")
    with pytest.raises(SignalError, match="top_k"):
        classify(record, top_k=0)
    with pytest.raises(SignalError, match="top_k is 'all'; expected"):
        classify(record, top_k="all")
    with pytest.raises(SignalError, match="bytes"):
        classify(b"RIFF")
    with pytest.raises(LeadError, match=r"leads is the text 'I,II'; expected a list"):
        classify(record.signal, sampling_rate=500, leads="I,II")
    with pytest.raises(SignalError, match="flat list"):
        classify([[record, record], [record]])
    with pytest.raises(LeadError, match="twice"):
        classify(record.signal, sampling_rate=500, leads=["I"] * 12)


def test_top_k_and_thresholds(classify, make_record):
    record = make_record(10, 500)
    assert len(classify(record, top_k=2)) == 2
    scores = classify(record, as_array=True)
    classify.model.config.thresholds = [float(scores[0]) + 0.01, float(scores[1]) - 0.01, float(scores[2])]
    try:
        positive = {label["label"]: label["positive"] for label in classify(record)}
    finally:
        classify.model.config.thresholds = None
    assert positive == {"NORM": False, "AFIB": True, "PVC": True}


def test_a_label_without_threshold_is_neither_positive_nor_negative(save_checkpoint, make_record, tmp_path):
    classify = pipeline("ecg-classification", model=save_checkpoint(tmp_path), device="cpu")
    classify.model.config.thresholds = [None, 0.0, 1.0]
    record = make_record(10, 500)
    assert {label["label"]: label["positive"] for label in classify(record)} == {
        "NORM": None, "AFIB": True, "PVC": False,
    }  # fmt: skip
    assert classify.positive_codes(classify(record, as_array=True)) == ("AFIB",)
    assert classify.table_columns(classify(record, as_array=True)[None])["positive"] == ["AFIB"]
    assert {window["positive"] for window in classify.stream(record)} == {("AFIB",)}
    # It survives the file.
    classify.model.save_pretrained(tmp_path / "saved")
    assert type(classify.model).from_pretrained(tmp_path / "saved").config.thresholds == [None, 0.0, 1.0]


def test_single_label_scores_sum_to_one_and_the_best_class_is_positive(save_checkpoint, make_record, tmp_path):
    folder = save_checkpoint(tmp_path, config={"problem_type": "single_label_classification", "label_names": None})
    labels = pipeline("ecg-classification", model=folder, device="cpu")(make_record(10, 500))
    assert sum(label["score"] for label in labels) == pytest.approx(1.0)
    assert [label["positive"] for label in labels] == [True, False, False]
    assert labels[0]["name"] == labels[0]["label"]


def test_fewer_leads_than_the_checkpoint_has(classify, make_record):
    watch = make_record(10, 512, leads=("I",))
    assert len(classify(watch)) == 3


def test_the_intended_use_is_logged_once(classify, make_record, caplog):
    classify.model.config.intended_use = "Only for this test."
    for _ in range(3):
        classify(make_record(10, 500))
    assert sum("Only for this test." in record.getMessage() for record in caplog.records) == 1


def test_config_and_preprocessor_must_agree(save_checkpoint, tmp_path):
    folder = save_checkpoint(tmp_path, extractor={"sampling_rate": 200})
    with pytest.raises(CheckpointError, match=r"sampling_rate is 100 .*200"):
        pipeline("ecg-classification", model=folder, device="cpu")


def test_an_encoder_alone_cannot_classify(encoder_folder):
    with pytest.raises(CheckpointError, match="MaeMocoModel"):
        pipeline("ecg-classification", model=encoder_folder, device="cpu")


def test_outputs_without_codes_are_refused(save_checkpoint, tmp_path):
    unnamed = {"id2label": {0: "LABEL_0", 1: "AFIB"}, "label2id": {"LABEL_0": 0, "AFIB": 1}, "label_names": None}
    folder = save_checkpoint(tmp_path, config=unnamed)
    with pytest.raises(CheckpointError, match="LABEL_0"):
        pipeline("ecg-classification", model=folder, device="cpu")


def test_a_model_without_extractor_is_refused(classify):
    with pytest.raises(CheckpointError, match="feature extractor"):
        type(classify)(model=classify.model, feature_extractor=None)


def test_a_saved_pipeline_opens_again_without_remote_code(classify, make_record, tmp_path):
    classify.save_pretrained(tmp_path)
    again = pipeline("ecg-classification", model=str(tmp_path), device="cpu")
    record = make_record(10, 500)
    np.testing.assert_allclose(again(record, as_array=True), classify(record, as_array=True), atol=1e-5)
    assert AutoModel.from_pretrained(tmp_path).config.model_type == "mae_moco"


def test_a_record_that_cannot_be_used_stops_a_list_with_its_reason(classify, make_record):
    broken = make_record(10, 500)
    broken.signal[0, 5] = np.nan
    with pytest.raises(SignalError, match="missing samples"):
        classify([make_record(10, 500), broken], batch_size=2)


def test_no_signal_no_statement(classify, make_record, tmp_path):
    dead = EcgRecord(np.zeros((12, 3000)), 100, STANDARD_LEADS, name="dead")
    with pytest.raises(SignalError, match="record dead: no signal in any lead"):
        classify(dead)
    with pytest.raises(SignalError, match="no signal in any lead"):
        classify(np.full((12, 3000), 0.4), sampling_rate=100)
    assert [row["note"] for row in classify.stream(dead, progress=False)] == ["no signal in any lead"] * 3
    alive = make_record(30, 100, seed=5)
    table = classify.to_table([dead, alive], tmp_path / "labels.csv", progress=False)
    assert (table.rows, table.refused) == (1, 1)
    assert "no signal in any lead" in table.refused_path.read_text()
    partly = EcgRecord(alive.signal.copy(), 100, STANDARD_LEADS, name="partly")
    partly.signal[:, 1000:2000] = 0.0
    single = classify(partly, windows=True, as_array=True, batch_size=3)
    assert np.isnan(single).all(axis=1).tolist() == [False, True, False]
    assert classify(partly, windows=True)[1] == []
    np.testing.assert_allclose(classify(partly, as_array=True), single[[0, 2]].mean(axis=0), rtol=1e-6)
    classify.to_table([partly], tmp_path / "windows.csv", windows=True, progress=False)
    row = (tmp_path / "windows.csv").read_text().splitlines()[2].split(",")
    assert row[5:8] == ["", "nan", ""]


def test_rules_for_unusual_recordings_hold_in_calls_tables_and_streams(classify, make_record, tmp_path):
    record = make_record(20, 100, seed=6)
    limb = record.select(["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"])
    rules = {"derive_leads": True, "missing_leads": "error"}
    expected = classify(limb, as_array=True, **rules)
    assert not np.allclose(expected, classify(limb, as_array=True))
    streamed = [row["scores"] for row in classify.stream(limb, progress=False, **rules)]
    np.testing.assert_allclose(np.mean(streamed, axis=0), expected, rtol=1e-5)
    classify.to_table([limb], tmp_path / "labels.csv", progress=False, **rules)
    scores = (tmp_path / "labels.csv").read_text().splitlines()[1].split(",")[-3:]
    np.testing.assert_allclose(np.array(scores, float), expected, rtol=1e-5)
    raw = classify(1000 * record.signal, sampling_rate=100, gain=1000, as_array=True)
    np.testing.assert_allclose(raw, classify(record, as_array=True), rtol=1e-4)
