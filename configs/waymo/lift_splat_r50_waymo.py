# Five cameras, ResNet-50 at 448x960, lift-splat without depth supervision, full size. At half resolution, images to the
# front lose sky, those to the sides next to nothing.
_base_ = [
    "../_base_/runtime.py",
    "../_base_/schedule.py",
    "../_base_/waymo.py",
    "../_base_/bev_full.py",
]

image_size = (448, 960)
model = dict(
    data_preprocessor=dict(type="Det3DDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375]),
    grid={{_base_.grid}},
    classes={{_base_.classes}},
    camera_encoder=dict(
        type="LiftSplatEncoder",
        backbone=dict(
            type="mmdet.ResNet",
            depth=50,
            out_indices=(0, 1, 2, 3),
            norm_cfg=dict(type="BN"),
            norm_eval=False,
            init_cfg=dict(type="Pretrained", checkpoint="https://download.pytorch.org/models/resnet50-0676ba61.pth"),
        ),
        neck=dict(
            type="SECONDFPN",
            in_channels=[256, 512, 1024, 2048],
            out_channels=[128, 128, 128, 128],
            upsample_strides=[0.25, 0.5, 1, 2],
        ),
        in_channels=512,
        channels=256,
        depth=dict(min=2.0, max=78.0, step=0.5),
        z_range={{_base_.z_range}},
    ),
    head=dict(tasks={{_base_.tasks}}),
)

train_pipeline = [
    dict(
        type="LoadCameras",
        size=image_size,
        cameras={{_base_.cameras}},
        augment=dict(resize=(0.9, 1.2), rotate=(-5.4, 5.4), flip=True),
    ),
    dict(type="BEVAugment"),
    dict(type="PackBEV"),
]
test_pipeline = [dict(type="LoadCameras", size=image_size, cameras={{_base_.cameras}}), dict(type="PackBEV")]
modality = dict(use_lidar=False, use_camera=True)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, modality=modality))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, modality=modality))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-4))
val_evaluator = dict(camera_only=True)
test_evaluator = val_evaluator
