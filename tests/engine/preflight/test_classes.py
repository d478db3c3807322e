"""Classes are compared by name: data sets, their info files, models and heads."""

from types import SimpleNamespace as Thing

import pytest

from bevkd.engine.preflight.classes import (
    compare_classes,
    model_classes,
    require_categories,
    require_configured_classes,
    require_dataset_classes,
    require_known_classes,
)
from bevkd.errors import ConfigError, DataError

ABC = ["car", "bus", "bike"]


class Data:
    METAINFO = {"classes": tuple(ABC)}
    ann_file = "infos.pkl"

    def __init__(self, classes=ABC, **meta):
        self.metainfo = {"classes": classes, **meta}


class Wrapped:
    def __init__(self, dataset):
        self.dataset = dataset


def test_one_order_passes_as_list_and_tuple():
    compare_classes("train_dataloader", tuple(ABC), ABC, "model.classes")


def test_another_order_names_the_first_label():
    with pytest.raises(
        ConfigError, match=r"val_dataloader: the data set calls label 1 bike, model.classes calls it bus"
    ):
        compare_classes("val_dataloader", ["car", "bike", "bus"], ABC, "model.classes")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (["car", "bus"], r"bike only in model.classes"),
        ([*ABC, "van"], r"van only in the data set"),
        (["car", "bus", "van"], r"van only in the data set, bike only in model.classes"),
        (["car", "car", "bus"], r"\['car', 'car', 'bus'\], model.classes has"),
    ],
)
def test_other_classes_are_listed(data, said):
    with pytest.raises(ConfigError, match=said):
        compare_classes("train_dataloader", data, ABC, "model.classes")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        (Thing(classes=("a", "b")), ("classes", ["a", "b"])),
        (Thing(pts_bbox_head=Thing(class_names=[["a"], ["c", "b"]])), ("pts_bbox_head.tasks", ["a", "c", "b"])),
        (Thing(bbox_head=Thing(num_classes=4)), ("bbox_head.num_classes", 4)),
        (Thing(classes=7), None),
        (Thing(), None),
    ],
)
def test_where_a_model_tells_its_classes(model, told):
    assert model_classes(model) == told


def test_every_data_set_below_the_wrappers_is_looked_at():
    joined = Wrapped(Thing(datasets=[Data(), Wrapped(Data(["bus", "car", "bike"]))]))
    with pytest.raises(ConfigError, match=r"calls label 0 bus, model\.classes calls it car"):
        require_dataset_classes("train_dataloader", joined, Thing(classes=ABC))
    require_dataset_classes("train_dataloader", Wrapped(Wrapped(Data())), Thing(classes=ABC))


def test_a_number_of_classes_must_fit():
    with pytest.raises(ConfigError, match=r"the data set has 3 classes .*, model.bbox_head.num_classes is 2"):
        require_dataset_classes("train_dataloader", Data(), Thing(bbox_head=Thing(num_classes=2)))


def test_a_student_is_named_as_such():
    with pytest.raises(ConfigError, match=r"model\.student\.classes calls it bike"):
        require_dataset_classes("train_dataloader", Data(), Thing(classes=ABC[::-1]), "model.student.")


def test_an_info_file_that_numbers_otherwise_is_refused():
    good = {"car": 0, "bus": 1, "bike": 2, "van": -1}
    require_categories("infos.pkl", {"categories": good, "classes": ABC}, ABC)
    require_categories("infos.pkl", {"categories": {"bike": 2}, "classes": ABC}, ABC)  # it holds bikes alone
    wrong = {"bus": 0, "car": 1, "bike": 2}
    with pytest.raises(DataError, match=r"infos.pkl: metainfo.categories call label 0 bus, and it is read as car"):
        require_categories("infos.pkl", {"categories": wrong, "classes": ABC}, ABC)
    require_categories("infos.pkl", {"categories": wrong, "classes": ["bike"]}, ABC)  # unused labels rename nothing
    with pytest.raises(DataError, match="call label 0 bus"):
        require_dataset_classes("train_dataloader", Data(categories=wrong), Thing())


def loaders(**dataset):
    node = {"type": "Wrapper", "dataset": {"type": Data, **dataset}}
    return {"test_dataloader": {"dataset": {"datasets": [node]}}, "val_dataloader": None}


def test_loaders_that_are_not_built_are_compared_too():
    require_configured_classes(loaders(), Thing(classes=ABC))
    with pytest.raises(ConfigError, match="test_dataloader: the data set calls label 0 bus"):
        require_configured_classes(loaders(metainfo={"classes": ["bus", "car", "bike"]}), Thing(classes=ABC))
    with pytest.raises(ConfigError, match=r"test_dataloader: .* calls label 0 car, model\.classes calls it bus"):
        require_configured_classes(loaders(), Thing(classes=["bus", "car", "bike"]))


def test_a_class_that_no_data_set_has():
    with pytest.raises(ConfigError, match=r"test_dataloader: metainfo.classes has 'buss', .*; nearest: bus"):
        require_known_classes(loaders(metainfo={"classes": ["car", "buss"]}))
