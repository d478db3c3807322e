# The folder of tools/create_data.py digits: 1,438 + 359 grey images of 8 x 8 pixels, ten classes, a minute of training.
data_root = "data/digits/"
class_names = tuple("0123456789")
images = dict(type="ImagePreprocessor", mean=[78.0], std=[96.0])
_open = dict(type="OpenImage", mode="L")
train_pipeline = [_open, dict(type="RandomCropImage", size=(8, 8), padding=1), dict(type="PackImage")]
test_pipeline = [_open, dict(type="PackImage")]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="ImageFolder", data_root=data_root, split="train", classes=class_names, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ImageFolder",
        data_root=data_root,
        split="val",
        classes=class_names,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type="ClassificationMetric")
test_dataloader = val_dataloader
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=1000)  # validation after the last epoch only
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=4e-3, weight_decay=0.01))
param_scheduler = [dict(type="CosineAnnealingLR", eta_min_ratio=0.01, by_epoch=True, convert_to_iter_based=True)]
