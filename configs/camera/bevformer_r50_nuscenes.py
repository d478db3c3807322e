# BEVFormer (Li et al., ECCV 2022) with a centre head: a query for each of 180 x 180 cells, three layers, three levels
# of features, and the key frame before; full size.
_base_ = "./lift_splat_r50_nuscenes.py"

model = dict(
    camera_encoder=dict(
        _delete_=True,
        type="BEVFormerEncoder",
        backbone={{_base_.model.camera_encoder.backbone}},
        neck=dict(type="mmdet.FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, start_level=1, num_outs=3),
        channels=256,
        levels=3,
        layers=3,
        temporal=True,
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
