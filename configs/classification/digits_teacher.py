# The teacher of the digits: a net of 94,000 parameters.
_base_ = ["../_base_/runtime.py", "../_base_/tasks/digits.py"]

default_scope = "bevkd"
model = dict(
    type="ImageClassifier",
    backbone=dict(type="PlainCNN", width=32, in_channels=1),
    class_names={{_base_.class_names}},
    data_preprocessor={{_base_.images}},
)
