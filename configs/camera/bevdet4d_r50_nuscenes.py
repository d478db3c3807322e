# BEVDet4D (Huang and Huang, 2022): lift-splat that also sees the key frame before, full size.
_base_ = "./lift_splat_r50_nuscenes.py"

model = dict(
    camera_encoder=dict(
        _delete_=True, type="TemporalEncoder", encoder={{_base_.model.camera_encoder}}, out_channels=256
    ),
)

train_pipeline = [
    dict(
        type="LoadCameras",
        size={{_base_.image_size}},
        augment=dict(resize=(0.877, 1.25), rotate=(-5.4, 5.4), flip=True),
        previous=True,
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadCameras", size={{_base_.image_size}}, previous=True), dict(type="PackBEV")]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, previous=True))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, previous=True))
test_dataloader = val_dataloader
